"""Associations that send at the same time share one processor core.

Python runs one of their threads at a time, and each gives way some twenty times an image: at every read, write and
sync. On several cores the next one is woken on another core each time, which with four associations took up to half of
the time. On one core it is a mere change of thread. Alone, an association goes where it likes.

A core is no promise: whatever else runs there is moved away by the system where another core is free, and shares it
fairly where none is. What takes long lets go of the interpreter and belongs to other processes (analysis, decoding).

`Readers` counts, `Seat` is what each thread has of it. On a system that knows no such thing, or forbids it, nothing
happens.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection

SetCores = Callable[[Collection[int]], object]
"""For the thread that calls. Raises OSError."""

_ENOUGH_TO_SHARE = 2


def set_own_cores(cores: Collection[int]) -> None:
    """The calling thread runs on these alone. Raises OSError."""
    os.sched_setaffinity(0, cores)  # for Linux a thread; its number 0 is whoever asks


def cores_of_this_process() -> frozenset[int]:
    """What the process may run on; empty where the system does not say."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return frozenset()


class Readers:
    """The threads of this process that read images."""

    def __init__(self, cores: Collection[int] | None = None, set_cores: SetCores = set_own_cores) -> None:
        """`cores` are what the process may run on; with fewer than two nobody is moved."""
        self.cores = frozenset(cores_of_this_process() if cores is None else cores)
        self.shared = frozenset((max(self.cores),)) if len(self.cores) > 1 else self.cores
        self._set_cores = set_cores
        self._lock = threading.Lock()
        self._count = 0

    @property
    def share(self) -> bool:
        """Whether they are to be on one core."""
        return self._count >= _ENOUGH_TO_SHARE and self.shared != self.cores

    def seat(self) -> Seat:
        """For one thread, which need not be this one."""
        return Seat(self)

    def enter(self) -> None:
        """One more reads."""
        with self._lock:
            self._count += 1

    def leave(self) -> None:
        """One less."""
        with self._lock:
            self._count -= 1

    def move(self, cores: Collection[int]) -> bool:
        """Whether the calling thread runs on `cores` alone from here on. Where it may not, nobody tries again."""
        try:
            self._set_cores(cores)
        except OSError:
            self.shared = self.cores
            return False
        return True


class Seat:
    """Of one thread, and only for that thread."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._is_in = self._is_shared = False

    def served(self) -> None:
        """An image was read: go to where one is to be."""
        if not self._is_in:
            self._is_in = True
            self._readers.enter()
        share = self._readers.share
        if share != self._is_shared:
            self._is_shared = self._readers.move(self._readers.shared if share else self._readers.cores) and share

    def leave(self) -> None:
        """No image comes for now. Twice is once."""
        if self._is_in:
            self._is_in = False
            self._readers.leave()
        if self._is_shared:
            self._is_shared = False
            self._readers.move(self._readers.cores)
