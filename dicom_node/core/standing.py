"""A study's place in the node worklist: what it is narrowed by and what it is ordered by. Pure.

Suspected fractures come first. Among them, and among the rest, what is not finished comes before what is: the one that
has waited longest since its last image first. What is finished follows, the newest first.

A database keeps the standing beside the study, so that a page of a hundred thousand needs no look at the others. It is
still derived: in the transaction that changes what it follows from, by `standing_of`, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dicom_node.core.delivery import Delivery
from dicom_node.core.job import AnalysisJob
from dicom_node.core.study import StudyIntake, StudyState
from dicom_node.core.worklist import WorklistState, summarise

FINISHED = frozenset({WorklistState.DELIVERED, WorklistState.NOT_APPLICABLE})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = {"patient_name": 160, "patient_id": 64, "accession_number": 32}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """`is_positive` and `probability` are None without an analysis of the current revision."""

    state: WorklistState
    is_positive: bool | None
    probability: float | None
    finding_rank: int
    progress_rank: int
    time_rank: int

    @property
    def place(self) -> tuple[int, int, int]:
        """The lowest is shown first."""
        return self.finding_rank, self.progress_rank, self.time_rank


@dataclass(frozen=True, kw_only=True)
class WorklistFilter:
    """Which studies are meant; what is empty or None narrows nothing.

    Each word of `text` must be in the patient's name or ID, the accession number or the Study Instance UID, in
    whatever case. `source` is a calling AE title. The last image came at or after `from_at` and before `before`.
    """

    text: str = ""
    state: WorklistState | None = None
    is_positive: bool | None = None
    source: str = ""
    from_at: datetime | None = None
    before: datetime | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Of `text`, as `search_text` has them."""
        return tuple(_plain(self.text).split())

    def takes(self, study: StudyIntake, standing: Standing) -> bool:
        """Whether the study is meant."""
        found = search_text(study)
        return (
            (self.state is None or standing.state is self.state)
            and (self.is_positive is None or bool(standing.is_positive) is self.is_positive)
            and (not self.source or study.calling_aet == self.source)
            and (self.from_at is None or study.last_received_at >= self.from_at)
            and (self.before is None or study.last_received_at < self.before)
            and all(word in found for word in self.words)
        )


def standing_of(study: StudyIntake, jobs: Sequence[AnalysisJob], deliveries: Sequence[Delivery]) -> Standing:
    """`jobs` and `deliveries` are all of the study's."""
    job = current_job(study, jobs)
    state = summarise(study, job, deliveries).state
    is_positive, probability = _verdict(job)
    return Standing(
        state=state,
        is_positive=is_positive,
        probability=probability,
        finding_rank=0 if is_positive else 1,
        progress_rank=int(state in FINISHED),
        time_rank=time_rank(study.last_received_at, is_finished=state in FINISHED),
    )


def current_job(study: StudyIntake, jobs: Sequence[AnalysisJob]) -> AnalysisJob | None:
    """The job of the study's current revision."""
    return next((job for job in jobs if job.revision == study.revision), None)


def awaited_since(study: StudyIntake, jobs: Sequence[AnalysisJob]) -> datetime:
    """Since when somebody waits for the result of the current revision: its last image, or, where none has come since
    the revision before was closed, the moment at which it was asked for again. `jobs` are all of the study's."""
    job = current_job(study, jobs)
    before = max((each.created_at for each in jobs if each.revision < study.revision), default=None)
    if job is not None and before is not None and study.last_received_at <= before:
        return job.created_at
    return study.last_received_at


def is_receiving(study: StudyIntake) -> bool:
    """Its state is RECEIVING, whatever became of earlier revisions."""
    return study.state is StudyState.RECEIVING


def time_rank(last_received_at: datetime, *, is_finished: bool) -> int:
    """Microseconds since 1970, below 0 where the newest comes first."""
    since = (last_received_at - _EPOCH) // _MICROSECOND
    return -since if is_finished else since


def search_text(study: StudyIntake) -> str:
    """What `WorklistFilter.text` is looked for in: case folded, of bounded length."""
    patient = study.patient
    parts = [getattr(patient, name)[:longest] for name, longest in _LONGEST.items()]
    return _plain(" ".join((*parts, study.study_instance_uid)))


def _plain(text: str) -> str:
    """Case folded; the delimiters of a person name (PS3.5 6.2.1) are spaces."""
    return text.casefold().replace("^", " ").replace("=", " ").replace("\x00", "")


def _verdict(job: AnalysisJob | None) -> tuple[bool | None, float | None]:
    result = (job.result if job is not None else None) or {}
    overall = result.get("patient_overall") or {}
    return overall.get("fracture"), overall.get("probability")
