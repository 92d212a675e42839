"""Studies by the hundred thousand, written as rows: what a node has after years."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from dicom_node.core.finding import LEVELS
from dicom_node.core.standing import search_text, time_rank
from dicom_node.core.study import InstanceRecord, PatientSummary, StudyIntake, StudyState
from storage.database import Database
from storage.mapping import instance_values
from storage.rows import DeliveryObjectRow, DeliveryRow, InstanceRow, JobRow, StudyRow, table_of

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=4)
FAMILY = ("Abel", "Berger", "Conti", "Dubois", "Evans", "Fischer", "Garcia", "Huber", "Ito", "Jansen")
SCANNERS = ("CT_EMERGENCY", "CT_1", "CT_2", "ARCHIVE")
ONE_IN = 12  # has a suspected fracture
FIRST_ID = 1_000  # of jobs and deliveries; a test's own come before
_AT_ONCE = 5_000

BUNDLE = {"name": "cspine-test", "version": "1.0", "sha256": "ab" * 32}


def uid_of(number: int) -> str:
    """The Study Instance UID of the study of this number."""
    return f"1.2.826.0.1.3680043.8.498.77.{number}"


def seed_studies(
    database: Database, count: int, *, until: datetime = NOON, with_deliveries: bool = True, instances: int = 0
) -> None:
    """`count` analysed and delivered studies, one every four minutes up to `until`; one in `ONE_IN` is positive.

    Each has rows of `instances` instances, without files.
    """
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(count, first + _AT_ONCE))
        with database.engine.begin() as connection:
            connection.execute(insert(table_of(StudyRow)), [_study(n, until - (count - n) * STEP) for n in numbers])
            connection.execute(insert(table_of(JobRow)), [_job(n, until - (count - n) * STEP) for n in numbers])
            if with_deliveries:
                rows = [_delivery(n, until - (count - n) * STEP) for n in numbers]
                connection.execute(insert(table_of(DeliveryRow)), rows)
                connection.execute(insert(table_of(DeliveryObjectRow)), [row for n in numbers for row in _objects(n)])
            if instances:
                rows = [_instance(n, each, until) for n in numbers for each in range(instances)]
                connection.execute(insert(table_of(InstanceRow)), rows)


def _is_positive(number: int) -> bool:
    return number % ONE_IN == 0


def _study(number: int, at: datetime) -> dict[str, Any]:
    patient = PatientSummary(
        patient_id=f"P{number:07}",
        patient_name=f"{FAMILY[number % len(FAMILY)]}^Number {number}",
        accession_number=f"A{number:07}",
        study_date=f"{at:%Y%m%d}",
        study_description="CT cervical spine",
    )
    intake = StudyIntake(
        study_instance_uid=uid_of(number),
        state=StudyState.CLOSED,
        revision=1,
        first_received_at=at - timedelta(seconds=40),
        last_received_at=at,
        instance_count=300,
        patient=patient,
        calling_aet=SCANNERS[number % len(SCANNERS)],
        close_reason="no image for 30 s",
        closed_at=at + timedelta(seconds=30),
    )
    return {
        "study_instance_uid": intake.study_instance_uid,
        "state": intake.state.value,
        "revision": 1,
        "first_received_at": intake.first_received_at,
        "last_received_at": at,
        "instance_count": 300,
        "calling_aet": intake.calling_aet,
        "close_reason": intake.close_reason,
        "closed_at": intake.closed_at,
        **{name: getattr(patient, name) for name in PatientSummary.__dataclass_fields__},
        "worklist_state": "DELIVERED",
        "finding_rank": 0 if _is_positive(number) else 1,
        "progress_rank": 1,
        "time_rank": time_rank(at, is_finished=True),
        "search_text": search_text(intake),
    }


def _instance(number: int, position: int, at: datetime) -> dict[str, Any]:
    # Files have random names, UIDs end in what changes: the indexes are met as they would be.
    name = hashlib.md5(f"{number}.{position}".encode(), usedforsecurity=False).hexdigest()
    return instance_values(
        InstanceRecord(
            sop_instance_uid=f"{uid_of(number)}.{position}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            series_instance_uid=f"{uid_of(number)}.9",
            study_instance_uid=uid_of(number),
            calling_aet=SCANNERS[number % len(SCANNERS)],
            called_aet="CSPINE_AI",
            association_id="",
            received_at=at,
            file=Path(f"received/2026-01-02/{name[:16]}/{name}.dcm"),
            digest=2 * name,
            size_bytes=526_000,
            modality="CT",
            patient=PatientSummary(patient_id=f"P{number:07}"),
        )
    )


def _job(number: int, at: datetime) -> dict[str, Any]:
    positive = _is_positive(number)
    levels = [
        {
            "level": level,
            "status": "assessed",
            "probability": 0.87 if positive and level == "C2" else 0.04,
            "threshold": 0.3,
            "fracture": positive and level == "C2",
            "location_mm_lps": [1.0, 2.0, 3.0],
        }
        for level in LEVELS
    ]
    overall = {"probability": 0.9 if positive else 0.1, "threshold": 0.4, "fracture": positive}
    return {
        "id": FIRST_ID + number,
        "study_instance_uid": uid_of(number),
        "revision": 1,
        "state": "DONE",
        "attempt": 1,
        "created_at": at,
        "failure": "",
        "finished_at": at + timedelta(seconds=50),
        "reason": "",
        "result_json": json.dumps(
            {"outcome": "analysed", "bundle": BUNDLE, "patient_overall": overall, "levels": levels}
        ),
        "is_told": False,
    }


def _delivery(number: int, at: datetime) -> dict[str, Any]:
    return {
        "id": FIRST_ID + number,
        "job_id": FIRST_ID + number,
        "study_instance_uid": uid_of(number),
        "revision": 1,
        "state": "STORED",
        "attempt": 1,
        "created_at": at + timedelta(seconds=50),
        "failure": "",
        "finished_at": at + timedelta(seconds=55),
        "peer": "pacs",
        "channel": "objects",
        "route": "",
        "round": 1,
        "is_urgent": False,
    }


def _objects(number: int) -> Iterator[dict[str, Any]]:
    for position, kind in enumerate(("SEG", "SR")):
        yield {
            "delivery_id": FIRST_ID + number,
            "position": position,
            "kind": kind,
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
            "sop_instance_uid": f"2.25.{number}.{position}",
            "series_instance_uid": f"2.25.{number}.9{position}",
            "file": f"/var/node/jobs/{number}/{kind}.dcm",
        }
