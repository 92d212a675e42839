"""A lock that serves its waiters in the order they came.

SQLite lets one writer in at a time. Left to itself it makes the others sleep and try again, so that a writer among
twenty can starve until its busy timeout. Here they queue; within one process SQLite never sees two.
"""

from __future__ import annotations

import threading
from collections import deque

from dicom_node.core.errors import StorageUnavailable


class WriterQueue:
    """First come, first served. Not reentrant: a thread that waits for itself raises RuntimeError at once."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._guard = threading.Lock()
        self._holder: int | None = None
        self._waiting: deque[_Ticket] = deque()

    def enter(self) -> None:
        """The calling thread is the writer. Raises StorageUnavailable where that takes longer than the timeout."""
        me = threading.get_ident()
        with self._guard:
            if self._holder is None:
                self._holder = me
                return
            if self._holder == me:
                raise RuntimeError("a writing unit of work is open in this thread already; close it first")
            ticket = _Ticket(me)
            self._waiting.append(ticket)
        if not ticket.called.acquire(timeout=self._timeout_s) and self._gave_up(ticket):
            raise StorageUnavailable(
                f"another writer kept the database for {self._timeout_s:g} s; this write is given up"
            )

    def leave(self) -> None:
        """The next in the queue is the writer. Any thread may call it for the holder."""
        with self._guard:
            if self._waiting:
                ticket = self._waiting.popleft()
                self._holder = ticket.thread
                ticket.called.release()
            else:
                self._holder = None

    def _gave_up(self, ticket: _Ticket) -> bool:
        """False where the ticket was called between the timeout and now: the turn is taken then."""
        with self._guard:
            if ticket not in self._waiting:
                return False
            self._waiting.remove(ticket)
            return True


class _Ticket:
    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.called = threading.Lock()
        self.called.acquire()
