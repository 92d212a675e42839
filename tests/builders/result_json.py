"""The contract's `result.json` as an analysis of a neck leaves it."""

from __future__ import annotations

from typing import Any

from dicom_node.app.result_json import failed_json
from dicom_node.core.finding import LEVELS


def document(
    *, suspicious: tuple[str, ...] = (), unseen: tuple[str, ...] = (), overall: bool | None = None
) -> dict[str, Any]:
    """A `result.json` of an analysed study; every level is assessed but those `unseen`."""
    found = bool(suspicious) if overall is None else overall
    return failed_json("1.2.3", "") | {
        "outcome": "analysed",
        "series": {
            "chosen": "1.2.3.4",
            "rejected": [{"series_instance_uid": "1.2.3.5", "rule": "too_thick", "detail": "5 mm <thick>"}],
        },
        "bundle": {"name": "cspine", "version": "0.1", "sha256": "ab" * 32},
        "patient_overall": {"probability": 0.9 if found else 0.1, "threshold": 0.4, "fracture": found},
        "levels": [_level(name, name in suspicious, name in unseen) for name in LEVELS],
        "quality": ["a gap of 3 mm"],
    }


def _level(name: str, suspicious: bool, unseen: bool) -> dict[str, Any]:
    return {
        "level": name,
        "status": "partly_in_field_of_view" if unseen else "assessed",
        "probability": None if unseen else (0.876 if suspicious else 0.021),
        "threshold": 0.3,
        "fracture": None if unseen else suspicious,
        "location_mm_lps": None,
    }
