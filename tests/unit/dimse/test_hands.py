"""Processes that read for the main one: started, watched, replaced; what is said to them; the memory they may use."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node.dimse import counted, hands
from dicom_node.dimse.hand_messages import Answer, Asked, Back, Channel, End, Message, Terms, Why
from dicom_node.dimse.hand_reader import Room
from dicom_node.dimse.hands import SILENT_S, Hands

MIB = 1 << 20
TERMS = Terms(
    contexts={1: ("1.2.840.10008.1.1", "1.2.840.10008.1.2")},
    calling_aet="SCANNER",
    called_aet="CSPINE_AI",
    association_id="1",
    longest_pdu=1000,
    longest_answer=1000,
    longest_instance=1000,
    longest_inflated=1000,
    granted_bytes=1000,
    silence_s=1.0,
)


class FakeProcess:
    """A process that lives until it is told to die; its end of the door is in the test's hands."""

    def __init__(self, door: socket.socket, pid: int) -> None:
        self.door, self.pid = door.dup(), pid
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.status = -9

    def wait(self, timeout: float | None = None) -> int:
        self.door.close()
        return self.status or 0

    def says_it_lives(self) -> None:
        self.door.send(b"alive")


class World:
    """Hands over processes that are none, and a clock."""

    def __init__(self, count: int) -> None:
        self.now = 1000.0
        self.counted: Counter[str] = Counter()
        self.processes: list[FakeProcess] = []
        self.failures: list[OSError] = []
        self.hands = Hands(
            count=count,
            start_process=self._start,
            counters=self,
            discard=lambda path: None,
            monotonic=lambda: self.now,
        )

    def _start(self, door: socket.socket) -> FakeProcess:
        if self.failures:
            raise self.failures.pop()
        self.processes.append(FakeProcess(door, len(self.processes) + 1))
        return self.processes[-1]

    def count(self, name: str, **labels: str) -> None:
        self.counted[name] += 1

    def observe(self, name: str, value: float, **labels: str) -> None:
        raise AssertionError(name)

    def up(self) -> None:
        for process in self.processes:
            if process.status is None:
                process.says_it_lives()
        self.hands.look()


@contextmanager
def world(count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(hands.threading.Thread, "start", lambda thread: None)  # the test looks instead of the thread
    made = World(count)
    made.hands.start()
    yield made
    made.hands.stop(0.0)
    for process in made.processes:
        process.door.close()


@contextmanager
def connection() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def test_nothing_is_lent_before_a_hand_has_said_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(1, monkeypatch) as made, connection() as lent:
        assert made.hands.lend(lent, TERMS) is None
        made.up()
        assert made.hands.up == 1
        loan = made.hands.lend(lent, TERMS)
        assert loan is not None
        assert made.hands.lent == 1
        loan.over()
        assert made.hands.lent == 0


def test_the_hand_with_the_fewest_connections_gets_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(2, monkeypatch) as made, connection() as lent:
        made.up()
        loans = [made.hands.lend(lent, TERMS) for _ in range(4)]
        assert [hand.lent for hand in made.hands._hands] == [2, 2]
        for loan in loans:
            assert loan is not None
            loan.over()


def test_a_hand_that_died_is_counted_and_replaced_at_once_and_then_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(1, monkeypatch) as made:
        started: list[float] = []
        for _ in range(4):
            made.up()
            made.processes[-1].kill()
            died_at, before = made.now, len(made.processes)
            while len(made.processes) == before:
                made.hands.look()
                made.now += 0.5
            started.append(made.now - died_at)
        assert started == [0.5, 1.5, 2.5, 4.5]
        assert made.counted[counted.HANDS_LOST] == 4


def test_a_hand_that_has_lived_long_is_replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(1, monkeypatch) as made:
        for _ in range(3):
            for _ in range(20):
                made.up()
                made.now += 5.0
            made.processes[-1].kill()
            made.hands.look()
        assert len(made.processes) == 4


def test_a_hand_that_shows_no_sign_of_life_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(1, monkeypatch) as made:
        made.up()
        made.now += SILENT_S + 1.0
        made.hands.look()
        assert made.processes[0].status == -9
        assert len(made.processes) == 2


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(1, monkeypatch) as made:
        made.up()
        made.processes[0].kill()
        made.failures = [OSError("too many processes")]
        made.hands.look()
        assert made.hands.pids == ()
        for _ in range(10):
            made.now += 1.0
            made.hands.look()
        assert made.hands.pids == (2,)


def test_a_door_that_is_shut_lends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(1, monkeypatch) as made, connection() as lent:
        made.up()
        made.processes[0].door.close()
        assert made.hands.lend(lent, TERMS) is None
        assert made.hands.lent == 0


@pytest.mark.parametrize("message", [Answer(0xA700, "no room"), End(), Back(Why.BROKEN, "rule", "detail")])
def test_a_message_comes_as_it_was_sent(message: Message) -> None:
    ours, theirs = (Channel(end) for end in socket.socketpair())
    assert not theirs.has_something
    ours.send(message)
    assert theirs.has_something
    assert theirs.receive() == (message, 0)
    ours.close()
    with pytest.raises(ConnectionError):
        theirs.receive()
    theirs.close()


def test_a_data_set_follows_its_message() -> None:
    ours, theirs = (Channel(end) for end in socket.socketpair())
    ours.send(Asked(1, "1.2", "3.4"), memoryview(b"a data set"))
    ours.send(End())
    assert theirs.receive() == (Asked(1, "1.2", "3.4"), 10)
    assert theirs.read_tail(10) == b"a data set"
    assert theirs.receive() == (End(), 0)
    ours.close()
    theirs.close()


def test_memory_beyond_the_grant_is_asked_for_in_grains_and_given_back() -> None:
    said: list[int] = []

    def more(count: int) -> bool:
        said.append(count)
        return sum(said) <= 4 * MIB

    room = Room(2 * MIB, more=more, less=lambda count: said.append(-count))
    assert room.take(2 * MIB)
    assert said == []
    assert room.take(10)
    assert room.take(MIB - 10)
    assert said == [MIB]
    assert room.take(3 * MIB)
    assert not room.take(1)
    assert said == [MIB, 3 * MIB, MIB]
    said.pop()
    room.give_back(6 * MIB)
    assert said == [MIB, 3 * MIB, -4 * MIB]


def test_a_file_that_is_not_wanted_is_the_servers_to_discard() -> None:
    discarded: list[Path] = []
    made = Hands(count=0, start_process=lambda door: FakeProcess(door, 1), counters=World(0), discard=discarded.append)
    made.discard(Path("received/x.dcm"))
    assert discarded == [Path("received/x.dcm")]
