"""Leases: a worker keeps a row by renewing its lease, and a row whose lease has run out goes back to waiting.

A heartbeat thread renews while the worker is busy elsewhere (a child process, a network peer). A lease that cannot be
renewed counts as lost once its time has passed by our own clock: another worker may hold the row by then, and going on
is likely to be in vain. Whether the outcome may be written is decided by the conditional update at the end alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType

import structlog

from dicom_node.core.delivery import Delivery
from dicom_node.core.errors import TransientError
from dicom_node.ports import Clock, UnitOfWork

log = structlog.get_logger(__name__)

LONGEST_BEAT_S = 5.0
"""A superseded or cancelled row is noticed after at most this long."""


class Heartbeat:
    """Renews a lease from a thread of its own between `__enter__` and `__exit__`."""

    def __init__(
        self, extend: Callable[[datetime], bool], *, clock: Clock, lease_s: float, until: datetime, name: str
    ) -> None:
        """`extend(until)` writes the new end and returns False where the lease is no longer ours."""
        self._extend = extend
        self._clock = clock
        self._lease_s = lease_s
        self._until = until
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{name}", daemon=True)

    @property
    def is_lost(self) -> bool:
        """Whether the row may belong to somebody else by now."""
        return self._lost.is_set()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=self._lease_s)

    def beat(self) -> None:
        """Renew once; notes a lost lease."""
        now = self._clock.now()
        until = now + timedelta(seconds=self._lease_s)
        try:
            if self._extend(until):
                self._until = until
            else:
                self._lost.set()
        except TransientError as error:
            log.warning("lease_not_renewed", thread=self._thread.name, why=str(error))
            if now >= self._until:
                self._lost.set()

    def _run(self) -> None:
        while not self._stop.wait(min(self._lease_s / 3.0, LONGEST_BEAT_S)):
            self.beat()
            if self.is_lost:
                return


def waiting_since(uow: UnitOfWork, delivery: Delivery) -> datetime:
    """Since when the delivery is to be made: since it was queued, or last started again by an operator."""
    subject = f"delivery:{delivery.id}"
    retried = [
        entry.at
        for entry in uow.history.of_study(delivery.study_instance_uid)
        if entry.subject == subject and entry.event == "operator_retried"
    ]
    return max(retried, default=delivery.created_at)


def failures_so_far(uow: UnitOfWork, subject: str, study_instance_uid: str, event: str) -> int:
    """How often `event` befell `subject` since an operator last retried it, as its history tells.

    Starts of a row are not failures: a node that is killed ten times while an analysis runs starts it eleven times
    and must not run out of attempts by that.
    """
    count = 0
    for entry in uow.history.of_study(study_instance_uid):
        if entry.subject != subject:
            continue
        if entry.event == "operator_retried":
            count = 0
        elif entry.event == event:
            count += 1
    return count
