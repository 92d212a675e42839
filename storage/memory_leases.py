"""What jobs and deliveries have in common in the in-memory twin; compare `leases`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from dicom_node.core.delivery import Delivery
from dicom_node.core.job import AnalysisJob, Lease

Work = TypeVar("Work", AnalysisJob, Delivery)
State = TypeVar("State", bound=StrEnum)

_EVER = datetime.min.replace(tzinfo=UTC)


class _Writable(Protocol[Work]):
    def __call__(self, *times: datetime | None) -> dict[int, Work]: ...


class MemoryLeases(Generic[Work, State]):
    """Rows that are worked on under a lease. `rows` is to read; `writable` checks the times that will be written."""

    def __init__(
        self,
        *,
        rows: Callable[[], dict[int, Work]],
        writable: _Writable[Work],
        waiting: State,
        working: State,
        retry: State,
    ) -> None:
        self._rows: Callable[[], dict[int, Work]] = rows
        self._writable: _Writable[Work] = writable
        self._waiting = waiting
        self._working = working
        self._retry = retry

    def claim(
        self,
        *,
        owner: str,
        lease_until: datetime,
        where: Callable[[Work], bool] = lambda work: True,
        first: Callable[[Work], bool] = lambda work: False,
    ) -> Work | None:
        rows = self._writable(lease_until)
        waiting = [work for work in rows.values() if work.state == self._waiting and where(work)]
        if not waiting:
            return None
        oldest = min(waiting, key=lambda work: (first(work), work.created_at, work.id))
        claimed = replace(
            oldest,
            state=self._working,  # type: ignore[arg-type]
            attempt=oldest.attempt + 1,
            next_attempt_at=None,
            lease=Lease(owner=owner, expires_at=lease_until),
        )
        rows[oldest.id] = claimed
        return claimed

    def extend_lease(self, row_id: int, *, owner: str, until: datetime) -> bool:
        rows = self._writable(until)
        work = rows.get(row_id)
        if work is None or work.state != self._working or _owner(work) != owner:
            return False
        rows[row_id] = replace(work, lease=Lease(owner=owner, expires_at=until))
        return True

    def update(self, work: Work, *, expected: Work) -> bool:
        lease_until = work.lease.expires_at if work.lease else None
        rows = self._writable(work.next_attempt_at, work.finished_at, lease_until)
        current = rows.get(expected.id)
        if current is None or _mark(current) != _mark(expected):
            return False
        # As the database: what identifies the row is never written again.
        rows[expected.id] = replace(
            work,
            id=current.id,
            study_instance_uid=current.study_instance_uid,
            revision=current.revision,
            created_at=current.created_at,
        )
        return True

    def due(self, now: datetime) -> tuple[Work, ...]:
        return self.waited(self._retry, now)

    def waited(self, state: State, now: datetime) -> tuple[Work, ...]:
        return self._sorted(state, lambda work: work.next_attempt_at or _EVER, now)

    def expired(self, now: datetime) -> tuple[Work, ...]:
        return self._sorted(self._working, lambda work: work.lease.expires_at if work.lease else _EVER, now)

    def leased_by_others(self, owner: str, *, owner_prefix: str) -> tuple[Work, ...]:
        return tuple(
            work
            for work in self._rows().values()
            if work.state == self._working
            and work.lease is not None
            and work.lease.owner != owner
            and work.lease.owner.startswith(owner_prefix)
        )

    def _sorted(self, state: State, when: Callable[[Work], datetime], now: datetime) -> tuple[Work, ...]:
        found = [work for work in self._rows().values() if work.state == state and when(work) <= now]
        return tuple(sorted(found, key=lambda work: (when(work), work.id)))


def _owner(work: AnalysisJob | Delivery) -> str | None:
    return work.lease.owner if work.lease else None


def _mark(work: AnalysisJob | Delivery) -> tuple[str, int, str | None]:
    return work.state.value, work.attempt, _owner(work)
