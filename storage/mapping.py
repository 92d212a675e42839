"""Rows to core types and back. The only place that knows how a core type is laid out in columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any

from sqlalchemy import RowMapping

from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import AnalysisJob, JobState, Lease
from dicom_node.core.quarantine import QuarantinedFile, QuarantineReason, QuarantineState
from dicom_node.core.shipment import Substitution
from dicom_node.core.study import InstanceRecord, PatientSummary, StudyIntake, StudyState

Values = dict[str, Any]

_PATIENT = tuple(field.name for field in fields(PatientSummary))
_INSTANCE = tuple(field.name for field in fields(InstanceRecord) if field.name not in ("file", "patient"))
_HISTORY = tuple(field.name for field in fields(HistoryEntry))
_QUARANTINED = tuple(
    field.name for field in fields(QuarantinedFile) if field.name not in ("id", "file", "reason", "state")
)


def study_values(intake: StudyIntake) -> Values:
    """Columns of `study` except the derived `instance_count`."""
    return {
        "study_instance_uid": intake.study_instance_uid,
        "state": intake.state.value,
        "revision": intake.revision,
        "first_received_at": intake.first_received_at,
        "last_received_at": intake.last_received_at,
        "calling_aet": intake.calling_aet,
        "close_reason": intake.close_reason,
        "closed_at": intake.closed_at,
        **_patient_values(intake.patient),
    }


def study_from(row: RowMapping, open_associations: tuple[str, ...]) -> StudyIntake:
    return StudyIntake(
        study_instance_uid=row["study_instance_uid"],
        state=StudyState(row["state"]),
        revision=row["revision"],
        first_received_at=row["first_received_at"],
        last_received_at=row["last_received_at"],
        instance_count=row["instance_count"],
        open_associations=open_associations,
        patient=_patient_from(row),
        calling_aet=row["calling_aet"],
        close_reason=row["close_reason"],
        closed_at=row["closed_at"],
    )


def instance_values(record: InstanceRecord) -> Values:
    return {
        **{name: getattr(record, name) for name in _INSTANCE},
        "file": path_text(record.file),
        **_patient_values(record.patient),
    }


def instance_from(row: RowMapping) -> InstanceRecord:
    return InstanceRecord(**{name: row[name] for name in _INSTANCE}, file=Path(row["file"]), patient=_patient_from(row))


def job_values(job: AnalysisJob) -> Values:
    """The columns of `job` that change during its life."""
    return {
        **_leased_values(job),
        "reason": job.reason,
        "result_json": job.result_json,
        "is_told": job.is_told,
    }


def job_from(row: RowMapping) -> AnalysisJob:
    return AnalysisJob(
        **_leased_from(row),
        state=JobState(row["state"]),
        reason=row["reason"],
        result_json=row["result_json"],
        is_told=row["is_told"],
    )


def delivery_values(delivery: Delivery) -> Values:
    """The columns of `delivery` that change during its life."""
    return _leased_values(delivery)


def delivery_from(
    row: RowMapping,
    objects: tuple[ResultObject, ...],
    answers: Iterable[ObjectStatus],
    substitutions: tuple[Substitution, ...] = (),
) -> Delivery:
    """`statuses` come in the order of `objects`."""
    place = {result.sop_instance_uid: index for index, result in enumerate(objects)}
    return Delivery(
        **_leased_from(row),
        state=DeliveryState(row["state"]),
        job_id=row["job_id"],
        peer=row["peer"],
        channel=Channel(row["channel"]),
        route=row["route"],
        round=row["round"],
        is_urgent=row["is_urgent"],
        objects=objects,
        substitutions=substitutions,
        statuses=tuple(sorted(answers, key=lambda answer: place.get(answer.sop_instance_uid, len(place)))),
    )


def object_values(delivery_id: int, position: int, result: ResultObject) -> Values:
    return {
        "delivery_id": delivery_id,
        "position": position,
        "kind": result.kind.value,
        "sop_class_uid": result.sop_class_uid,
        "sop_instance_uid": result.sop_instance_uid,
        "series_instance_uid": result.series_instance_uid,
        "file": path_text(result.file),
    }


def object_from(row: RowMapping) -> ResultObject:
    return ResultObject(
        kind=ResultKind(row["kind"]),
        sop_class_uid=row["sop_class_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        file=Path(row["file"]),
    )


def substitution_values(delivery_id: int, position: int, entry: Substitution) -> Values:
    return {
        "delivery_id": delivery_id,
        "position": position,
        "wanted": entry.wanted.value,
        "sent": None if entry.sent is None else entry.sent.value,
        "why": entry.why,
    }


def substitution_from(row: RowMapping) -> Substitution:
    sent = row["sent"]
    return Substitution(
        wanted=ResultKind(row["wanted"]), sent=None if sent is None else ResultKind(sent), why=row["why"]
    )


def answer_values(delivery_id: int, answer: ObjectStatus) -> Values:
    return {
        "delivery_id": delivery_id,
        "sop_instance_uid": answer.sop_instance_uid,
        "status": answer.status,
        "answered_at": answer.answered_at,
    }


def answer_from(row: RowMapping) -> ObjectStatus:
    return ObjectStatus(sop_instance_uid=row["sop_instance_uid"], status=row["status"], answered_at=row["answered_at"])


def history_values(entry: HistoryEntry) -> Values:
    return {name: getattr(entry, name) for name in _HISTORY}


def history_from(row: RowMapping) -> HistoryEntry:
    return HistoryEntry(**{name: row[name] for name in _HISTORY})


def quarantined_values(entry: QuarantinedFile) -> Values:
    """Every column but the id."""
    return {
        **{name: getattr(entry, name) for name in _QUARANTINED},
        "file": path_text(entry.file),
        "reason": entry.reason.value,
        "state": entry.state.value,
    }


def quarantined_from(row: RowMapping) -> QuarantinedFile:
    return QuarantinedFile(
        **{name: row[name] for name in _QUARANTINED},
        id=row["id"],
        file=Path(row["file"]),
        reason=QuarantineReason(row["reason"]),
        state=QuarantineState(row["state"]),
    )


def path_text(path: PurePath) -> str:
    """As stored: forward slashes."""
    return path.as_posix()


def _patient_values(patient: PatientSummary) -> Values:
    return {name: getattr(patient, name) for name in _PATIENT}


def _patient_from(row: RowMapping) -> PatientSummary:
    return PatientSummary(**{name: row[name] for name in _PATIENT})


def _leased_values(work: AnalysisJob | Delivery) -> Values:
    return {
        "state": work.state.value,
        "attempt": work.attempt,
        "next_attempt_at": work.next_attempt_at,
        "lease_owner": work.lease.owner if work.lease else None,
        "lease_expires_at": work.lease.expires_at if work.lease else None,
        "failure": work.failure,
        "finished_at": work.finished_at,
    }


def _leased_from(row: RowMapping) -> Values:
    owner, expires_at = row["lease_owner"], row["lease_expires_at"]
    return {
        "id": row["id"],
        "study_instance_uid": row["study_instance_uid"],
        "revision": row["revision"],
        "attempt": row["attempt"],
        "created_at": row["created_at"],
        "next_attempt_at": row["next_attempt_at"],
        "lease": None if owner is None else Lease(owner=owner, expires_at=expires_at),
        "failure": row["failure"],
        "finished_at": row["finished_at"],
    }
