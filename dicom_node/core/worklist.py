"""One word for where a study stands, derived each time and never stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.core.delivery import Delivery, DeliveryState
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.study import StudyIntake, StudyState

ATTENTION_AFTER_ATTEMPTS = 5
"""A delivery that failed this often is still tried and shows as NEEDS_ATTENTION meanwhile: somebody may know why."""


class WorklistState(StrEnum):
    """What the operator sees."""

    RECEIVING = "RECEIVING"
    WAITING = "WAITING"
    ANALYSING = "ANALYSING"
    SENDING = "SENDING"
    DELIVERED = "DELIVERED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"


@dataclass(frozen=True, kw_only=True)
class WorklistStatus:
    """The word and the sentence that explains it."""

    state: WorklistState
    why: str


def summarise(study: StudyIntake, job: AnalysisJob | None, deliveries: Sequence[Delivery]) -> WorklistStatus:
    """Where a study stands. `job` is the one of its current revision; of `deliveries` only that job's count."""
    if study.state is StudyState.RECEIVING:
        again = f"; revision {study.revision + 1} follows" if study.revision else ""
        return _status(WorklistState.RECEIVING, f"{study.instance_count} instances so far{again}")
    if job is None:
        return _status(WorklistState.NEEDS_ATTENTION, "the study is closed and has no analysis job")
    current = _latest_round(delivery for delivery in deliveries if delivery.job_id == job.id)
    if job.state is JobState.DONE:
        return _delivery_status(current)
    return _untold(job, current) or _job_status(job)


def _latest_round(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """A job that was started again has new deliveries; what became of those before no longer matters."""
    latest = {(delivery.channel, delivery.peer): delivery for delivery in sorted(deliveries, key=lambda d: d.round)}
    return list(latest.values())


def _untold(job: AnalysisJob, deliveries: Sequence[Delivery]) -> WorklistStatus | None:
    """A peer that asked to be told of a study without a result, and could not be."""
    failed = [d for d in deliveries if d.state is DeliveryState.FAILED]
    if job.state is not JobState.SKIPPED or not failed:
        return None
    told = "; ".join(f"{d.peer} was not told: {d.failure}" for d in failed)
    return _status(WorklistState.NEEDS_ATTENTION, f"not applicable ({job.reason}); {told}")


def _job_status(job: AnalysisJob) -> WorklistStatus:
    match job.state:
        case JobState.QUEUED:
            return _status(WorklistState.WAITING, "waits for a free analysis worker")
        case JobState.RUNNING:
            return _status(WorklistState.ANALYSING, f"attempt {job.attempt} of the analysis is running")
        case JobState.RETRY_WAIT:
            return _status(WorklistState.WAITING, f"attempt {job.attempt} failed and will be repeated: {job.failure}")
        case JobState.SKIPPED:
            return _status(WorklistState.NOT_APPLICABLE, job.reason)
        case JobState.FAILED:
            return _status(WorklistState.NEEDS_ATTENTION, f"the analysis failed: {job.failure}")
        case JobState.CANCELLED:
            # A stopped analysis must not read like a negative or a not-applicable one.
            return _status(WorklistState.NEEDS_ATTENTION, "an operator cancelled the analysis; there is no result")
        case _:
            return _status(WorklistState.NEEDS_ATTENTION, f"the study is closed and its job is {job.state.value}")


def _delivery_status(deliveries: Sequence[Delivery]) -> WorklistStatus:
    if not deliveries:
        return _status(WorklistState.DELIVERED, "analysed; no peer was set to receive results")
    failed = [d for d in deliveries if d.state is DeliveryState.FAILED]
    if failed:
        return _status(WorklistState.NEEDS_ATTENTION, "; ".join(f"to {d.peer}: {d.failure}" for d in failed))
    moving = [d for d in deliveries if d.state is not DeliveryState.FAILED and not d.is_finished]
    tired = [d for d in moving if d.attempt >= ATTENTION_AFTER_ATTEMPTS and d.failure]
    if tired:
        why = "; ".join(f"to {d.peer}: attempt {d.attempt} failed, still trying: {d.failure}" for d in tired)
        return _status(WorklistState.NEEDS_ATTENTION, why)
    if moving:
        return _status(WorklistState.SENDING, "; ".join(_moving(d) for d in moving))
    objects = [d for d in deliveries if not d.channel.is_notification]
    if not objects:
        return _status(WorklistState.DELIVERED, "analysed; no peer was set to receive results")
    stored = [d for d in objects if d.state in (DeliveryState.STORED, DeliveryState.COMMITTED)]
    if not stored:
        return _status(WorklistState.NEEDS_ATTENTION, "every delivery was cancelled; no peer holds the result")
    return _status(WorklistState.DELIVERED, f"stored at {', '.join(d.peer for d in stored)}")


def _moving(delivery: Delivery) -> str:
    if delivery.state is DeliveryState.SENDING:
        return f"sending to {delivery.peer}"
    if delivery.state is DeliveryState.RETRY_WAIT:
        return f"attempt {delivery.attempt} to {delivery.peer} failed and will be repeated: {delivery.failure}"
    if delivery.state is DeliveryState.COMMIT_WAIT:
        by = f" by {delivery.next_attempt_at:%Y-%m-%d %H:%M} UTC" if delivery.next_attempt_at else ""
        return f"stored at {delivery.peer}, which is to say{by} whether it commits to keep it"
    if delivery.failure:
        return f"waits for {delivery.peer}, which could not be reached: {delivery.failure}"
    return f"waits to be sent to {delivery.peer}"


def _status(state: WorklistState, why: str) -> WorklistStatus:
    return WorklistStatus(state=state, why=why)
