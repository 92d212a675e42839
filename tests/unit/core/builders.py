"""Core values with sensible defaults."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.core.delivery import Delivery, DeliveryState
from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.series import SeriesFacts
from dicom_node.core.study import StudyIntake, StudyState

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STUDY = "1.2.3"


def intake(**changes: Any) -> StudyIntake:
    values: dict[str, Any] = {
        "study_instance_uid": STUDY,
        "state": StudyState.RECEIVING,
        "revision": 0,
        "first_received_at": T0,
        "last_received_at": T0,
        "instance_count": 1,
    }
    return StudyIntake(**values | changes)


def job(state: JobState = JobState.QUEUED, **changes: Any) -> AnalysisJob:
    values: dict[str, Any] = {
        "id": 1,
        "study_instance_uid": STUDY,
        "revision": 1,
        "state": state,
        "attempt": 0,
        "created_at": T0,
    }
    return AnalysisJob(**values | changes)


def delivery(state: DeliveryState = DeliveryState.PENDING, **changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "id": 1,
        "job_id": 1,
        "study_instance_uid": STUDY,
        "revision": 1,
        "peer": "pacs",
        "objects": (result_object("1"),),
        "state": state,
        "attempt": 0,
        "created_at": T0,
    }
    return Delivery(**values | changes)


def result_object(suffix: str, kind: ResultKind = ResultKind.SR) -> ResultObject:
    return ResultObject(
        kind=kind,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid=f"2.25.{suffix}",
        series_instance_uid="2.25.9",
        file=Path(f"{suffix}.dcm"),
    )


def thin_axial(uid: str = "1.1", **changes: Any) -> SeriesFacts:
    """A series that nothing speaks against: 300 axial slices of 0.6 mm in a bone kernel."""
    values: dict[str, Any] = {
        "series_instance_uid": uid,
        "is_ct": True,
        "modality": "CT",
        "orientation": "axial",
        "angle_deg": 0.0,
        "image_count": 300,
        "slice_thickness_mm": 0.6,
        "spacing_mm": 0.6,
        "largest_gap_mm": 0.6,
        "coverage_mm": 180.0,
        "pixel_spacing_mm": 0.35,
        "kernel": "Br60",
        "is_bone_kernel": True,
    }
    return SeriesFacts(**values | changes)
