"""Close studies that are complete and queue their analysis, in one transaction each."""

from __future__ import annotations

from datetime import datetime

import structlog

from dicom_node.app import counting
from dicom_node.app.moves import NODE, move_study, note
from dicom_node.core.completeness import ClosePolicy, Complete, assess
from dicom_node.core.identifiers import study_key
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.study import StudyIntake, StudyState
from dicom_node.core.transitions import StudyEvent
from dicom_node.ports import Clock, Counters, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_PAGE = 500


class CloseStudies:
    """The tick that closes studies."""

    def __init__(
        self, *, uow_factory: UnitOfWorkFactory, clock: Clock, counters: Counters, policy: ClosePolicy
    ) -> None:
        self._uow = uow_factory
        self._clock = clock
        self._counters = counters
        self._policy = policy

    def tick(self) -> int:
        """Close every study that is complete now; returns how many. A closed study is CLOSED with a QUEUED job."""
        return sum(self._close_if_complete(uid) for uid in self._complete())

    def _complete(self) -> tuple[str, ...]:
        with self._uow() as uow:
            receiving: list[StudyIntake] = []
            while page := uow.studies.list(states=[StudyState.RECEIVING], limit=_PAGE, offset=len(receiving)):
                receiving += page
        now = self._clock.now()
        return tuple(
            intake.study_instance_uid for intake in receiving if isinstance(assess(intake, now, self._policy), Complete)
        )

    def _close_if_complete(self, study_instance_uid: str) -> bool:
        # Assessed again inside the transaction: an image may have arrived since the list was read.
        with self._uow() as uow:
            intake = uow.studies.get(study_instance_uid)
            if intake is None or intake.state is not StudyState.RECEIVING:
                return False
            now = self._clock.now()
            verdict = assess(intake, now, self._policy)
            if not isinstance(verdict, Complete):
                return False
            close_study(uow, intake, verdict.event, at=now, why=verdict.why)
            uow.commit()
        self._counters.count(counting.STUDIES_CLOSED, event=verdict.event.value)
        log.info(
            "study_closed",
            study=study_key(study_instance_uid),
            event_name=verdict.event.value,
            why=verdict.why,
        )
        return True


def close_study(
    uow: UnitOfWork, intake: StudyIntake, event: StudyEvent, *, at: datetime, why: str, actor: str = NODE
) -> AnalysisJob:
    """Close the study as its next revision and queue the job of that revision. The caller commits.

    Raises IllegalTransition where the event means nothing to the study as it is.
    """
    closed = move_study(
        uow,
        intake,
        event,
        at=at,
        reason=why,
        actor=actor,
        revision=intake.revision + 1,
        close_reason=why,
        closed_at=at,
    )
    job = uow.jobs.add(study_instance_uid=closed.study_instance_uid, revision=closed.revision, created_at=at)
    note(
        uow,
        f"job:{job.id}",
        "queued",
        at=at,
        from_state="",
        to_state=JobState.QUEUED.value,
        reason=f"revision {closed.revision} of the study was closed",
        actor=actor,
        study_instance_uid=closed.study_instance_uid,
    )
    return job
