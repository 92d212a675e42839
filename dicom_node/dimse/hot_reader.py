"""The connection's side of the hot path: reads what an established association sends, stores, answers.

Runs in the reactor's thread, which owns the connection: what it answers cannot get between the bytes of anybody else,
and an abort that the association's own thread wants is sent when the request under way is answered. Where nothing of a
PDU is here, `read` goes on only as long as what came was served here and the reactor has nothing to do: a turn of the
reactor costs as much as reading an image's bytes. Then it waits as the reactor would, beside the bell, and no longer.
Inside a PDU it waits for bytes, and for them alone; a PDU has a time to be whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pynetdicom.pdu_primitives import P_DATA

from dicom_node.dimse.command_set import EchoCommand, StoreCommand
from dicom_node.dimse.contexts import VERIFICATION
from dicom_node.dimse.hand_clerk import GRANTED_BYTES, Clerk, terms_for
from dicom_node.dimse.hand_messages import Back, Why
from dicom_node.dimse.hands import Loan
from dicom_node.dimse.hot_path import Broken, Echo, Event, Fragments, Store, StoreStream, Unit, echo_pdus, store_pdus
from dicom_node.dimse.node_socket import CONNECTION_CLOSED

if TYPE_CHECKING:
    from dicom_node.dimse.association import NodeAssociation
    from dicom_node.dimse.upper_layer import NodeUpperLayer

_LEFT_PAUSE_S = 0.05


class HotReader:
    """Reads for `upper_layer` while its association is established (Sta6), or has it read by a hand.

    An association is lent once. What brings it back is its end, or the begin of something that is no hand's work.
    """

    def __init__(self, association: NodeAssociation, upper_layer: NodeUpperLayer, *, longest_pdu: int) -> None:
        self._association = association
        self._upper_layer = upper_layer
        self._longest_pdu = longest_pdu
        self._stream = StoreStream(
            longest_pdu=longest_pdu,
            longest_instance=association.host.maximum_instance_bytes,
            may_take=self._may_take,
            take=self._take,
            give_back=self._give_back,
        )
        self.is_serving = False
        """Whether a request is being stored."""
        self._was_handed_on = False
        self._images = 0
        self._seat = association.host.readers.seat()
        self._was_lent = False
        self._is_lent = False
        self._is_left = False  # in the middle of a message, by a hand: nothing that comes makes sense any more

    @property
    def is_occupied(self) -> bool:
        """Whether nothing may be sent now: a request is being stored, or a hand has the connection."""
        return self.is_serving or self._is_lent

    def leave(self) -> None:
        """Nothing will be read any more; from the thread that has read."""
        self._seat.leave()

    def read(self, limit_s: float) -> None:
        """One PDU at least, or the event for why there is none; each must be whole after `limit_s`."""
        if self._is_left:
            self._upper_layer.bell.wait(_LEFT_PAUSE_S)
            return
        loan = self._lend(limit_s)
        if loan is not None:
            self._have_read(loan)
            return
        connection: Any = self._upper_layer.socket
        stream, pdus = self._stream, -1
        self._was_handed_on = False
        try:
            while connection is not None:
                if stream.pdus != pdus:
                    pdus = stream.pdus
                    until = time.monotonic() + limit_s
                    self._upper_layer.is_alive_again()
                got = connection.receive_before(stream.space(), until, limit_s)
                if not got:
                    break
                if not all(self._attend(event) for event in stream.took(got)):
                    return
                if stream.is_between_pdus and (self._is_to_be_lent or not (self._has_time and connection.ready)):
                    return
        except OSError as error:
            self._upper_layer.note("stalled_pdu" if isinstance(error, TimeoutError) else "connection_lost", str(error))
        finally:
            if connection is not None:
                connection.restore_timeout(self._upper_layer.network_timeout)
        if not stream.is_between_pdus:
            self._upper_layer.note("truncated_pdu", "the connection ended inside a PDU")
        self._upper_layer.event_queue.put(CONNECTION_CLOSED)

    @property
    def _has_time(self) -> bool:
        """Whether the reactor has nothing to do but to wait for this connection."""
        return not self._was_handed_on and self._upper_layer.has_time

    @property
    def _is_to_be_lent(self) -> bool:
        hands = self._association.host.hands
        is_due = hands is not None and not self._was_lent and self._images >= hands.lend_after
        return is_due and self._stream.is_between_messages

    def _lend(self, limit_s: float) -> Loan | None:
        association, hands = self._association, self._association.host.hands
        if hands is None or not self._is_to_be_lent:
            return None
        connection: Any = self._upper_layer.socket
        plain = connection.lendable if connection is not None else None
        memory = association.host.receiving_memory
        if plain is None or not self._is_quiet:
            return None
        if not memory.take_ahead(association, association.address, GRANTED_BYTES):
            return None
        loan = hands.lend(plain, terms_for(association, longest_pdu=self._longest_pdu, silence_s=limit_s))
        if loan is None:
            self._give_back(GRANTED_BYTES)
            return None
        self._was_lent = self._is_lent = True
        self._seat.leave()
        return loan

    def _have_read(self, loan: Loan) -> None:
        """A hand has read for us; what it left is ours to go on with."""
        association = self._association
        try:
            back = Clerk(association, self._upper_layer, loan.channel).serve()
        finally:
            loan.over()
            association.host.receiving_memory.give_back(association, association.address)
        self._take_back(back)
        self._is_lent = False

    def _take_back(self, back: tuple[Back, bytes] | None) -> None:
        upper_layer = self._upper_layer
        if back is None:
            upper_layer.break_off("hand_lost", "the process that read this association has died")
            return
        message, unread = back
        if message.why is Why.OTHER:
            upper_layer.is_alive_again()
            connection: Any = upper_layer.socket
            if connection is not None:
                connection.put_back(unread)
        elif message.why is Why.BROKEN:
            upper_layer.break_off(message.rule, message.detail)
        elif message.why is Why.CLOSED:
            if message.rule:
                upper_layer.note(message.rule, message.detail)
            upper_layer.event_queue.put(CONNECTION_CLOSED)
        else:
            self._is_left = True
            self._association.end()

    def _attend(self, event: Event) -> bool:
        """Whether to read on."""
        match event:
            case Store():
                return self._serve(event)
            case Echo():
                return self._echo(event)
            case Fragments():
                self._hand_on(event)
                self._was_handed_on = True
                return self._upper_layer.event_queue.empty()
            case Unit():
                self._upper_layer.take_unit(event.pdu)
                connection: Any = self._upper_layer.socket
                if connection is not None:
                    connection.put_back(self._stream.unread())
                return False
            case Broken():
                self._upper_layer.break_off(event.rule, event.detail)
                return False

    def _serve(self, store: Store) -> bool:
        """The request is answered, unless the association is to end: then its own thread is about to abort it."""
        association = self._association
        context = association.accepted_context(store.context_id)
        try:
            if association.must_end.is_set() or context is None:
                return False
            self.is_serving = True
            status, comment = association.host.store(
                association,
                sop_class_uid=store.command.sop_class_uid,
                sop_instance_uid=store.command.sop_instance_uid,
                data_set=store.data_set,
                context=context,
                digest=store.digest,
            )
        finally:
            self.is_serving = False
            count = len(store.data_set)
            self._stream.done(store)
            self._give_back(count)
        self._images += 1
        self._seat.served()
        self._upper_layer.is_alive_again()
        return self._answer(store_pdus(store, status, comment, self._longest_answer))

    def _echo(self, echo: Echo) -> bool:
        if self._association.must_end.is_set():
            return False
        status = self._association.host.echoed(self._association)
        return self._answer(echo_pdus(echo, status, self._longest_answer))

    @property
    def _longest_answer(self) -> int:
        return int(self._association.requestor.maximum_length or 0)

    def _answer(self, pdus: bytes) -> bool:
        connection: Any = self._upper_layer.socket
        try:
            connection.send_all(pdus)
        except OSError as error:
            self._upper_layer.note("connection_lost", str(error))
            self._upper_layer.event_queue.put(CONNECTION_CLOSED)
            return False
        return True

    def _hand_on(self, fragments: Fragments) -> None:
        primitive = P_DATA()
        values: Any = [list(value) for value in fragments.values]  # pynetdicom insists on lists
        primitive.presentation_data_value_list = values
        self._association.dimse.receive_primitive(primitive)

    # What the stream asks.

    def _may_take(self, context_id: int, command: StoreCommand | EchoCommand) -> bool:
        """Not where an answer of pynetdicom's is still to come: answers keep the order of their requests."""
        association = self._association
        context = association.accepted_context(context_id)
        if context is None or not association.association_id:
            return False
        if isinstance(command, EchoCommand) and {command.sop_class_uid, str(context.abstract_syntax)} != {VERIFICATION}:
            return False
        return self._is_quiet

    @property
    def _is_quiet(self) -> bool:
        """Whether pynetdicom has nothing to serve or to say."""
        return self._association.dimse.is_idle and self._upper_layer.to_provider_queue.empty()

    def _take(self, count: int) -> bool:
        association = self._association
        return association.host.receiving_memory.take(association, association.address, count)

    def _give_back(self, count: int) -> None:
        association = self._association
        association.host.receiving_memory.give_back(association, association.address, count)
