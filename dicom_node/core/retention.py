"""Which studies may be removed, and which must stay: decided from rows alone.

What an operator or a peer may still need stays, however old: a study on its way in, an analysis or a delivery that
is not finished, a result that nobody holds, a peer that has not committed yet, a file in quarantine to decide about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dicom_node.core.delivery import Delivery, DeliveryState
from dicom_node.core.job import WITHOUT_RESULT, AnalysisJob, JobState
from dicom_node.core.study import StudyIntake, StudyState
from dicom_node.core.worklist import WorklistState, summarise

_ENDED = (JobState.DONE, JobState.SUPERSEDED, *WITHOUT_RESULT)
_FINISHED = (WorklistState.DELIVERED, WorklistState.NOT_APPLICABLE)


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """A study with all its jobs and deliveries. `awaits_report`: its sender asked for a commitment, no answer yet."""

    study: StudyIntake
    jobs: Sequence[AnalysisJob]
    deliveries: Sequence[Delivery]
    has_quarantine: bool = False
    awaits_report: bool = False

    @property
    def current_job(self) -> AnalysisJob | None:
        """Of the current revision."""
        return next((job for job in self.jobs if job.revision == self.study.revision), None)

    @property
    def last_moved_at(self) -> datetime:
        """When the last image, close, analysis or delivery was."""
        ends = [self.study.closed_at]
        ends += [job.finished_at for job in self.jobs]
        ends += [delivery.finished_at for delivery in self.deliveries]
        return max([self.study.last_received_at, *(at for at in ends if at is not None)])


def why_kept(facts: StudyFacts) -> str:
    """Why the study must stay, in a sentence; empty where it may go."""
    study, job = facts.study, facts.current_job
    if study.state is not StudyState.CLOSED:
        return f"the study is {study.state.value}"
    status = summarise(study, job, facts.deliveries)
    if status.state not in _FINISHED:
        return f"{status.state.value}: {status.why}"
    unfinished = [each for each in facts.jobs if each.state not in _ENDED]
    if unfinished:
        return f"job {unfinished[0].id} is {unfinished[0].state.value}"
    if job is not None and job.state in WITHOUT_RESULT and not job.is_told:
        return "the peers that ask for it have not been told that there is no result"
    undelivered = [delivery for delivery in facts.deliveries if not _is_over(delivery, job)]
    if undelivered:
        return f"delivery {undelivered[0].id} to {undelivered[0].peer} is {undelivered[0].state.value}"
    if facts.has_quarantine:
        return "a file in quarantine waits for a decision"
    if facts.awaits_report:
        return "its sender asked whether the images are kept and has no answer yet"
    return ""


def _is_over(delivery: Delivery, current: AnalysisJob | None) -> bool:
    """A failed delivery of an earlier revision is not sent any more, whoever asks: a newer result follows it."""
    is_earlier = current is not None and delivery.job_id != current.id
    return delivery.is_finished or (is_earlier and delivery.state is DeliveryState.FAILED)
