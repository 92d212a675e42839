"""`result.json`: the outer contract's words for what the analysis says. Every key is always there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicom_node.core.finding import (
    LEVELS,
    AnalysisResult,
    Finding,
    LevelStatus,
    Outcome,
    ResultObject,
)

STAGES: tuple[str, ...] = ("read", "localise", "classify", "encode", "total")

ResultJson = dict[str, Any]


def result_json(
    result: AnalysisResult,
    objects: Sequence[ResultObject] = (),
    *,
    encode_s: float = 0.0,
    total_s: float | None = None,
) -> ResultJson:
    """The result as the contract spells it, ready for `json.dumps`.

    `levels` holds C1 to C7 in order. A level that is not assessed has probability and fracture null: no answer is
    not a negative answer. `inputs` are numbers about the analysed images, for drift. `total_s` is the time of the whole
    step; without it, the sum of what was measured.
    """
    return {
        "study_instance_uid": result.study_instance_uid,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "series": {
            "chosen": result.selection.chosen,
            "rejected": [
                {
                    "series_instance_uid": rejection.series_instance_uid,
                    "rule": rejection.rule,
                    "detail": rejection.detail,
                }
                for rejection in result.selection.rejected
            ],
        },
        "bundle": {
            "name": result.bundle.name,
            "version": result.bundle.version,
            "sha256": result.bundle.sha256,
            "trained_on": result.bundle.trained_on,
        },
        "device": result.device,
        "patient_overall": {
            "probability": result.overall_probability,
            "threshold": result.overall_threshold,
            "fracture": None if result.overall_probability is None else result.is_positive,
        },
        "levels": _levels(result.findings),
        "objects": [_object(entry) for entry in objects],
        "quality": list(result.quality),
        "timings_s": _timings(dict(result.timings_s), encode_s, total_s),
        "inputs": dict(result.inputs),
    }


def failed_json(study_instance_uid: str, reason: str) -> ResultJson:
    """The same shape for a study whose analysis failed before it could say anything."""
    return {
        "study_instance_uid": study_instance_uid,
        "outcome": Outcome.FAILED.value,
        "reason": reason,
        "series": {"chosen": None, "rejected": []},
        "bundle": {"name": "", "version": "", "sha256": "", "trained_on": ""},
        "device": "",
        "patient_overall": {"probability": None, "threshold": None, "fracture": None},
        "levels": _levels(()),
        "objects": [],
        "quality": [],
        "timings_s": dict.fromkeys(STAGES, 0.0),
        "inputs": {},
    }


def _levels(findings: Sequence[Finding]) -> list[ResultJson]:
    by_level = {finding.level: finding for finding in findings}
    return [_level(name, by_level.get(name)) for name in LEVELS]


def _level(name: str, finding: Finding | None) -> ResultJson:
    if finding is None:
        return {
            "level": name,
            "status": LevelStatus.NOT_ASSESSED.value,
            "probability": None,
            "threshold": None,
            "fracture": None,
            "location_mm_lps": None,
        }
    location = finding.location_mm_lps
    return {
        "level": name,
        "status": finding.status.value,
        "probability": finding.probability,
        "threshold": finding.threshold,
        "fracture": None if finding.probability is None else finding.is_positive,
        "location_mm_lps": None if location is None else list(location),
    }


def _object(entry: ResultObject) -> ResultJson:
    return {
        "kind": entry.kind.value,
        "sop_class_uid": entry.sop_class_uid,
        "sop_instance_uid": entry.sop_instance_uid,
        "series_instance_uid": entry.series_instance_uid,
        "file": str(entry.file),
    }


def _timings(measured: dict[str, float], encode_s: float, total_s: float | None) -> dict[str, float]:
    timings = {stage: round(measured.get(stage, 0.0), 4) for stage in STAGES}
    timings["encode"] = round(measured.get("encode", encode_s), 4)
    stages = sum(timings[stage] for stage in STAGES if stage != "total")
    timings["total"] = round(total_s if total_s is not None else measured.get("total", stages), 4)
    return timings
