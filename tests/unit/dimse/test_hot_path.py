"""Bytes in, whole requests out: every conversation cut at every place, and what is strange left to the library."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise

import pytest

from dicom_node.data_set_hash import hash_of
from dicom_node.dimse.command_set import (
    EchoCommand,
    OtherCommand,
    StoreCommand,
    echo_response,
    read_command,
    store_response,
)
from dicom_node.dimse.hot_path import (
    KEPT_BYTES,
    Broken,
    Echo,
    Fragments,
    Store,
    StoreStream,
    Unit,
    echo_pdus,
    fragment_pdus,
    store_pdus,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def command_set(message_id: int = 1, uid: bytes = b"1.2.3.4\0", field: int = 0x0001, **more: bytes) -> bytes:
    values = {
        0x0002: CT.encode() + b"\0" * (len(CT) % 2),
        0x0100: struct.pack("<H", field),
        0x0110: struct.pack("<H", message_id),
        0x0700: b"\0\0",
        0x0800: b"\0\0",
        0x1000: uid,
    } | {int(name[1:], 16): value for name, value in more.items()}
    return b"".join(element(number, value) for number, value in sorted(values.items()) if value is not None)


def bare(field: int) -> bytes:
    """A request without a data set."""
    return command_set(field=field, e0800=struct.pack("<H", 0x0101), e1000=None, e0700=None)  # type: ignore[arg-type]


ECHO, OTHER = bare(0x0030), bare(0x0FFF)


def pdv(flags: int, fragment: bytes, context_id: int = 3) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, context_id, flags) + fragment


def pdu(*values: bytes) -> bytes:
    whole = b"".join(values)
    return struct.pack(">BBL", 0x04, 0, len(whole)) + whole


def store(number: int = 1, data: bytes = b"a data set", fragment: int = 4) -> list[bytes]:
    pieces = [data[at : at + fragment] for at in range(0, len(data), fragment)]
    flags = [0] * (len(pieces) - 1) + [2]
    return [pdu(pdv(3, command_set(number)))] + [pdu(pdv(*each)) for each in zip(flags, pieces, strict=True)]


class Reader:
    """Feeds a stream and keeps what came out of it in a form that can be compared."""

    def __init__(
        self, *, hot: bool = True, memory: int = 1 << 20, longest_instance: int = 1 << 20, stops_at_others: bool = False
    ) -> None:
        self.memory = memory
        self.seen: list[object] = []
        self.stream = StoreStream(
            longest_pdu=100_000,
            longest_instance=longest_instance,
            may_take=lambda context_id, command: hot,
            take=self._take,
            give_back=self._give_back,
            stops_at_others=stops_at_others,
        )

    def _take(self, count: int) -> bool:
        self.memory -= count
        return self.memory >= 0

    def _give_back(self, count: int) -> None:
        self.memory += count

    def feed(self, data: bytes, cuts: Iterable[int] = ()) -> list[object]:
        edges = [0, *cuts, len(data)]
        for start, end in pairwise(edges):
            self._feed(data[start:end])
        return self.seen

    def _feed(self, data: bytes) -> None:
        while data:
            space = self.stream.space()
            count = min(len(space), len(data))
            space[:count] = data[:count]
            data = data[count:]
            events = self.stream.took(count)
            for event in events:
                self._see(event)
            if any(isinstance(event, Broken) for event in self.seen):
                return
            if events and isinstance(events[-1], Unit):
                data = self.stream.unread() + data

    def _see(self, event: object) -> None:
        if isinstance(event, Store):
            assert event.digest == hash_of(event.data_set)
            self.seen.append((event.command.message_id, bytes(event.data_set)))
            self._give_back(len(event.data_set))
            self.stream.done(event)
        else:
            self.seen.append(event)


def read(data: bytes, cuts: Iterable[int] = (), **options: int) -> list[object]:
    return Reader(**options).feed(data, cuts)  # type: ignore[arg-type]


def rules(seen: list[object]) -> list[str]:
    return [event.rule for event in seen if isinstance(event, Broken)]


CONVERSATIONS = {
    "two stores": b"".join(store(1) + store(2, b"x" * 50)),
    "all of a store in one PDU": pdu(pdv(3, command_set()), pdv(0, b"one"), pdv(2, b" two")),
    "a command in three fragments": pdu(pdv(1, command_set()[:5]))
    + pdu(pdv(1, command_set()[5:20]), pdv(3, command_set()[20:]), pdv(0, b"one"))
    + pdu(pdv(2, b"two")),
    "empty fragments": pdu(pdv(1, b""), pdv(3, command_set())) + pdu(pdv(0, b""), pdv(0, b"one")) + pdu(pdv(2, b"")),
    "an empty PDU between": pdu(pdv(3, command_set())) + pdu() + pdu(pdv(2, b"one")),
    "the next message in the same PDU": pdu(pdv(3, command_set(1)), pdv(2, b"one"), pdv(3, command_set(2)))
    + pdu(pdv(2, b"two")),
    "another message between": b"".join(store(1)) + pdu(pdv(3, OTHER, 1)) + b"".join(store(2)),
    "an echo between": b"".join(store(1)) + pdu(pdv(3, ECHO, 1)) + b"".join(store(2)),
    "a release behind": b"".join(store(1)) + RELEASE,
    "a store behind a release": RELEASE + b"".join(store(1)),
    "an abort in a data set": b"".join(store(1)[:-1]) + ABORT,
    "a fragment too long": pdu(pdv(3, command_set())) + pdu(struct.pack(">LBB", 500, 3, 0) + b"abc"),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_it_does_not_matter_where_a_conversation_is_cut(name: str) -> None:
    data = CONVERSATIONS[name]
    whole = read(data)
    assert whole
    for at in range(1, len(data)):
        assert read(data, [at]) == whole, f"cut at {at}"
    assert read(data, range(1, len(data))) == whole, "byte by byte"


def test_a_store_comes_out_whole_in_whatever_fragments_it_came() -> None:
    data = bytes(range(256)) * 300
    for fragment in (7_000, 65_000, 90_000):
        assert read(b"".join(store(9, data, fragment))) == [(9, data)]


def test_what_is_not_a_store_is_handed_on_and_stores_behind_it_are_hot_again() -> None:
    seen = read(CONVERSATIONS["another message between"])
    assert seen == [(1, b"a data set"), Fragments(((1, b"\x03" + OTHER),)), (2, b"a data set")]


def test_an_echo_comes_out_where_it_may_be_taken_and_is_handed_on_where_not() -> None:
    echo = Echo(1, EchoCommand(1, CT))
    assert read(CONVERSATIONS["an echo between"]) == [(1, b"a data set"), echo, (2, b"a data set")]
    assert read(pdu(pdv(3, ECHO, 1)), hot=False) == [Fragments(((1, b"\x03" + ECHO),))]
    assert echo_pdus(echo, 0x0000, 0) == pdu(pdv(3, echo_response(echo.command, 0x0000), 1))


def test_the_next_message_in_a_pdu_is_not_dropped() -> None:
    assert read(CONVERSATIONS["the next message in the same PDU"]) == [(1, b"one"), (2, b"two")]


def test_a_store_behind_another_message_of_its_pdu_does_not_overtake_it() -> None:
    seen = read(pdu(pdv(3, OTHER, 1), pdv(3, command_set())) + pdu(pdv(2, b"one")))
    assert seen == [
        Fragments(((1, b"\x03" + OTHER),)),
        Fragments(((3, b"\x03" + command_set()),)),
        Fragments(((3, b"\x02one"),)),
    ]


def test_a_store_that_may_not_be_taken_is_handed_on_whole() -> None:
    assert read(pdu(pdv(3, command_set()), pdv(0, b"on")) + pdu(pdv(2, b"e")), hot=False) == [
        Fragments(((3, b"\x03" + command_set()), (3, b"\x00on"))),
        Fragments(((3, b"\x02e"),)),
    ]


def test_a_command_inside_a_data_set_gives_the_message_back_with_all_that_follows() -> None:
    reader = Reader(memory=100)
    seen = reader.feed(
        pdu(pdv(3, command_set())) + pdu(pdv(0, b"one")) + pdu(pdv(3, OTHER, 1)) + b"".join(store(2)[:1])
    )
    assert seen == [
        Fragments(((3, b"\x03" + command_set()), (3, b"\x00one"), (1, b"\x03" + OTHER))),
        Fragments(((3, b"\x03" + command_set(2)),)),
    ]
    assert reader.memory == 100


def test_a_data_set_without_a_command_is_the_librarys() -> None:
    assert read(pdu(pdv(0, b"one")) + pdu(pdv(2, b"two"))) == [Fragments(((3, b"\0one"),)), Fragments(((3, b"\2two"),))]


def test_a_data_set_behind_half_a_command_is_the_librarys_with_that_half() -> None:
    assert read(pdu(pdv(1, b"half")) + pdu(pdv(2, b"two"))) == [Fragments(((3, b"\1half"), (3, b"\2two")))]


def test_what_came_behind_a_release_is_given_back_unread() -> None:
    reader = Reader()
    space = reader.stream.space()
    data = RELEASE + b"more"
    space[: len(data)] = data
    assert reader.stream.took(len(data)) == [Unit(RELEASE)]
    assert reader.stream.unread() == b"more"
    assert reader.stream.is_between_pdus


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\x09\x00\x00\x00\x00\x00", "unknown_pdu_type"),
        (b"\x04\x00\xff\xff\xff\xff", "pdu_too_long"),
        (b"\x05\x00\x7f\xff\xff\xff", "pdu_too_long"),
        (b"\x04\x00\x00\x00\x00\x03", "undecodable_pdu"),
        (pdu(pdv(3, command_set()), b"\0\0\0"), "undecodable_pdu"),
        (pdu(struct.pack(">LBB", 1, 3, 0)), "undecodable_pdu"),
        (pdu(struct.pack(">LBB", 0, 3, 0)), "undecodable_pdu"),
        (pdu(struct.pack(">LBB", 3, 3, 0)), "undecodable_pdu"),
        (pdu(struct.pack(">LBB", 0xFFFFFFFF, 3, 0) + b"x"), "undecodable_pdu"),
        (pdu(pdv(1, b"x" * 60_000)) + pdu(pdv(1, b"x" * 6_000)), "invalid_message"),
    ],
)
def test_what_is_no_pdu_is_broken_as_soon_as_that_is_seen(data: bytes, rule: str) -> None:
    assert rules(read(data)) == [rule]


def test_a_pdu_that_is_broken_at_its_end_has_no_effect() -> None:
    assert read(pdu(pdv(3, command_set()), pdv(2, b"whole"), struct.pack(">LBB", 77, 3, 0)))[0].__class__ is Broken


def test_a_data_set_that_is_too_long_is_broken_before_there_is_room_for_it() -> None:
    reader = Reader(longest_instance=10)
    assert rules(reader.feed(b"".join(store(1, b"x" * 12, 6)))) == ["instance_too_long"]
    assert reader.memory == (1 << 20) - 6


def test_a_data_set_that_memory_has_no_room_for_is_broken() -> None:
    assert rules(read(b"".join(store(1, b"x" * 12, 6)), memory=10)) == ["out_of_memory"]


def test_between_two_data_sets_no_more_than_one_small_buffer_is_kept() -> None:
    reader = Reader(memory=KEPT_BYTES * 4, longest_instance=KEPT_BYTES * 3)
    reader.feed(b"".join(store(1, b"x" * (KEPT_BYTES + 1), 90_000)))
    assert len(reader.stream._kept) == 0
    reader.feed(b"".join(store(2, b"x" * 90_000, 90_000)))
    assert 90_000 <= len(reader.stream._kept) <= 180_100


def test_heads_are_read_with_the_end_of_the_fragment_before_them() -> None:
    reader = Reader()
    reader.feed(pdu(pdv(3, command_set())) + pdu(pdv(0, b"x" * 1000))[:200])
    assert len(reader.stream.space()) == 1000 - (200 - 12) + 12


def test_an_answer_says_whose_it_is_and_is_cut_to_what_the_peer_takes() -> None:
    answered = Store(5, StoreCommand(77, CT, "1.2.3"), memoryview(b""), b"")
    whole = store_pdus(answered, 0xA700, "no room", 0)
    assert whole == pdu(pdv(3, store_response(answered.command, 0xA700, "no room"), 5))
    small = store_pdus(answered, 0xA700, "no room", 20)
    pieces, at = [], 0
    while at < len(small):
        length = struct.unpack_from(">L", small, at + 2)[0]
        assert length <= 20
        pieces.append(small[at + 6 : at + 6 + length])
        at += 6 + length
    assert b"".join(piece[6:] for piece in pieces) == store_response(answered.command, 0xA700, "no room")
    assert [piece[5] for piece in pieces] == [1] * (len(pieces) - 1) + [3]


def test_a_plain_request_is_understood_and_everything_else_is_not() -> None:
    plain = StoreCommand(1, CT, "1.2.3.4")
    moved = command_set(e1030=b"PACS", e1031=b"\1\0")
    assert read_command(command_set()) == read_command(moved) == plain
    assert read_command(ECHO) == EchoCommand(1, CT)
    assert read_command(OTHER) == OtherCommand(False)
    for strange in (
        command_set(uid=b"name"),
        command_set(uid=b""),
        command_set(e0700=b"\7\0"),
        command_set(e0110=b"\1"),
        command_set(e0904=b"xx"),
        command_set(e1030=b""),
        command_set(e1031=b"1"),
    ):
        assert read_command(strange) == OtherCommand(True)
    for broken in (command_set()[:-1], command_set()[:5], command_set() + command_set(), b"", b"\1" + command_set()):
        assert read_command(broken) is None


def read_by_two(data: bytes, cuts: Iterable[int] = ()) -> list[object]:
    """What two streams see that take over from each other: the second one reads what the first one gives back."""
    first, second = Reader(stops_at_others=True), Reader()
    left = bytearray()
    for start, end in pairwise([0, *cuts, len(data)]):
        left += data[start:end]
        while left:
            space = first.stream.space()
            count = min(len(space), len(left))
            space[:count] = left[:count]
            del left[:count]
            events = first.stream.took(count)
            others = [event for event in events if isinstance(event, Fragments | Unit)]
            for event in events[: len(events) - len(others)]:
                first._see(event)
            if others:
                assert all(isinstance(event, Fragments | Unit) for event in events[len(events) - len(others) :])
                again = b"".join(map(remade, others)) + first.stream.unread() + left + data[end:]
                return first.seen + second.feed(again)
            if any(isinstance(event, Broken) for event in first.seen):
                return first.seen
    return first.seen


def remade(event: Fragments | Unit) -> bytes:
    return event.pdu if isinstance(event, Unit) else fragment_pdus(event.values)


def values_of(seen: list[object]) -> list[object]:
    """Without the bounds of PDUs between the fragments of others."""
    found: list[object] = []
    for event in seen:
        found += [*event.values] if isinstance(event, Fragments) else [event]
    return found


@pytest.mark.parametrize("name", [*CONVERSATIONS, "others in a row"])
def test_a_stream_that_takes_over_sees_what_the_first_one_gives_back(name: str) -> None:
    in_a_row = pdu(pdv(3, OTHER, 1), pdv(3, OTHER, 1), pdv(1, command_set()[:9])) + pdu(pdv(3, command_set()[9:]))
    data = CONVERSATIONS.get(name) or b"".join(store(1)) + in_a_row + b"".join(store(1)[1:])
    whole = values_of(read(data))
    for at in range(1, len(data)):
        assert values_of(read_by_two(data, [at])) == whole, f"cut at {at}"


def test_fragments_are_made_anew_in_pdus_that_may_be_read() -> None:
    long, last = b"\x00" + b"x" * 200_000, b"\x02" + b"y" * 70_000
    again = fragment_pdus(((3, long), (3, last)))
    assert b"".join(value[1:] for value in values_as_read(again)) == long[1:] + last[1:]
    assert [value[0] for value in values_as_read(again)] == [0, 0, 0, 0, 0, 2]


def values_as_read(pdus: bytes) -> list[bytes]:
    found: list[bytes] = []
    for event in read(pdus):
        assert isinstance(event, Fragments)
        found += [value for _, value in event.values]
    return found


def test_a_stream_is_between_messages_at_their_bounds_alone() -> None:
    reader = Reader()
    bounds = []
    for piece in [*store(1), pdu(pdv(3, OTHER, 1)), pdu(pdv(1, command_set(2)[:9])), pdu(pdv(3, command_set(2)[9:]))]:
        reader.feed(piece)
        bounds.append(reader.stream.is_between_messages)
    assert bounds == [False, False, False, True, True, False, False]
