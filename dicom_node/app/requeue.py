"""Bring back what waits for its time and what lost its worker: rows decide, this only looks at them.

The tick moves RETRY_WAIT rows that are due, rows whose lease ran out, and deliveries whose peer did not report in time
whether it keeps them. `take_back` does the second at start-up for leases of this node's earlier lives, without waiting
for them to run out: that worker is known to be gone.

A job is started before anybody knows what it does to the node: its claim counts the attempt and its lease outlives the
process. One that is lost again and again is what kills the node, and is set aside.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import structlog

from dicom_node.app.commitments import move_by, refused
from dicom_node.app.leases import failures_so_far
from dicom_node.app.moves import NODE, move_delivery, move_job
from dicom_node.app.result_json import failed_json
from dicom_node.core.delivery import Delivery
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.transitions import DeliveryEvent, JobEvent
from dicom_node.ports import Clock, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

Row = TypeVar("Row", AnalysisJob, Delivery)


class Requeue:
    """The tick that requeues jobs and deliveries."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        clock: Clock,
        lost_limit: int = 20,
        lost_jobs_limit: int = 20,
        terms_of: Callable[[str], DeliveryTerms] = lambda peer: DeliveryTerms(),
        evidence_of: Callable[[AnalysisJob], str] = lambda job: "",
    ) -> None:
        """`lost_limit`: how often a delivery may lose its worker before it is FAILED, `lost_jobs_limit` the same for a
        job (it may be what kills the node). `terms_of` a peer say how often it is asked to commit. `evidence_of` a
        job is what its last attempt left behind, in words; empty where that is nothing."""
        self._uow = uow_factory
        self._clock = clock
        self._lost_limit = lost_limit
        self._lost_jobs_limit = lost_jobs_limit
        self._terms_of = terms_of
        self._evidence_of = evidence_of

    def tick(self) -> int:
        """Move everything that is due or expired now; returns how many rows."""
        now = self._clock.now()
        with self._uow() as uow:
            due_jobs, lost_jobs = uow.jobs.due(now), uow.jobs.expired(now)
            due_deliveries, lost_deliveries = uow.deliveries.due(now), uow.deliveries.expired(now)
            uncommitted = uow.deliveries.uncommitted(now)
        moved = [self._write(self._job_due, job, now) for job in due_jobs]
        moved += [self._write(self._job_lost, job, now) for job in lost_jobs]
        moved += [self._write(self._delivery_due, delivery, now) for delivery in due_deliveries]
        moved += [self._write(self._delivery_lost, delivery, now) for delivery in lost_deliveries]
        moved += [self._write(self._commitment_late, delivery, now) for delivery in uncommitted]
        return sum(moved)

    def take_back(self, owner: str, *, owner_prefix: str) -> int:
        """Expire the leases of earlier lives of this node; returns how many. Call before any worker starts."""
        now = self._clock.now()
        with self._uow() as uow:
            jobs = uow.jobs.leased_by_others(owner, owner_prefix=owner_prefix)
            deliveries = uow.deliveries.leased_by_others(owner, owner_prefix=owner_prefix)
        moved = [self._write(self._job_lost, job, now) for job in jobs]
        moved += [self._write(self._delivery_lost, delivery, now) for delivery in deliveries]
        return sum(moved)

    def _write(self, move: Callable[[UnitOfWork, Row, datetime], bool], row: Row, now: datetime) -> bool:
        with self._uow() as uow:
            if not move(uow, row, now):
                return False
            uow.commit()
            return True

    def _job_due(self, uow: UnitOfWork, job: AnalysisJob, now: datetime) -> bool:
        moved = move_job(uow, job, JobEvent.DUE, at=now, reason="the wait is over", next_attempt_at=None)
        return moved is not None

    def _job_lost(self, uow: UnitOfWork, job: AnalysisJob, now: datetime) -> bool:
        evidence = self._evidence_of(job)
        message = f"{_lost_message(job)} ({evidence})" if evidence else _lost_message(job)
        event = JobEvent.LEASE_EXPIRED
        changes: dict[str, Any] = {"next_attempt_at": now, "failure": message}
        lost_before = failures_so_far(uow, f"job:{job.id}", job.study_instance_uid, event.value)
        if lost_before + 1 >= self._lost_jobs_limit:
            message = f"{message}; gave up after {lost_before + 1} lost workers"
            event = JobEvent.ATTEMPTS_EXHAUSTED
            report = json.dumps(failed_json(job.study_instance_uid, message))
            changes = {"next_attempt_at": None, "failure": message, "finished_at": now, "result_json": report}
        log.warning("job_lost_its_worker", job=job.id, attempt=job.attempt, why=message)
        return move_job(uow, job, event, at=now, reason=message, **changes) is not None

    def _delivery_due(self, uow: UnitOfWork, delivery: Delivery, now: datetime) -> bool:
        newer = _newer_result(uow, delivery)
        if newer is None:
            reason, event, finished_at = "the wait is over", DeliveryEvent.DUE, delivery.finished_at
        else:
            reason, event, finished_at = f"revision {newer} has a result", DeliveryEvent.SUPERSEDED, now
        moved = move_delivery(
            uow, delivery, event, at=now, reason=reason, next_attempt_at=None, finished_at=finished_at
        )
        return moved is not None

    def _delivery_lost(self, uow: UnitOfWork, delivery: Delivery, now: datetime) -> bool:
        message = _lost_message(delivery)
        event = DeliveryEvent.LEASE_EXPIRED
        changes: dict[str, Any] = {"next_attempt_at": now, "failure": message}
        lost_before = failures_so_far(uow, f"delivery:{delivery.id}", delivery.study_instance_uid, event.value)
        if lost_before + 1 >= self._lost_limit:
            message = f"{message}; gave up after {lost_before + 1} lost workers"
            event = DeliveryEvent.ATTEMPTS_EXHAUSTED
            changes = {"next_attempt_at": None, "failure": message, "finished_at": now}
        log.warning("delivery_lost_its_worker", delivery=delivery.id, attempt=delivery.attempt, why=message)
        return move_delivery(uow, delivery, event, at=now, reason=message, **changes) is not None

    def _commitment_late(self, uow: UnitOfWork, delivery: Delivery, now: datetime) -> bool:
        terms = self._terms_of(delivery.peer)
        why = f"{delivery.peer} did not report in {terms.commitment.timeout_s:.0f} s whether it commits"
        verdict = refused(uow, delivery, DeliveryEvent.COMMIT_TIMEOUT, why, now=now, terms=terms, randomness=0.0)
        log.warning("commitment_late", delivery=delivery.id, peer=delivery.peer, why=verdict.why)
        return move_by(uow, delivery, verdict, at=now, actor=NODE) is not None


def _lost_message(row: AnalysisJob | Delivery) -> str:
    owner = row.lease.owner if row.lease is not None else "nobody"
    return f"the worker {owner} was lost during attempt {row.attempt}"


def _newer_result(uow: UnitOfWork, delivery: Delivery) -> int | None:
    """The newest revision with a result that came after this delivery's; None where there is none."""
    newer = [
        job.revision
        for job in uow.jobs.of_study(delivery.study_instance_uid)
        if job.revision > delivery.revision and job.state is JobState.DONE
    ]
    return max(newer, default=None)
