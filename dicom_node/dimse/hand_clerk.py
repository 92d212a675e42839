"""The main process's side of an association that a hand reads: it decides, remembers and counts.

Runs in the reactor's thread, in the place of reading. While a connection is lent nothing is sent on it here: whatever
wants to end the association (`must_end`, an abort that waits to be sent) makes the hand come back first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.dimse.hand_messages import (
    Answer,
    Asked,
    Back,
    Channel,
    Echoed,
    End,
    Grant,
    Kept,
    Less,
    Message,
    More,
    Terms,
)
from dicom_node.dimse.hot_path import KEPT_BYTES

if TYPE_CHECKING:
    from dicom_node.dimse.association import NodeAssociation
    from dicom_node.dimse.upper_layer import NodeUpperLayer

log = structlog.get_logger(__name__)

GRANTED_BYTES = KEPT_BYTES
_LOOK_AGAIN_S = 0.25
_OUT_OF_MEMORY = "more is being received than may be held in memory"


def terms_for(association: NodeAssociation, *, longest_pdu: int, silence_s: float) -> Terms:
    """What a hand is told of `association`."""
    host = association.host
    contexts = {
        int(context.context_id or 0): (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    return Terms(
        contexts=contexts,
        calling_aet=association.calling_aet,
        called_aet=association.called_aet,
        association_id=association.association_id,
        longest_pdu=longest_pdu,
        longest_answer=int(association.requestor.maximum_length or 0),
        longest_instance=host.maximum_instance_bytes,
        longest_inflated=host.maximum_inflated_bytes,
        granted_bytes=GRANTED_BYTES,
        silence_s=silence_s,
    )


class Clerk:
    """For one association while it is lent; `serve` once."""

    def __init__(self, association: NodeAssociation, upper_layer: NodeUpperLayer, channel: Channel) -> None:
        self._association = association
        self._upper_layer = upper_layer
        self._channel = channel

    def serve(self) -> tuple[Back, bytes] | None:
        """Why the connection is back, and the bytes to go on with; None where the hand has died."""
        has_asked = False
        try:
            while True:
                if self._is_to_end and not has_asked:
                    has_asked = True
                    self._channel.send(End())
                if self._upper_layer.bell.wait_beside(self._channel.connection, _LOOK_AGAIN_S):
                    message, tail = self._channel.receive()
                    if isinstance(message, Back):
                        return message, bytes(self._channel.read_tail(tail))
                    self._attend(message, tail)
        except OSError as error:
            log.warning("hand_lost", association=self._association.association_id, why=str(error))
            return None

    @property
    def _is_to_end(self) -> bool:
        wants_to_say = not self._upper_layer.to_provider_queue.empty()
        return self._association.must_end.is_set() or wants_to_say or self._upper_layer.is_killed

    def _attend(self, message: Message, tail: int) -> None:
        self._upper_layer.is_alive_again()
        match message:
            case Kept():
                self._channel.send(self._kept(message))
            case Asked():
                self._channel.send(self._asked(message, tail))
            case Echoed():
                self._association.host.echoed(self._association)
            case More():
                self._channel.send(Grant(self._take(message.count)))
            case Less():
                self._give_back(message.count)
            case _:
                raise ConnectionError(f"a hand says {type(message).__name__}")

    def _kept(self, kept: Kept) -> Answer:
        association = self._association
        context = association.accepted_context(kept.context_id)
        if context is None:
            raise ConnectionError(f"a hand has taken something under presentation context {kept.context_id}")
        status, comment = association.host.store(
            association,
            sop_class_uid=kept.sop_class_uid,
            sop_instance_uid=kept.sop_instance_uid,
            data_set=b"",
            context=context,
            kept=kept,
        )
        return Answer(status, comment)

    def _asked(self, asked: Asked, count: int) -> Answer:
        association = self._association
        context = association.accepted_context(asked.context_id)
        if context is None:
            raise ConnectionError(f"a hand asks about presentation context {asked.context_id}")
        if not self._take(count):
            self._upper_layer.note("out_of_memory", _OUT_OF_MEMORY)
            raise ConnectionError(_OUT_OF_MEMORY)
        try:
            status, comment = association.host.store(
                association,
                sop_class_uid=asked.sop_class_uid,
                sop_instance_uid=asked.sop_instance_uid,
                data_set=memoryview(self._channel.read_tail(count)),
                context=context,
            )
        finally:
            self._give_back(count)
        return Answer(status, comment)

    def _take(self, count: int) -> bool:
        association = self._association
        return association.host.receiving_memory.take(association, association.address, count)

    def _give_back(self, count: int) -> None:
        association = self._association
        association.host.receiving_memory.give_back(association, association.address, count)
