"""The hot path: from the bytes of a connection to whole C-STORE requests, without a queue, a thread or a copy between.

A study is a thousand messages of half a megabyte. pynetdicom turns each PDU into objects, hands them over two queues
to another thread and joins the fragments there: that costs several times what the bytes themselves cost. Here the
data set of a C-STORE-RQ goes from the socket into one buffer in which it lies whole, and is stored from there.
Everything else stays pynetdicom's: negotiation, the state machine (PS3.8 9.2), release, abort, and every other message.

`StoreStream` does no input or output (sans-IO). Whoever owns the connection asks `space` where the next bytes belong,
says with `took` how many came, and gets what they amount to:

- `Store`: a whole C-STORE-RQ with its data set, to be answered with `store_pdus`; then `done`.
- `Echo`: a C-ECHO-RQ, to be answered with `echo_pdus`. It is here because two threads and their polling make a round
  trip fifty times as long.
- `Fragments`: P-DATA of any other message, for pynetdicom's DIMSE, as it would have got them.
- `Unit`: a whole PDU that is not P-DATA. The stream stops there: what came behind it is given back by `unread`, because
  after such a PDU the association may be in another state, in which this stream has no say.
- `Broken`: bytes that are no PDU, or more than there may be. Nothing comes after it.

Where the bytes go. Between data sets a small buffer takes whatever comes. Inside a fragment of a data set `space` is
the very place where the fragment's next bytes belong, and twelve bytes more: the heads of the next PDU and its first
fragment (PS3.8 9.3.5) come with the end of this one and are overwritten by what follows them. So a stream of full PDUs
costs one read a PDU and no copy.

What is hot is decided once a message, when its command set is whole: a plain request (`command_set.read_command`) that
`may_take` agrees to. Everything else is handed on, byte for byte, and so is what comes in an order that no sender
should use (a command inside a data set, a data set without a command): then what was taken of the message is given
back as fragments, and the association stays with pynetdicom to its end. Hence whatever is strange is judged by the
library, in one way, whether this path is there or not. Two things are different on purpose: fragments that follow the
end of a message in one PDU begin the next message, where pynetdicom drops them; and a command set has a limit.

A PDU has its effect when it is whole: of one that turns out to be broken at its end nothing is stored or answered.

Another process can read on where this one stops, and the other way round (hand_reader). `is_between_messages` says when
a new stream may take over, and a stream that `stops_at_others` stops behind a PDU with `Fragments` as behind a `Unit`:
`unread` then gives back what follows, a piece of the next command included, and `fragment_pdus` makes PDUs of the
fragments again, so that whoever goes on reads what the other side has sent.

Limits come before allocation. A PDU may be `longest_pdu` long, a data set `longest_instance`; a buffer is no larger
than twice what has come plus the fragment that is coming; `take` is asked for each fragment before there is room for
it. Between two messages one buffer of at most `KEPT_BYTES` is kept.

How to edit safely: `_step` either consumes bytes or returns False, and is the only place that moves `_start`. A view
from `space` is good until the next call. `tests/unit/dimse/test_hot_path.py` cuts every conversation at every place;
`tests/integration/test_hot_path_twin.py` compares with pynetdicom's own acceptor.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dicom_node.data_set_hash import DataSetHash
from dicom_node.dimse.command_set import EchoCommand, StoreCommand, echo_response, read_command, store_response

KEPT_BYTES = 2 << 20
LONGEST_COMMAND_BYTES = 65_536

_CONTROL_BYTES = 16_384
_HASHED_AT_ONCE = 1 << 18
_REMADE_BYTES = 65_536
_PDU_HEAD, _PDV_HEAD = 6, 6
_AHEAD = _PDU_HEAD + _PDV_HEAD
_P_DATA = 0x04
_PDU_TYPES = range(0x01, 0x08)
_IS_COMMAND, _IS_LAST = 0x01, 0x02  # PS3.8 E.2

_pdu_head = struct.Struct(">BxL")
_pdv_head = struct.Struct(">LBB")


@dataclass(frozen=True, slots=True)
class Store:
    """A whole C-STORE-RQ. `data_set` is good until `StoreStream.done`; `digest` as in data_set_digest."""

    context_id: int
    command: StoreCommand
    data_set: memoryview
    digest: bytes


@dataclass(frozen=True, slots=True)
class Echo:
    """A C-ECHO-RQ."""

    context_id: int
    command: EchoCommand


@dataclass(frozen=True, slots=True)
class Fragments:
    """Presentation data values of other messages: context id, and control header with fragment; of one PDU."""

    values: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A whole PDU of another type than P-DATA, with its head."""

    pdu: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """`rule` is broken; `detail` for the log."""

    rule: str
    detail: str


Event = Store | Echo | Fragments | Unit | Broken


class _Message:
    """A C-STORE-RQ that is coming in."""

    __slots__ = ("buffer", "command", "context_id", "encoded", "filled", "hash", "hashed")

    def __init__(self, context_id: int, command: StoreCommand, encoded: bytes, buffer: bytearray) -> None:
        self.context_id = context_id
        self.command = command
        self.encoded = encoded
        self.buffer = buffer
        self.filled = 0
        self.hashed = 0
        self.hash = DataSetHash()

    def make_room(self, count: int, longest: int) -> None:
        """Room for `count` bytes more, and for the heads that are read ahead."""
        needed = self.filled + count + _AHEAD
        if needed > len(self.buffer):
            larger = bytearray(max(needed, min(2 * len(self.buffer), longest + _AHEAD)))
            larger[: self.filled] = memoryview(self.buffer)[: self.filled]
            self.buffer = larger

    def data_set(self) -> memoryview:
        return memoryview(self.buffer)[: self.filled]

    def hash_what_came(self, *, at_least: int = 0) -> None:
        """While the other side sends the next fragment, so most of it costs no time; in pieces of `at_least` bytes,
        because after each the interpreter has to be had again."""
        if self.filled - self.hashed >= at_least:
            self.hash.update(memoryview(self.buffer)[self.hashed : self.filled])
            self.hashed = self.filled


class StoreStream:
    """What one association sends in state Sta6, from a PDU's first byte on."""

    def __init__(
        self,
        *,
        longest_pdu: int,
        longest_instance: int,
        may_take: Callable[[int, StoreCommand | EchoCommand], bool],
        take: Callable[[int], bool],
        give_back: Callable[[int], None],
        stops_at_others: bool = False,
    ) -> None:
        """`may_take(context_id, command)`: whether this request is hot. `take(count)`: whether so many bytes more of
        a data set may be held in memory. `give_back(count)`: they are not held any more; of a `Store` they are until
        whoever got it says so.
        """
        self._stops_at_others = stops_at_others
        self._longest_pdu = longest_pdu
        self._longest_instance = longest_instance
        self._may_take = may_take
        self._take = take
        self._give_back = give_back
        self._control = bytearray(_CONTROL_BYTES)
        self._start = self._end = 0
        self._is_direct = False
        self._pdu_left = 0  # of a P-DATA-TF, what is not consumed
        self._fragment_left = 0
        self._in_fragment = False
        self._context_id = self._flags = 0
        self._command = bytearray()
        self._fragment = bytearray()
        self._unit: bytearray | None = None
        self._unit_left = 0
        self._message: _Message | None = None
        self._awaits_data = False  # a message of pynetdicom's has a data set to come
        self._is_given_up = False
        self._is_over = False
        self._values: list[tuple[int, bytes]] = []
        self._of_this_pdu: list[Event] = []
        self._events: list[Event] = []
        self._kept = bytearray()
        self.pdus = 0
        """Whole PDUs so far."""

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU is here: the next byte begins one."""
        return self._start == self._end and not self._pdu_left and self._unit is None

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing of a message is here, nor of a PDU, and all that came was plain."""
        is_inside = self._message is not None or self._awaits_data or bool(self._command)
        return self.is_between_pdus and not is_inside and not self._is_given_up

    def space(self) -> memoryview:
        """Where the next bytes belong; at least one."""
        self._is_direct = self._takes_directly()
        if self._is_direct:
            assert self._message is not None
            at = self._message.filled
            return memoryview(self._message.buffer)[at : at + self._fragment_left + _AHEAD]
        if self._start:
            left = self._end - self._start
            self._control[:left] = self._control[self._start : self._end]
            self._start, self._end = 0, left
        return memoryview(self._control)[self._end :]

    def took(self, count: int) -> list[Event]:
        """`count` bytes came into `space`; what they complete."""
        if self._is_direct:
            self._took_directly(count)
        else:
            self._end += count
        while not self._is_over and self._step():
            pass
        events, self._events = self._events, []
        return events

    def unread(self) -> bytes:
        """What came behind a `Unit` and is not looked at; forgotten here.

        Where the stream stops at others, with the pieces of a command in front of it that came before.
        """
        left = bytes(memoryview(self._control)[self._start : self._end])
        self._start = self._end = 0
        if self._stops_at_others and self._command:
            left = fragment_pdus(((self._context_id, bytes((_IS_COMMAND,)) + self._command),)) + left
            self._command.clear()
        self._is_over = False
        return left

    def done(self, store: Store) -> None:
        """The request is answered and its data set not needed any more."""
        buffer = store.data_set.obj
        store.data_set.release()
        if isinstance(buffer, bytearray) and len(self._kept) < len(buffer) <= KEPT_BYTES:
            self._kept = buffer

    # From here to the end: bytes that have come.

    def _takes_directly(self) -> bool:
        is_hot = self._in_fragment and self._message is not None and not self._flags & _IS_COMMAND
        return is_hot and self._start == self._end and self._fragment_left > 0 and not self._is_given_up

    def _took_directly(self, count: int) -> None:
        message = self._message
        assert message is not None
        own = min(count, self._fragment_left)
        message.filled += own
        self._consumed(own)
        ahead = count - own
        self._control[:ahead] = memoryview(message.buffer)[message.filled : message.filled + ahead]
        self._start, self._end = 0, ahead
        if not self._fragment_left:
            self._end_fragment()

    def _step(self) -> bool:
        """Whether something was consumed."""
        available = self._end - self._start
        if self._unit is not None:
            return self._go_on_with_unit(self._unit, available)
        if self._in_fragment:
            return self._go_on_with_fragment(available)
        if self._pdu_left:
            return available >= _PDV_HEAD and self._begin_fragment()
        return available >= _PDU_HEAD and self._begin_pdu()

    def _begin_pdu(self) -> bool:
        pdu_type, length = _pdu_head.unpack_from(self._control, self._start)
        if pdu_type not in _PDU_TYPES:
            return self._break("unknown_pdu_type", f"PDU type 0x{pdu_type:02X}")
        if length > self._longest_pdu:
            return self._break("pdu_too_long", f"a PDU of type 0x{pdu_type:02X} claims {length} bytes")
        if pdu_type != _P_DATA:
            self._unit, self._unit_left = bytearray(), _PDU_HEAD + length
            return True
        if 0 < length < _PDV_HEAD:
            return self._break("undecodable_pdu", f"a P-DATA-TF of {length} bytes holds no fragment")
        self._start += _PDU_HEAD
        self._pdu_left = length
        if not length:
            self._end_pdu()
        return True

    def _go_on_with_unit(self, unit: bytearray, available: int) -> bool:
        count = min(available, self._unit_left)
        unit += memoryview(self._control)[self._start : self._start + count]
        self._start += count
        self._unit_left -= count
        if not self._unit_left:
            self._unit = None
            self.pdus += 1
            self._events.append(Unit(bytes(unit)))
            self._is_over = True
        return count > 0

    def _begin_fragment(self) -> bool:
        length, self._context_id, self._flags = _pdv_head.unpack_from(self._control, self._start)
        if not 2 <= length <= self._pdu_left - 4:
            return self._break("undecodable_pdu", f"a fragment claims {length} of the {self._pdu_left - 4} bytes left")
        self._start += _PDV_HEAD
        self._pdu_left -= _PDV_HEAD
        self._fragment_left = length - 2
        self._in_fragment = True
        self._give_up_where_strange()
        if not self._has_room(self._fragment_left):
            return False
        if not self._fragment_left:
            self._end_fragment()
        return True

    def _give_up_where_strange(self) -> None:
        """A command before the last message is whole, a data set before its command is: none of ours."""
        is_command = bool(self._flags & _IS_COMMAND)
        if not self._is_given_up and (
            (is_command and (self._message is not None or self._awaits_data))
            or (not is_command and self._message is None and not self._awaits_data)
        ):
            self._give_up()

    def _has_room(self, count: int) -> bool:
        if self._is_given_up or self._awaits_data:
            return True
        if self._flags & _IS_COMMAND:
            if len(self._command) + count > LONGEST_COMMAND_BYTES:
                return self._break("invalid_message", f"a command set of more than {LONGEST_COMMAND_BYTES} bytes")
            return True
        message = self._message
        assert message is not None
        if message.filled + count > self._longest_instance:
            return self._break("instance_too_long", f"more than {self._longest_instance} bytes")
        if not self._take(count):
            return self._break("out_of_memory", "more is being received than may be held in memory")
        message.make_room(count, self._longest_instance)
        return True

    def _go_on_with_fragment(self, available: int) -> bool:
        count = min(available, self._fragment_left)
        came = memoryview(self._control)[self._start : self._start + count]
        if self._is_given_up or self._awaits_data:
            self._fragment += came
        elif self._flags & _IS_COMMAND:
            self._command += came
        else:
            assert self._message is not None
            at = self._message.filled
            self._message.buffer[at : at + count] = came
            self._message.filled += count
        self._start += count
        self._consumed(count)
        if count and not self._fragment_left:
            self._end_fragment()
        return count > 0

    def _consumed(self, count: int) -> None:
        self._fragment_left -= count
        self._pdu_left -= count

    def _end_fragment(self) -> None:
        self._in_fragment = False
        is_last = bool(self._flags & _IS_LAST)
        if self._is_given_up or self._awaits_data:
            self._values.append((self._context_id, bytes((self._flags,)) + self._fragment))
            self._fragment.clear()
            if self._awaits_data and is_last and not self._is_given_up:
                self._awaits_data = False
                self._hand_on()
        elif is_last and self._flags & _IS_COMMAND:
            self._end_command()
        elif not self._flags & _IS_COMMAND:
            self._end_data_fragment(is_last)
        if not self._pdu_left:
            self._end_pdu()
        elif self._pdu_left < _PDV_HEAD:
            self._break("undecodable_pdu", f"{self._pdu_left} bytes at the end of a P-DATA-TF are no fragment")

    def _end_command(self) -> None:
        command = read_command(self._command)
        is_first = not any(isinstance(event, Fragments) for event in self._of_this_pdu)
        is_hot = isinstance(command, StoreCommand | EchoCommand) and is_first
        if isinstance(command, EchoCommand) and is_hot and self._may_take(self._context_id, command):
            self._of_this_pdu.append(Echo(self._context_id, command))
            self._command.clear()
            return
        if isinstance(command, StoreCommand) and is_hot and self._may_take(self._context_id, command):
            self._message = _Message(self._context_id, command, bytes(self._command), self._kept)
            self._kept = bytearray()
            self._command.clear()
            return
        self._values.append((self._context_id, bytes((_IS_COMMAND | _IS_LAST,)) + self._command))
        self._command.clear()
        if command is None:
            self._give_up()
        elif isinstance(command, StoreCommand) or (not isinstance(command, EchoCommand) and command.has_data_set):
            self._awaits_data = True
        else:
            self._hand_on()

    def _end_data_fragment(self, is_last: bool) -> None:
        message = self._message
        assert message is not None
        message.hash_what_came(at_least=0 if is_last else _HASHED_AT_ONCE)
        if is_last:
            self._message = None
            whole = Store(message.context_id, message.command, message.data_set(), message.hash.digest)
            self._of_this_pdu.append(whole)

    def _end_pdu(self) -> None:
        self._hand_on()
        self.pdus += 1
        self._events += self._of_this_pdu
        self._is_over = self._stops_at_others and any(isinstance(event, Fragments) for event in self._of_this_pdu)
        self._of_this_pdu.clear()

    def _hand_on(self) -> None:
        if self._values:
            self._of_this_pdu.append(Fragments(tuple(self._values)))
            self._values.clear()

    def _give_up(self) -> None:
        """What was taken of a message is handed on, and all that follows."""
        self._is_given_up = True
        message, self._message = self._message, None
        if message is not None:
            self._values.append((message.context_id, bytes((_IS_COMMAND | _IS_LAST,)) + message.encoded))
            if message.filled:
                self._values.append((message.context_id, b"\x00" + bytes(message.data_set())))
            self._give_back(message.filled)
        if self._command:
            self._values.append((self._context_id, bytes((_IS_COMMAND,)) + self._command))
            self._command.clear()

    def _break(self, rule: str, detail: str) -> bool:
        self._is_over = True
        self._events.append(Broken(rule, detail))
        return False


def store_pdus(store: Store, status: int, comment: str, longest_pdu: int) -> bytes:
    """The answer to `store` in P-DATA-TF PDUs of at most `longest_pdu` bytes (PS3.8 D.1; 0: any length)."""
    return _pdus(store.context_id, store_response(store.command, status, comment), longest_pdu)


def echo_pdus(echo: Echo, status: int, longest_pdu: int) -> bytes:
    """The answer to `echo`, as `store_pdus`."""
    return _pdus(echo.context_id, echo_response(echo.command, status), longest_pdu)


def fragment_pdus(values: Iterable[tuple[int, bytes]]) -> bytes:
    """P-DATA-TF PDUs of a sensible length that carry these presentation data values (as in `Fragments`)."""
    pdus = bytearray()
    for context_id, value in values:
        flags, fragment = value[0], memoryview(value)[1:]
        for at in range(0, max(1, len(fragment)), _REMADE_BYTES):
            piece = fragment[at : at + _REMADE_BYTES]
            is_end = at + _REMADE_BYTES >= len(fragment)
            pdus += _pdu_head.pack(_P_DATA, len(piece) + _PDV_HEAD)
            pdus += _pdv_head.pack(len(piece) + 2, context_id, flags if is_end else flags & ~_IS_LAST)
            pdus += piece
    return bytes(pdus)


def _pdus(context_id: int, command: bytes, longest_pdu: int) -> bytes:
    step = max(1, longest_pdu - _PDV_HEAD) if longest_pdu else len(command)
    pdus = []
    for at in range(0, len(command), step):
        fragment = command[at : at + step]
        flags = _IS_COMMAND | (_IS_LAST if at + step >= len(command) else 0)
        pdus.append(_pdu_head.pack(_P_DATA, len(fragment) + _PDV_HEAD))
        pdus.append(_pdv_head.pack(len(fragment) + 2, context_id, flags) + fragment)
    return b"".join(pdus)
