"""What is decided before an association has threads: requests by their bytes, the pace, and what the log is told."""

from __future__ import annotations

import struct

import pytest
import structlog

from dicom_node.dimse.association_request import problem_of
from dicom_node.dimse.pacing import Pacing
from dicom_node.dimse.receiving_memory import ReceivingMemory
from dicom_node.dimse.refusals import Refusals


def request(*items: bytes) -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, b"US", b"PACS") + b"".join(items)
    return struct.pack(">BBL", 1, 0, len(body)) + body


def an_item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


CONTEXT = an_item(0x20, b"\x01\0\0\0" + an_item(0x30, b"1.2.840.10008.1.1") + an_item(0x40, b"1.2.840.10008.1.2"))


@pytest.mark.parametrize("items", [(), (an_item(0x10, b"1.2"), CONTEXT, an_item(0x50, an_item(0x51, b"\0\0\x40\0")))])
def test_items_that_lie_inside_one_another_are_worth_decoding(items):
    assert problem_of(request(*items)) == ""


@pytest.mark.parametrize(
    ("pdu", "why"),
    [
        (b"", "no association request"),
        (request()[:60], "no association request"),
        (request(CONTEXT[:3]), "cut in its head"),
        (request(CONTEXT[:-1]), "goes beyond"),
        (request(an_item(0x20, b"\0\0\0\0" + b"\x40\0\xff\xff")), "goes beyond"),
        (request(*[CONTEXT] * 129), "128 presentation contexts"),
        (request(an_item(0x20, b"\0\0\0\0" + an_item(0x40, b"") * 129)), "128 syntaxes"),
        (request(an_item(0x50, an_item(0x54, b"") * 1025)), "1024 user information items"),
    ],
)
def test_a_request_with_more_than_the_standard_has_room_for_is_not_decoded(pdu, why):
    assert why in problem_of(pdu)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_address_begins_as_often_as_its_bucket_fills_and_others_are_not_held_up():
    time = Time()
    pacing = Pacing(per_second=2.0, burst=4.0, monotonic=time)
    assert [pacing.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert pacing.take("b")
    time.now += 0.5
    assert [pacing.take("a") for _ in range(2)] == [True, False]
    time.now += 3600.0
    assert [pacing.take("a") for _ in range(5)] == [True] * 4 + [False]


def test_any_number_of_addresses_is_paced_in_bounded_memory():
    time = Time()
    pacing = Pacing(per_second=1.0, burst=2.0, monotonic=time)
    for number in range(10_000):
        time.now += 0.001
        assert pacing.take(str(number))
    assert len(pacing._spent) <= 4097


class Counts:
    def __init__(self) -> None:
        self.counted: list[str] = []

    def count(self, name: str, **labels: str) -> None:
        self.counted.append(name)

    def observe(self, name: str, value: float, **labels: str) -> None:
        raise AssertionError(name)


def test_a_flood_is_counted_one_by_one_and_logged_once_in_a_while():
    time, counts = Time(), Counts()
    refusals = Refusals(counts, monotonic=time)
    with structlog.testing.capture_logs() as logged:
        for _ in range(1000):
            refusals.tell("connection_refused", "connections_refused", address="192.0.2.1", rule="silent", why="x")
        refusals.tell("connection_refused", "connections_refused", address="192.0.2.2", rule="silent", why="x")
        time.now += 11.0
        refusals.tell("connection_refused", "connections_refused", address="192.0.2.1", rule="silent", why="x")
    assert len(counts.counted) == 1002
    assert [(entry["address"], entry.get("withheld", 0)) for entry in logged] == [
        ("192.0.2.1", 0), ("192.0.2.2", 0), ("192.0.2.1", 999),
    ]  # fmt: skip


def test_one_address_gets_half_of_the_memory_and_all_of_them_no_more_than_there_is():
    memory = ReceivingMemory(100)
    assert memory.take("one", "192.0.2.1", 30)
    assert memory.take("two", "192.0.2.1", 20)
    assert not memory.take("two", "192.0.2.1", 1)
    assert memory.take("three", "192.0.2.2", 50)
    assert not memory.take("four", "192.0.2.3", 1)
    memory.give_back("one", "192.0.2.1", 25)
    assert memory.take("four", "192.0.2.3", 25)
    for holder, address in (("one", "192.0.2.1"), ("two", "192.0.2.1"), ("three", "192.0.2.2"), ("four", "192.0.2.3")):
        memory.give_back(holder, address)
        memory.give_back(holder, address)
    assert memory.held_bytes == 0


def test_what_is_taken_before_it_is_needed_leaves_half_of_the_memory_to_the_others():
    memory = ReceivingMemory(100)
    assert memory.take_ahead("one", "192.0.2.1", 25)
    assert not memory.take_ahead("two", "192.0.2.1", 1)
    assert memory.take("two", "192.0.2.1", 25)
    assert not memory.take_ahead("three", "192.0.2.2", 1)
    assert memory.take("three", "192.0.2.2", 50)
