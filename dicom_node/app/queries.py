"""What the command line, the web page and the API show: read models, built in one transaction each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

from dicom_node.core.delivery import Delivery, DeliveryState
from dicom_node.core.finding import Outcome
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import AnalysisJob
from dicom_node.core.quarantine import QuarantinedFile
from dicom_node.core.standing import WorklistFilter, awaited_since, current_job
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.core.worklist import WorklistState, WorklistStatus, summarise
from dicom_node.ports import UnitOfWork

_HELD = (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.COMMIT_WAIT)


@dataclass(frozen=True, kw_only=True)
class WorklistRow:
    """One study as the node worklist shows it. `probability` and `is_positive` are None without an analysis."""

    study: StudyIntake
    awaited_since: datetime
    status: WorklistStatus
    job: AnalysisJob | None = None
    deliveries: tuple[Delivery, ...] = ()
    probability: float | None = None
    is_positive: bool | None = None
    positive_levels: tuple[str, ...] = ()

    @property
    def delivered_at(self) -> datetime | None:
        """When the first receiver held the result of the current revision; None while none does."""
        if self.job is None:
            return None
        return min(
            (at for delivery in self.deliveries if delivery.job_id == self.job.id and (at := _stored_at(delivery))),
            default=None,
        )

    @property
    def delivered_after_s(self) -> float | None:
        """Seconds from the last image to that, or from asking for another analysis of the same images."""
        held = self.delivered_at
        return None if held is None else max(0.0, (held - self.awaited_since).total_seconds())

    def as_json(self) -> dict[str, Any]:
        """The row for `--json` and the API."""
        return {
            **study_json(self.study),
            "status": self.status.state.value,
            "why": self.status.why,
            "probability": self.probability,
            "fracture": self.is_positive,
            "levels": list(self.positive_levels),
            "delivered_after_s": self.delivered_after_s,
        }


@dataclass(frozen=True, kw_only=True)
class WorklistPage:
    """A page of the studies that are meant. `total` are all of them; `tally` counts by state and by whether a fracture
    is suspected, whatever the state that was asked for."""

    rows: tuple[WorklistRow, ...]
    total: int
    tally: Mapping[tuple[WorklistState, bool], int]


@dataclass(frozen=True, kw_only=True)
class SeriesSummary:
    """The stored instances of one series, in order of arrival."""

    series_instance_uid: str
    modality: str
    instances: tuple[InstanceRecord, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(instance.size_bytes for instance in self.instances)


@dataclass(frozen=True, kw_only=True)
class StudyDetail:
    """Everything the node knows of a study. `result` is the contract's `result.json` of the current revision."""

    study: StudyIntake
    status: WorklistStatus
    series: tuple[SeriesSummary, ...]
    jobs: tuple[AnalysisJob, ...]
    deliveries: tuple[Delivery, ...]
    history: tuple[HistoryEntry, ...]
    result: dict[str, Any] | None

    @property
    def job(self) -> AnalysisJob | None:
        """The job of the current revision."""
        return current_job(self.study, self.jobs)

    def as_json(self) -> dict[str, Any]:
        """The study for `studies show --json` and the API."""
        return {
            **study_json(self.study),
            "status": self.status.state.value,
            "why": self.status.why,
            "series": [series_json(series) for series in self.series],
            "jobs": [job_json(job) for job in self.jobs],
            "deliveries": [delivery_json(delivery) for delivery in self.deliveries],
            "history": [history_json(entry) for entry in self.history],
            "result": self.result,
        }


def list_worklist(
    uow: UnitOfWork,
    *,
    states: Iterable[StudyState] | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[WorklistRow, ...]:
    """The studies, the one that received an instance last first."""
    return _rows(uow, uow.studies.list(states=states, limit=limit, offset=offset))


def worklist_page(uow: UnitOfWork, wanted: WorklistFilter, *, limit: int, offset: int = 0) -> tuple[WorklistRow, ...]:
    """The studies that are meant, in the order of the node worklist (`core.standing`)."""
    return _rows(uow, uow.worklist.page(wanted, limit=limit, offset=offset))


def counted_page(uow: UnitOfWork, wanted: WorklistFilter, *, limit: int, offset: int = 0) -> WorklistPage:
    """As `worklist_page`, with how many there are: known first, so that nobody looks for more than there are."""
    tally = uow.worklist.tally(replace(wanted, state=None))
    total = sum(count for (state, _), count in tally.items() if wanted.state in (None, state))
    rows = worklist_page(uow, wanted, limit=max(0, min(limit, total - offset)), offset=offset)
    return WorklistPage(rows=rows, total=total, tally=tally)


def analysed_results(uow: UnitOfWork, *, page: int = 200) -> Iterator[tuple[AnalysisJob, dict[str, Any]]]:
    """The last analysis of each study that has one, with its result; `page` studies are read at a time."""
    for offset in count(0, page):
        studies = uow.studies.list(states=None, limit=page, offset=offset)
        for study in studies:
            job = current_job(study, uow.jobs.of_study(study.study_instance_uid))
            result = _result(job)
            if job is not None and result is not None and result["outcome"] == Outcome.ANALYSED.value:
                yield job, result
        if len(studies) < page:
            return


def study_detail(uow: UnitOfWork, study_instance_uid: str) -> StudyDetail | None:
    """One study in full; None where the node does not know it."""
    study = uow.studies.get(study_instance_uid)
    if study is None:
        return None
    jobs = uow.jobs.of_study(study_instance_uid)
    deliveries = uow.deliveries.of_study(study_instance_uid)
    job = current_job(study, jobs)
    return StudyDetail(
        study=study,
        status=summarise(study, job, deliveries),
        series=_by_series(uow.studies.instances(study_instance_uid)),
        jobs=jobs,
        deliveries=deliveries,
        history=uow.history.of_study(study_instance_uid),
        result=_result(job),
    )


def study_json(study: StudyIntake) -> dict[str, Any]:
    """The intake as JSON; times are ISO 8601 in UTC."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "state": study.state.value,
        "revision": study.revision,
        "patient_id": study.patient.patient_id,
        "patient_name": study.patient.patient_name,
        "accession_number": study.patient.accession_number,
        "study_date": study.patient.study_date,
        "study_description": study.patient.study_description,
        "calling_aet": study.calling_aet,
        "instance_count": study.instance_count,
        "open_associations": len(study.open_associations),
        "first_received_at": iso(study.first_received_at),
        "last_received_at": iso(study.last_received_at),
        "closed_at": iso(study.closed_at),
        "close_reason": study.close_reason,
    }


def series_json(series: SeriesSummary) -> dict[str, Any]:
    """A series as JSON, without its instances."""
    return {
        "series_instance_uid": series.series_instance_uid,
        "modality": series.modality,
        "instance_count": len(series.instances),
        "size_bytes": series.size_bytes,
    }


def job_json(job: AnalysisJob) -> dict[str, Any]:
    """A job as JSON, without its result."""
    return {
        "id": job.id,
        "revision": job.revision,
        "state": job.state.value,
        "attempt": job.attempt,
        "created_at": iso(job.created_at),
        "next_attempt_at": iso(job.next_attempt_at),
        "finished_at": iso(job.finished_at),
        "failure": job.failure,
        "reason": job.reason,
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """A delivery as JSON, with the peer's answer to each object and what was sent instead of what.

    Not every object is sent: `held` says which the peer holds.
    """
    held = {entry.sop_instance_uid for entry in delivery.stored}
    answers = {status.sop_instance_uid: status for status in delivery.statuses}
    return {
        "id": delivery.id,
        "study_instance_uid": delivery.study_instance_uid,
        "revision": delivery.revision,
        "peer": delivery.peer,
        "channel": delivery.channel.value,
        "route": delivery.route,
        "round": delivery.round,
        "urgent": delivery.is_urgent,
        "state": delivery.state.value,
        "attempt": delivery.attempt,
        "created_at": iso(delivery.created_at),
        "next_attempt_at": iso(delivery.next_attempt_at),
        "finished_at": iso(delivery.finished_at),
        "failure": delivery.failure,
        "objects": [
            {
                "kind": entry.kind.value,
                "sop_class_uid": entry.sop_class_uid,
                "sop_instance_uid": entry.sop_instance_uid,
                "status": answers[entry.sop_instance_uid].status if entry.sop_instance_uid in answers else None,
                "held": entry.sop_instance_uid in held,
            }
            for entry in delivery.objects
        ],
        "substitutions": [
            {
                "wanted": entry.wanted.value,
                "sent": None if entry.sent is None else entry.sent.value,
                "why": entry.why,
            }
            for entry in delivery.substitutions
        ],
    }


def history_json(entry: HistoryEntry) -> dict[str, Any]:
    """A history entry as JSON."""
    return {
        "at": iso(entry.at),
        "subject": entry.subject,
        "event": entry.event,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "reason": entry.reason,
        "actor": entry.actor,
    }


def quarantine_json(entry: QuarantinedFile) -> dict[str, Any]:
    """A file in quarantine as JSON."""
    return {
        "id": entry.id,
        "state": entry.state.value,
        "reason": entry.reason.value,
        "why": entry.why,
        "set_aside_at": iso(entry.set_aside_at),
        "file": str(entry.file),
        "size_bytes": entry.size_bytes,
        "digest": entry.digest,
        "sop_instance_uid": entry.sop_instance_uid,
        "sop_class_uid": entry.sop_class_uid,
        "study_instance_uid": entry.study_instance_uid,
        "calling_aet": entry.calling_aet,
        "settled_at": iso(entry.settled_at),
        "settled_by": entry.settled_by,
        "settled_why": entry.settled_why,
    }


def _rows(uow: UnitOfWork, studies: Sequence[StudyIntake]) -> tuple[WorklistRow, ...]:
    """With a handful of statements, however many there are."""
    uids = [study.study_instance_uid for study in studies]
    jobs, deliveries = uow.jobs.of_studies(uids), uow.deliveries.of_studies(uids)
    return tuple(
        _row(study, jobs.get(study.study_instance_uid, ()), deliveries.get(study.study_instance_uid, ()))
        for study in studies
    )


def _row(study: StudyIntake, jobs: Sequence[AnalysisJob], deliveries: tuple[Delivery, ...]) -> WorklistRow:
    job = current_job(study, jobs)
    result = _result(job) or {}
    overall = result.get("patient_overall", {})
    return WorklistRow(
        study=study,
        awaited_since=awaited_since(study, jobs),
        status=summarise(study, job, deliveries),
        job=job,
        deliveries=deliveries,
        probability=overall.get("probability"),
        is_positive=overall.get("fracture"),
        positive_levels=tuple(level["level"] for level in result.get("levels", ()) if level["fracture"]),
    )


def _stored_at(delivery: Delivery) -> datetime | None:
    """When the receiver had said of each object that it holds it."""
    if delivery.channel.is_notification or delivery.state not in _HELD:
        return None
    answered = [status.answered_at for status in delivery.statuses if status.answered_at is not None]
    return max(answered, default=delivery.finished_at)


def _result(job: AnalysisJob | None) -> dict[str, Any] | None:
    return job.result if job is not None else None


def _by_series(instances: Iterable[InstanceRecord]) -> tuple[SeriesSummary, ...]:
    groups: dict[str, list[InstanceRecord]] = {}
    for instance in instances:
        groups.setdefault(instance.series_instance_uid, []).append(instance)
    return tuple(
        SeriesSummary(
            series_instance_uid=uid,
            modality=next((member.modality for member in members if member.modality), ""),
            instances=tuple(members),
        )
        for uid, members in groups.items()
    )


def iso(at: datetime | None) -> str | None:
    """ISO 8601 in UTC; None stays None."""
    return None if at is None else at.isoformat()
