"""What an operator may do to studies and deliveries. Each action is one transaction with the operator in its history.

A refusal is an ActionRefused (or UnknownStudy, UnknownDelivery) whose text is one sentence for the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from dicom_node.app import counting
from dicom_node.app.close_studies import close_study as close
from dicom_node.app.index_instance import UNFINISHED
from dicom_node.app.moves import move_delivery, move_job
from dicom_node.app.outbox import add_delivery
from dicom_node.core.delivery import Channel, Delivery, DeliveryState
from dicom_node.core.errors import NodeError
from dicom_node.core.identifiers import study_key
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.routing import Destination
from dicom_node.core.study import StudyIntake, StudyState
from dicom_node.core.transitions import DeliveryEvent, JobEvent, StudyEvent
from dicom_node.ports import Clock, Counters, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

Row = TypeVar("Row")

RETRIABLE_JOBS = (JobState.FAILED, JobState.SKIPPED, JobState.CANCELLED)
RETRIABLE_DELIVERIES = (DeliveryState.FAILED, DeliveryState.RETRY_WAIT, DeliveryState.COMMIT_WAIT)
CANCELLABLE = (DeliveryState.PENDING, *RETRIABLE_DELIVERIES)
REPEATABLE = (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.CANCELLED)
"""What an operator may do with a delivery in which state: try it now, give it up, send the whole of it again."""


class ActionRefused(NodeError):
    """The action makes no sense now; nothing was changed."""


class UnknownStudy(ActionRefused):
    """The node has never received this study."""


class UnknownDelivery(ActionRefused):
    """There is no delivery of this number."""


class OperatorActions:
    """The actions behind the command line, the web page and the API. `actor` names the operator."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        clock: Clock,
        counters: Counters,
        has_file: Callable[[Path], bool] = Path.is_file,
    ) -> None:
        """`has_file`: whether a result's file is still there."""
        self._has_file = has_file
        self._uow = uow_factory
        self._clock = clock
        self._counters = counters

    def close_study(self, study_instance_uid: str, *, actor: str, reason: str = "") -> AnalysisJob:
        """Close a study that is being received and queue its analysis, open associations or not."""
        now = self._clock.now()
        with self._uow() as uow:
            intake = _study(uow, study_instance_uid)
            if intake.state is not StudyState.RECEIVING:
                raise ActionRefused(f"study {study_instance_uid} is {intake.state.value} already, not RECEIVING")
            why = f"closed by {actor}" + (f": {reason}" if reason else "")
            job = close(uow, intake, StudyEvent.OPERATOR_CLOSED, at=now, why=why, actor=actor)
            uow.commit()
        self._counters.count(counting.STUDIES_CLOSED, event=StudyEvent.OPERATOR_CLOSED.value)
        _log("close_study", study_instance_uid, actor)
        return job

    def retry_study(self, study_instance_uid: str, *, actor: str) -> tuple[AnalysisJob, tuple[Delivery, ...]]:
        """Start again what stands still: the analysis, or the failed deliveries of a study that was analysed.

        A finished analysis is not repeated: the peers hold its result. `analyse_again` does that.
        """
        with self._uow() as uow:
            job = _current_job(uow, _study(uow, study_instance_uid))
            if job.state is JobState.DONE:
                retried = tuple(
                    self._requeue_delivery(uow, delivery, actor)
                    for delivery in uow.deliveries.of_study(study_instance_uid)
                    if delivery.job_id == job.id and delivery.state is DeliveryState.FAILED
                )
                if not retried:
                    raise ActionRefused(
                        f"study {study_instance_uid} is analysed and no delivery of it has failed: nothing to retry"
                    )
            else:
                job, retried = self._requeue_job(uow, job, actor), ()
            uow.commit()
        _log("retry_study", study_instance_uid, actor)
        return job, retried

    def analyse_again(self, study_instance_uid: str, *, actor: str) -> AnalysisJob:
        """Queue another analysis of a study that has a result, as its next revision: for another bundle, or for what
        an earlier version of the node did not keep. Receivers get the new result in place of the earlier one."""
        with self._uow() as uow:
            intake = _study(uow, study_instance_uid)
            job = _current_job(uow, intake)
            if job.state is not JobState.DONE:
                raise ActionRefused(f"the analysis of study {study_instance_uid} is {job.state.value}, not DONE")
            why = f"analysed again for {actor}"
            job = close(uow, intake, StudyEvent.OPERATOR_REPEATED, at=self._clock.now(), why=why, actor=actor)
            uow.commit()
        self._counters.count(counting.STUDIES_CLOSED, event=StudyEvent.OPERATOR_REPEATED.value)
        _log("analyse_again", study_instance_uid, actor)
        return job

    def cancel_study(self, study_instance_uid: str, *, actor: str) -> AnalysisJob:
        """Stop the analysis that waits or runs; a running child is ended by its worker's next heartbeat."""
        now = self._clock.now()
        with self._uow() as uow:
            job = _current_job(uow, _study(uow, study_instance_uid))
            if job.state not in UNFINISHED:
                raise ActionRefused(
                    f"the analysis of study {study_instance_uid} is {job.state.value}: nothing to cancel"
                )
            cancelled = _won(
                move_job(
                    uow,
                    job,
                    JobEvent.OPERATOR_CANCELLED,
                    at=now,
                    reason=f"cancelled by {actor}",
                    actor=actor,
                    finished_at=now,
                    next_attempt_at=None,
                ),
                f"job {job.id}",
            )
            uow.commit()
        _log("cancel_study", study_instance_uid, actor)
        return cancelled

    def retry_delivery(self, delivery_id: int, *, actor: str) -> Delivery:
        """Send a failed delivery again, or one that waits for its next attempt or for a commitment at once; what the
        peer holds already is not sent twice."""
        with self._uow() as uow:
            delivery = _delivery(uow, delivery_id)
            retried = self._requeue_delivery(uow, delivery, actor)
            uow.commit()
        _log("retry_delivery", delivery.study_instance_uid, actor)
        return retried

    def cancel_delivery(self, delivery_id: int, *, actor: str) -> Delivery:
        """Give up a delivery that waits or has failed. One that is being sent goes on: it would be half there."""
        now = self._clock.now()
        with self._uow() as uow:
            delivery = _delivery(uow, delivery_id)
            if delivery.state not in CANCELLABLE:
                raise ActionRefused(f"delivery {delivery_id} is {delivery.state.value}: there is nothing to cancel")
            moved = move_delivery(
                uow,
                delivery,
                DeliveryEvent.OPERATOR_CANCELLED,
                at=now,
                reason=f"cancelled by {actor}",
                actor=actor,
                finished_at=now,
                next_attempt_at=None,
            )
            cancelled = _won(moved, f"delivery {delivery_id}")
            uow.commit()
        _log("cancel_delivery", delivery.study_instance_uid, actor)
        return cancelled

    def send_again(self, delivery_id: int, *, actor: str) -> Delivery:
        """The whole of a delivery once more, as a new one, where it was stored or given up: a receiver may have lost
        what it once stored."""
        with self._uow() as uow:
            before = _delivery(uow, delivery_id)
            job = _repeatable(uow, before)
            for entry in before.objects:
                if not self._has_file(entry.file):
                    raise ActionRefused(f"the files of delivery {delivery_id} are gone: run the analysis again")
            again = add_delivery(
                uow,
                job,
                Destination(peer=before.peer, route=before.route, why=f"sent again by {actor}"),
                before.objects,
                self._clock.now(),
                channel=before.channel,
                is_urgent=before.is_urgent,
                actor=actor,
            )
            uow.commit()
        _log("send_again", before.study_instance_uid, actor)
        return again

    def retry_peer(self, peer: str, *, actor: str) -> tuple[Delivery, ...]:
        """Send everything again that failed at this receiver. What a newer result has replaced is left as it is."""
        with self._uow() as uow:
            failed = uow.deliveries.failed(peer)
            retried = tuple(self._requeue_delivery(uow, each, actor) for each in failed if not _newer(uow, each))
            if not retried:
                raise ActionRefused(f"no delivery to {peer} has failed: nothing to retry")
            uow.commit()
        log.info("operator_action", action="retry_peer", peer=peer, deliveries=len(retried), actor=actor)
        return retried

    def reset_circuit(self, peer: str, *, actor: str) -> None:
        """A receiver that could not be reached is tried again at once, as if it never had failed."""
        with self._uow() as uow:
            forgotten = [uow.circuits.forget(channel, peer) for channel in Channel]
            if not any(forgotten):
                raise ActionRefused(f"nothing keeps results from {peer}: it was reached when it was last tried")
            uow.commit()
        log.info("operator_action", action="reset_circuit", peer=peer, actor=actor)

    def _requeue_job(self, uow: UnitOfWork, job: AnalysisJob, actor: str) -> AnalysisJob:
        if job.state not in RETRIABLE_JOBS:
            raise ActionRefused(
                f"the analysis of study {job.study_instance_uid} is {job.state.value}: it needs no retry"
            )
        moved = move_job(
            uow,
            job,
            JobEvent.OPERATOR_RETRIED,
            at=self._clock.now(),
            reason=f"retried by {actor}",
            actor=actor,
            attempt=0,
            failure="",
            result_json="",
            is_told=False,
            finished_at=None,
            next_attempt_at=None,
        )
        return _won(moved, f"job {job.id}")

    def _requeue_delivery(self, uow: UnitOfWork, delivery: Delivery, actor: str) -> Delivery:
        if delivery.state not in RETRIABLE_DELIVERIES:
            raise ActionRefused(f"delivery {delivery.id} is {delivery.state.value}, not FAILED: it needs no retry")
        newer = _newer(uow, delivery)
        if newer:
            raise ActionRefused(
                f"delivery {delivery.id} is of revision {delivery.revision}, revision {max(newer)} has a result:"
                " an older result is not sent after a newer one"
            )
        moved = move_delivery(
            uow,
            delivery,
            DeliveryEvent.OPERATOR_RETRIED,
            at=self._clock.now(),
            reason=f"retried by {actor}",
            actor=actor,
            attempt=0,
            failure="",
            finished_at=None,
            next_attempt_at=None,
        )
        return _won(moved, f"delivery {delivery.id}")


def _delivery(uow: UnitOfWork, delivery_id: int) -> Delivery:
    delivery = uow.deliveries.get(delivery_id)
    if delivery is None:
        raise UnknownDelivery(f"there is no delivery {delivery_id}")
    return delivery


def _repeatable(uow: UnitOfWork, delivery: Delivery) -> AnalysisJob:
    """The job whose result it carries, where it may be carried again."""
    if delivery.state not in REPEATABLE:
        raise ActionRefused(f"delivery {delivery.id} is {delivery.state.value}: retry it instead")
    newer = _newer(uow, delivery)
    if newer:
        raise ActionRefused(
            f"delivery {delivery.id} is of revision {delivery.revision}, revision {max(newer)} has a result:"
            " an older result is not sent after a newer one"
        )
    for other in uow.deliveries.of_study(delivery.study_instance_uid):
        is_same = (other.job_id, other.channel, other.peer) == (delivery.job_id, delivery.channel, delivery.peer)
        if is_same and other.round > delivery.round:
            raise ActionRefused(f"delivery {other.id} has taken the place of delivery {delivery.id}")
    job = uow.jobs.get(delivery.job_id)
    if job is None or delivery.says_status_only is (job.state is JobState.DONE):
        raise ActionRefused(f"what delivery {delivery.id} says is no longer so: a newer result has taken its place")
    return job


def _newer(uow: UnitOfWork, delivery: Delivery) -> list[int]:
    """The revisions after the delivery's that have a result."""
    return [
        job.revision
        for job in uow.jobs.of_study(delivery.study_instance_uid)
        if job.revision > delivery.revision and job.state is JobState.DONE
    ]


def _study(uow: UnitOfWork, study_instance_uid: str) -> StudyIntake:
    intake = uow.studies.get(study_instance_uid)
    if intake is None:
        raise UnknownStudy(f"there is no study {study_instance_uid} on this node")
    return intake


def _current_job(uow: UnitOfWork, intake: StudyIntake) -> AnalysisJob:
    uid = intake.study_instance_uid
    if intake.state is StudyState.RECEIVING:
        raise ActionRefused(f"study {uid} is still being received: close it first")
    if intake.state is StudyState.PURGED:
        raise ActionRefused(f"the images of study {uid} were purged: send it again")
    for job in uow.jobs.of_study(uid):
        if job.revision == intake.revision:
            return job
    raise ActionRefused(f"study {uid} has no analysis job for revision {intake.revision}")


def _won(moved: Row | None, what: str) -> Row:
    if moved is None:
        raise ActionRefused(f"{what} was changed by the node at the same moment: look again")
    return moved


def _log(action: str, study_instance_uid: str, actor: str) -> None:
    log.info("operator_action", action=action, study=study_key(study_instance_uid), actor=actor)
