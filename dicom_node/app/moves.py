"""The one writer of states: each move asks the table, writes the row and adds the history entry, in one transaction.

A move of a job or delivery returns None where another writer was first; the caller treats that as a no-op and
neither commits nor reports anything.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from dicom_node.core.delivery import Delivery
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.study import StudyIntake
from dicom_node.core.transitions import (
    DELIVERY,
    JOB,
    STUDY,
    DeliveryEvent,
    JobEvent,
    StudyEvent,
    advance,
)
from dicom_node.ports import UnitOfWork

NODE = "node"
"""The actor of what the node does by itself."""


def move_study(
    uow: UnitOfWork,
    intake: StudyIntake,
    event: StudyEvent,
    *,
    at: datetime,
    reason: str,
    actor: str = NODE,
    **changes: Any,
) -> StudyIntake:
    """Write the study after `event` with `changes`. A move within a state leaves no history entry.

    Raises IllegalTransition.
    """
    moved = replace(intake, state=advance(STUDY, intake.state, event), **changes)
    uow.studies.save(moved)
    if moved.state is not intake.state:
        note(
            uow,
            f"study:{intake.study_instance_uid}",
            event.value,
            at=at,
            from_state=intake.state.value,
            to_state=moved.state.value,
            reason=reason,
            actor=actor,
            study_instance_uid=intake.study_instance_uid,
        )
    return moved


def move_job(
    uow: UnitOfWork,
    job: AnalysisJob,
    event: JobEvent,
    *,
    at: datetime,
    reason: str,
    actor: str = NODE,
    **changes: Any,
) -> AnalysisJob | None:
    """Write the job after `event` with `changes`, without a lease; a skipped job keeps `reason` in its row.

    None for a lost race; raises IllegalTransition.
    """
    state = advance(JOB, job.state, event)
    kept_reason = reason if state is JobState.SKIPPED else ""
    moved = replace(job, state=state, reason=kept_reason, **{"lease": None, **changes})
    if not uow.jobs.update(moved, expected=job):
        return None
    note_job(uow, job, moved, event, at=at, reason=reason, actor=actor)
    return moved


def move_delivery(
    uow: UnitOfWork,
    delivery: Delivery,
    event: DeliveryEvent,
    *,
    at: datetime,
    reason: str,
    actor: str = NODE,
    **changes: Any,
) -> Delivery | None:
    """As `move_job`, for a delivery."""
    moved = replace(delivery, state=advance(DELIVERY, delivery.state, event), **{"lease": None, **changes})
    if not uow.deliveries.update(moved, expected=delivery):
        return None
    note_delivery(uow, delivery, moved, event, at=at, reason=reason, actor=actor)
    return moved


def note_job(
    uow: UnitOfWork,
    before: AnalysisJob,
    after: AnalysisJob,
    event: JobEvent,
    *,
    at: datetime,
    reason: str,
    actor: str = NODE,
) -> None:
    """The history entry alone, for a move that the repository has made (a claim)."""
    note(
        uow,
        f"job:{before.id}",
        event.value,
        at=at,
        from_state=before.state.value,
        to_state=after.state.value,
        reason=reason,
        actor=actor,
        study_instance_uid=before.study_instance_uid,
    )


def note_delivery(
    uow: UnitOfWork,
    before: Delivery,
    after: Delivery,
    event: DeliveryEvent,
    *,
    at: datetime,
    reason: str,
    actor: str = NODE,
) -> None:
    """As `note_job`, for a delivery."""
    note(
        uow,
        f"delivery:{before.id}",
        event.value,
        at=at,
        from_state=before.state.value,
        to_state=after.state.value,
        reason=reason,
        actor=actor,
        study_instance_uid=before.study_instance_uid,
    )


def note(
    uow: UnitOfWork,
    subject: str,
    event: str,
    *,
    at: datetime,
    from_state: str,
    to_state: str,
    reason: str,
    actor: str,
    study_instance_uid: str,
) -> None:
    """One history entry."""
    uow.history.append(
        HistoryEntry(
            at=at,
            subject=subject,
            event=event,
            from_state=from_state,
            to_state=to_state,
            reason=reason,
            actor=actor,
            study_instance_uid=study_instance_uid,
        )
    )
