"""A hand: reads and stores what one association sends, in a process of its own.

Python's interpreter lock keeps the threads of one process on about one core. So the main process lends the connection
of an established association, at a boundary between two messages, to a process that does nothing but this: it reads,
looks, writes the file and makes it durable. Then it says so (`Kept`), and the main process decides, as for an image of
its own: may this peer still send, is the UID held already, is the study closed, and what is to be audited and counted.
Its `Answer` goes to the sender. So a hand promises nothing that the main process does not know of, and one that is
killed leaves nothing but a file that nobody was told about.

Everything that is not plain goes to the main process and is judged there, by the one code there is for it: a request
with a fault is sent over whole (`Asked`); a message of another kind, a release or an abort sends the connection back
with the bytes from there on (`Back`).

How to edit safely: the connection is the main process's too, which shuts it down under us to end a wait. It is never
blocking (a property of the connection, not of the process). Whatever waits, waits for the channel as well: `End` is
heard at every wait for the connection and once a PDU.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from dicom_node.app.receive_instance import IncomingInstance
from dicom_node.core.errors import RejectedInput
from dicom_node.dimse import statuses
from dicom_node.dimse.command_set import EchoCommand, StoreCommand
from dicom_node.dimse.contexts import VERIFICATION
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
    Why,
)
from dicom_node.dimse.handlers import StoreRequest, check_command, contained, incoming_of
from dicom_node.dimse.hot_path import (
    Broken,
    Echo,
    Event,
    Fragments,
    Store,
    StoreStream,
    Unit,
    echo_pdus,
    fragment_pdus,
    store_pdus,
)
from dicom_node.ports import StoredFile

log = structlog.get_logger(__name__)

Keep = Callable[[IncomingInstance], StoredFile | None]
"""The durable file of an instance; None where the main process has to look at it."""

_GRAIN_BYTES = 1 << 20


class _GoesBack(Exception):
    """The connection goes back, with `tail` behind the message."""

    def __init__(self, back: Back, tail: bytes = b"") -> None:
        super().__init__(back.why)
        self.back = back
        self.tail = tail


class Room:
    """The memory that an association may use here: `base` bytes, and what the main process grants beyond."""

    def __init__(self, base: int, *, more: Callable[[int], bool], less: Callable[[int], None]) -> None:
        self._base = base
        self._granted = base
        self._held = 0
        self._more = more
        self._less = less

    def take(self, count: int) -> bool:
        """Whether `count` bytes more may be held."""
        missing = self._held + count - self._granted
        if missing > 0:
            asked = max(missing, _GRAIN_BYTES)
            if not self._more(asked):
                return False
            self._granted += asked
        self._held += count
        return True

    def give_back(self, count: int) -> None:
        """`count` bytes are not held any more."""
        self._held -= count
        spare = self._granted - max(self._base, self._held)
        if spare > 0:
            self._granted -= spare
            self._less(spare)


class HandReader:
    """Serves one association until its connection goes back; `run` once, in a thread of its own."""

    def __init__(self, connection: socket.socket, channel: Channel, terms: Terms, keep: Keep) -> None:
        """`connection` and `channel` are closed when `run` returns."""
        self._connection = connection
        self._channel = channel
        self._terms = terms
        self._keep = keep
        self._must_end = False
        self._room = Room(
            terms.granted_bytes, more=self._ask_for_more, less=lambda count: self._channel.send(Less(count))
        )
        self._stream = StoreStream(
            longest_pdu=terms.longest_pdu,
            longest_instance=terms.longest_instance,
            may_take=self._may_take,
            take=self._room.take,
            give_back=self._room.give_back,
            stops_at_others=True,
        )

    def run(self) -> None:
        """Read, store and answer until the connection goes back or the main process has gone."""
        try:
            contained(self._converse, self._failed)
        finally:
            self._connection.close()
            self._channel.close()

    def _converse(self) -> None:
        self._connection.setblocking(False)
        try:
            while True:
                self._read_pdus()
        except _GoesBack as goes:
            self._channel.send(goes.back, goes.tail)
        except ConnectionError:
            pass  # the main process has gone, and with it whoever could answer for anything

    def _failed(self, error: Exception) -> None:
        with suppress(OSError):
            self._channel.send(Back(Why.BROKEN, "hand_failed", f"{type(error).__name__}: {error}"))

    def _read_pdus(self) -> None:
        """What comes until the stream is between PDUs again, or one is whole. Raises _GoesBack."""
        stream = self._stream
        self._listen()
        is_inside = not stream.is_between_pdus
        until = time.monotonic() + self._terms.silence_s
        pdus = stream.pdus
        while stream.pdus == pdus:
            got = self._receive(stream.space(), until)
            if not is_inside:
                is_inside, until = True, time.monotonic() + self._terms.silence_s
            events = stream.took(got)
            for number, event in enumerate(events):
                self._attend(event, events[number:])

    def _receive(self, view: memoryview, until: float) -> int:
        while True:
            try:
                got = self._connection.recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN, until)
                continue
            except OSError as error:
                raise _GoesBack(Back(Why.CLOSED, "connection_lost", str(error))) from None
            if got:
                return got
            if self._stream.is_between_pdus:
                raise _GoesBack(Back(Why.CLOSED))
            raise _GoesBack(Back(Why.CLOSED, "truncated_pdu", "the connection ended inside a PDU"))

    def _wait(self, what: int, until: float) -> None:
        """The connection may be ready. Raises _GoesBack at `until` (of time.monotonic), or where we are to end."""
        poller = select.poll()
        poller.register(self._connection, what)
        poller.register(self._channel.connection, select.POLLIN)
        ready = {descriptor for descriptor, _ in poller.poll(max(0.0, until - time.monotonic()) * 1000.0)}
        if self._channel.connection.fileno() in ready:
            self._hear()
            self._end_if_asked()
        if not ready:
            if self._stream.is_between_pdus:
                raise _GoesBack(Back(Why.SILENT))
            raise _GoesBack(Back(Why.CLOSED, "stalled_pdu", "timed out"))

    # What comes from the main process.

    def _listen(self) -> None:
        if self._channel.has_something:
            self._hear()
        self._end_if_asked()

    def _hear(self) -> Message:
        message, _ = self._channel.receive()
        if isinstance(message, End):
            self._must_end = True
        return message

    def _end_if_asked(self) -> None:
        if self._must_end:
            raise _GoesBack(Back(Why.ENDED))

    def _answer(self) -> Answer:
        while not isinstance(message := self._hear(), Answer):
            pass
        return message

    def _ask_for_more(self, count: int) -> bool:
        self._channel.send(More(count))
        while not isinstance(message := self._hear(), Grant):
            pass
        return message.is_given

    # What comes from the sender.

    def _may_take(self, context_id: int, command: StoreCommand | EchoCommand) -> bool:
        syntaxes = self._terms.contexts.get(context_id)
        if syntaxes is None:
            return False
        return isinstance(command, StoreCommand) or {command.sop_class_uid, syntaxes[0]} == {VERIFICATION}

    def _attend(self, event: Event, rest: list[Event]) -> None:
        """Raises _GoesBack where the connection is to go back, with `rest`, which begins with this event."""
        match event:
            case Store():
                self._serve(event)
            case Echo():
                self._channel.send(Echoed())
                self._say(echo_pdus(event, statuses.SUCCESS, self._terms.longest_answer))
            case Broken():
                raise _GoesBack(Back(Why.BROKEN, event.rule, event.detail))
            case Unit() | Fragments():
                raise _GoesBack(Back(Why.OTHER), b"".join(map(_remade, rest)) + self._stream.unread())

    def _serve(self, store: Store) -> None:
        found: list[Kept | None] = []
        contained(lambda: found.append(self._kept(store)), self._leave_to_the_main_process)
        if found and (kept := found[0]) is not None:
            self._channel.send(kept)
        else:
            command = store.command
            asked = Asked(store.context_id, command.sop_class_uid, command.sop_instance_uid)
            self._channel.send(asked, store.data_set)
        count = len(store.data_set)
        self._stream.done(store)
        self._room.give_back(count)
        answer = self._answer()
        self._say(store_pdus(store, answer.status, answer.comment, self._terms.longest_answer))

    def _leave_to_the_main_process(self, error: Exception) -> None:
        """Whatever there is to say of it, it is said there."""
        log.warning("not_kept", association=self._terms.association_id, why=f"{type(error).__name__}: {error}")

    def _kept(self, store: Store) -> Kept | None:
        """The request as it was kept; None where it is not plain."""
        terms, command = self._terms, store.command
        abstract_syntax, transfer_syntax_uid = terms.contexts[store.context_id]
        request = StoreRequest(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            data_set=store.data_set,
            abstract_syntax=abstract_syntax,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_aet=terms.calling_aet,
            called_aet=terms.called_aet,
            association_id=terms.association_id,
            digest=store.digest,
        )
        try:
            check_command(request)
        except RejectedInput:
            return None
        incoming = incoming_of(request, terms.longest_inflated)
        stored = self._keep(incoming) if incoming.header is not None else None
        if stored is None or incoming.header is None:
            return None
        return Kept(store.context_id, incoming.header, command.sop_class_uid, command.sop_instance_uid, stored)

    def _say(self, pdus: bytes) -> None:
        left = memoryview(pdus)
        until = time.monotonic() + self._terms.silence_s
        while left:
            try:
                left = left[self._connection.send(left) :]
            except BlockingIOError:
                self._wait_to_send(until)
            except OSError as error:
                raise _GoesBack(Back(Why.CLOSED, "connection_lost", str(error))) from None

    def _wait_to_send(self, until: float) -> None:
        """An answer that has begun is sent to its end, whatever the main process wants meanwhile."""
        poller = select.poll()
        poller.register(self._connection, select.POLLOUT)
        if not poller.poll(max(0.0, until - time.monotonic()) * 1000.0):
            raise _GoesBack(Back(Why.CLOSED, "connection_lost", "an answer is not taken"))


def _remade(event: Event) -> bytes:
    """The bytes that the stream got for it. Behind `Fragments` and `Unit` there is nothing else in one batch."""
    match event:
        case Fragments():
            return fragment_pdus(event.values)
        case Unit():
            return event.pdu
        case _:
            raise ValueError(f"{type(event).__name__} was served already")
