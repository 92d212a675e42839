"""Notices of a positive result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dicom_node.core.notice import LevelNotice, Notice
from dicom_node.core.study import PatientSummary

ANALYSED_AT = datetime(2026, 3, 1, 12, 0, 31, tzinfo=UTC)


def notice(**changes: Any) -> Notice:
    """C2 positive, C7 not assessed."""
    levels = [LevelNotice(level=f"C{n}", probability=0.05, threshold=0.4, is_positive=False) for n in range(1, 7)]
    levels[1] = LevelNotice(level="C2", probability=0.934, threshold=0.4, is_positive=True)
    levels.append(LevelNotice(level="C7", probability=None, threshold=None, is_positive=False))
    values: dict[str, Any] = {
        "id": "0123456789ABCDEF0123",
        "study_instance_uid": "1.2.3",
        "revision": 1,
        "patient": PatientSummary(
            patient_id="P|1", patient_name="Müller^Jörg^^Dr.", accession_number="A1", study_date="20260301"
        ),
        "analysed_at": ANALYSED_AT,
        "probability": 0.934,
        "threshold": 0.4,
        "levels": tuple(levels),
        "bundle": "cspine 1",
        "trained_on": "synthetic data only",
    }
    return Notice(**(values | changes))
