"""AnalysisResult as JSON: how the child hands its answer to the node, and how encoding can be repeated later."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dicom_node.core.finding import (
    AnalysisResult,
    BundleIdentity,
    Finding,
    LevelStatus,
    Outcome,
    SelectionRecord,
    SeriesRejection,
    SourceSlice,
)


def to_json(result: AnalysisResult) -> str:
    """The result as JSON text; paths as strings, tuples as lists."""
    return json.dumps(asdict(result), default=str, indent=1)


def from_json(text: str) -> AnalysisResult:
    """The result that `to_json` wrote. Raises ValueError, KeyError or TypeError on anything else."""
    raw: dict[str, Any] = json.loads(text)
    selection = raw.pop("selection")
    return AnalysisResult(
        study_instance_uid=raw["study_instance_uid"],
        outcome=Outcome(raw["outcome"]),
        reason=raw["reason"],
        selection=SelectionRecord(
            chosen=selection["chosen"],
            rejected=tuple(SeriesRejection(**rejection) for rejection in selection["rejected"]),
        ),
        bundle=BundleIdentity(**raw["bundle"]),
        device=raw["device"],
        findings=tuple(_finding(finding) for finding in raw["findings"]),
        overall_probability=raw["overall_probability"],
        overall_threshold=raw["overall_threshold"],
        mask_path=_path(raw["mask_path"]),
        slices=tuple(_source(source) for source in raw["slices"]),
        views_path=_path(raw["views_path"]),
        suspicion_path=_path(raw["suspicion_path"]),
        viewer_path=_path(raw["viewer_path"]),
        representative=None if raw["representative"] is None else _source(raw["representative"]),
        quality=tuple(raw["quality"]),
        timings_s=tuple((name, seconds) for name, seconds in raw["timings_s"]),
        inputs=tuple((name, value) for name, value in raw["inputs"]),
        frames_decoded_ahead=raw.get("frames_decoded_ahead", 0),
        frames_decoded_then=raw.get("frames_decoded_then", 0),
    )


def _finding(raw: dict[str, Any]) -> Finding:
    box = raw["box_mm_lps"]
    return Finding(
        level=raw["level"],
        status=LevelStatus(raw["status"]),
        threshold=raw["threshold"],
        probability=raw["probability"],
        location_mm_lps=_triple(raw["location_mm_lps"]),
        box_mm_lps=None if box is None else (_triple(box[0]), _triple(box[1])),
        key_index_zyx=_triple(raw["key_index_zyx"]),
    )


def _source(raw: dict[str, Any]) -> SourceSlice:
    position = _triple(raw.get("position_mm_lps"))
    return SourceSlice(**{**raw, "file": Path(raw["file"]), "position_mm_lps": position})


def _triple(values: list[Any] | None) -> Any:
    return None if values is None else tuple(values)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
