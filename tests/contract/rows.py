"""Core values for the contract suite, with what a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.history import HistoryEntry
from dicom_node.core.study import InstanceRecord, PatientSummary, StudyIntake, StudyState

STUDY = "1.2.826.0.1.3680043.8.498.1"
PATIENT = PatientSummary(
    patient_id="P-0001",
    patient_name="Müller^Jürgen=山田^太郎",
    accession_number="A1",
    study_date="20260102",
    study_description="CT HWS",
)
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def intake(uid: str = STUDY, **changes: Any) -> StudyIntake:
    given: dict[str, Any] = {
        "study_instance_uid": uid,
        "state": StudyState.RECEIVING,
        "revision": 0,
        "first_received_at": NOON,
        "last_received_at": NOON,
        "instance_count": 0,
        "patient": PATIENT,
        "calling_aet": "CT_SCANNER",
    }
    return StudyIntake(**given | changes)


def instance(number: int, uid: str = STUDY, **changes: Any) -> InstanceRecord:
    given: dict[str, Any] = {
        "sop_instance_uid": f"{uid}.7.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "series_instance_uid": f"{uid}.3",
        "study_instance_uid": uid,
        "calling_aet": "CT_SCANNER",
        "called_aet": "CSPINE_AI",
        "association_id": "a-1",
        "received_at": at(number),
        "file": Path("received/2026-01-02") / uid / f"{number}.dcm",
        "digest": f"{number:064x}",
        "size_bytes": 5_000_000_000 + number,
        "modality": "CT",
        "patient": PATIENT,
    }
    return InstanceRecord(**given | changes)


def result_objects(prefix: str = "2.25") -> tuple[ResultObject, ...]:
    return tuple(
        ResultObject(
            kind=kind,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
            sop_instance_uid=f"{prefix}.{number}",
            series_instance_uid=f"{prefix}.9.{number}",
            file=Path(f"/var/node/jobs/1/{kind.value}.dcm"),
        )
        for number, kind in enumerate((ResultKind.SEG, ResultKind.SR), start=1)
    )


def entry(seconds: float, subject: str = f"study:{STUDY}", **changes: Any) -> HistoryEntry:
    given: dict[str, Any] = {
        "at": at(seconds),
        "subject": subject,
        "event": "instance_stored",
        "from_state": "CLOSED",
        "to_state": "RECEIVING",
        "reason": "late image",
        "actor": "CT_SCANNER",
        "study_instance_uid": STUDY,
    }
    return HistoryEntry(**given | changes)
