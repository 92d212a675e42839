"""The processes that read for the main process: started, watched, given connections, started again.

`Hands` keeps a number of processes. Each has a door: a socket over which it gets connections (SCM_RIGHTS, unix(7)) and
shows that it lives. One that dies, or shows no sign of life for `SILENT_S`, is replaced, after a pause that grows while
they die young. Without a hand that is up the main process reads by itself, as it does without any.

Of a lent connection both processes hold the socket. When the hand dies the other end of its channel says so.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.dimse import counted
from dicom_node.dimse.hand_messages import Channel, Terms
from dicom_node.dimse.hand_reader import HandReader, Keep
from dicom_node.ports import Counters

log = structlog.get_logger(__name__)

SILENT_S = 60.0
_ASK_EACH_S = 5.0
_LOOK_EACH_S = 0.25
_YOUNG_S = 60.0
_LONGEST_PAUSE_S = 60.0
_LONGEST_MESSAGE = 1 << 17
_ALIVE = b"alive"


class Process(Protocol):
    """What is asked of a process (subprocess.Popen)."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


StartProcess = Callable[[socket.socket], Process]
"""Starts a process that serves the other end of this door (`serve_door`). Raises OSError."""


@dataclass(eq=False)
class _Hand:
    process: Process
    door: socket.socket
    since: float
    heard: float
    asked: float
    is_up: bool = False
    lent: int = 0


class Hands:
    """`count` processes. `start` once, `stop` once; `lend` and the figures from any thread."""

    def __init__(
        self,
        *,
        count: int,
        start_process: StartProcess,
        counters: Counters,
        discard: Callable[[Path], None],
        lend_after: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`discard` removes a file that a hand has kept and that is not wanted. An association is lent when it has
        brought `lend_after` images: those that only ask for an echo, or bring a report, are not worth it.
        """
        self._count = count
        self._start_process = start_process
        self._counters = counters
        self.discard = discard
        self.lend_after = lend_after
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._hands: list[_Hand] = []
        self._young_deaths = 0
        self._not_before = 0.0
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_them, name="hands", daemon=True)

    @property
    def up(self) -> int:
        """Processes that can be given a connection now."""
        with self._guard:
            return sum(hand.is_up for hand in self._hands)

    @property
    def lent(self) -> int:
        """Connections that they have now."""
        with self._guard:
            return sum(hand.lent for hand in self._hands)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are there now."""
        with self._guard:
            return tuple(hand.process.pid for hand in self._hands)

    def start(self) -> None:
        """The processes come up. Raises OSError where none can be started."""
        for _ in range(self._count):
            self._add()
        self._watch.start()

    def stop(self, timeout_s: float) -> None:
        """No process is left. What they still have is cut off."""
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join(timeout_s)
        with self._guard:
            hands, self._hands = self._hands, []
        for hand in hands:
            hand.door.close()
        until = self._monotonic() + timeout_s
        for hand in hands:
            try:
                hand.process.wait(max(0.0, until - self._monotonic()))
            except subprocess.TimeoutExpired:
                hand.process.kill()
                hand.process.wait()

    def lend(self, connection: socket.socket, terms: Terms) -> Loan | None:
        """The hand with the fewest connections reads this one too; None where none can."""
        with self._guard:
            hand = min((each for each in self._hands if each.is_up), key=lambda each: each.lent, default=None)
            if hand is None:
                return None
            hand.lent += 1
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(hand.door, [pickle.dumps(terms)], [connection.fileno(), theirs.fileno()])
        except OSError as error:
            log.warning("connection_not_lent", why=str(error))
            ours.close()
            self._returned(hand)
            return None
        finally:
            theirs.close()
        return Loan(Channel(ours), lambda: self._returned(hand))

    def _returned(self, hand: _Hand) -> None:
        with self._guard:
            hand.lent -= 1

    def _add(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = self._start_process(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)  # whoever cannot take a connection now is not given it
        now = self._monotonic()
        with self._guard:
            self._hands.append(_Hand(process=process, door=ours, since=now, heard=now, asked=now))

    def _watch_them(self) -> None:
        while not self._stopping.wait(_LOOK_EACH_S):
            self.look()

    def look(self) -> None:
        """Those that live are asked for a sign of it, those that do not are replaced."""
        with self._guard:
            hands = tuple(self._hands)
        now = self._monotonic()
        for hand in hands:
            self._look_at(hand, now)
            if hand.process.poll() is not None:
                self._bury(hand, now)
        missing = self._count - len(self.pids)
        if missing and now >= self._not_before:
            try:
                self._add()
            except OSError as error:
                log.error("hand_not_started", why=str(error))
                self._died_young(now)

    def _look_at(self, hand: _Hand, now: float) -> None:
        with suppress(OSError):
            while hand.door.recv(_LONGEST_MESSAGE):
                hand.heard, hand.is_up = now, True
        if now - hand.heard > SILENT_S:
            log.error("hand_hangs", pid=hand.process.pid, silent_s=round(now - hand.heard))
            hand.process.kill()
            hand.process.wait()
        elif now - hand.asked > _ASK_EACH_S:
            hand.asked = now
            with suppress(OSError):
                hand.door.send(_ALIVE)

    def _bury(self, hand: _Hand, now: float) -> None:
        log.error("hand_died", pid=hand.process.pid, status=hand.process.poll(), connections=hand.lent)
        self._counters.count(counted.HANDS_LOST)
        with self._guard:
            hand.is_up = False
            self._hands.remove(hand)
        hand.door.close()
        if now - hand.since < _YOUNG_S:
            self._died_young(now)
        else:
            self._young_deaths = 0

    def _died_young(self, now: float) -> None:
        """The first one is replaced at once."""
        self._not_before = now + (min(_LONGEST_PAUSE_S, 2.0 ** (self._young_deaths - 1)) if self._young_deaths else 0.0)
        self._young_deaths += 1


class Loan:
    """A connection that a hand has; `over` when it is back, or the hand has died."""

    def __init__(self, channel: Channel, returned: Callable[[], None]) -> None:
        self.channel = channel
        self._returned = returned

    def over(self) -> None:
        """The hand hears that nobody listens to it any more."""
        self.channel.close()
        self._returned()


def serve_door(door: socket.socket, keep: Keep) -> None:
    """What a hand does: a thread for each connection that comes through `door`, until its other end is closed."""
    door.send(_ALIVE)
    while True:
        try:
            message, descriptors, _flags, _address = socket.recv_fds(door, _LONGEST_MESSAGE, 2)
        except OSError:
            return
        if not message:
            return
        if message == _ALIVE:
            with suppress(OSError):  # full, or closed, as the next look will say
                door.send(_ALIVE, socket.MSG_DONTWAIT)
        elif len(descriptors) == 2:
            connection, channel = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            reader = HandReader(connection, Channel(channel), pickle.loads(message), keep)
            threading.Thread(target=reader.run, name="association", daemon=True).start()
