"""The report page: one self-contained HTML file with the findings, the pictures and how they came about."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from dicom_node.core.finding import LEVELS, LevelStatus, Outcome
from dicom_node.results import codes

_TEMPLATE = Path(__file__).parent / "templates" / "report.html"
_WHY_NOT = {
    LevelStatus.PARTLY_IN_FIELD_OF_VIEW.value: "only partly in the field of view",
    LevelStatus.NOT_ASSESSED.value: "not found in the field of view",
}


def write_report(
    result_json: Mapping[str, Any],
    pictures: Sequence[Path],
    out_path: Path,
    *,
    truth: Mapping[str, Any] | None = None,
    title: str = "Cervical spine CT: AI fracture findings",
    study_facts: Sequence[tuple[str, str]] = (),
    trained_on: str = "synthetic data only",
) -> Path:
    """`out_path` holds the page, readable without any other file, and is returned.

    `result_json` is the contract's `result.json`. `pictures` are PNGs as `write_pictures` names them. `truth` is a
    phantom's `truth.json`, shown beside the findings. `study_facts` are (name, value) pairs of patient and study.
    """
    images = {file.stem: _embedded(file) for file in pictures}
    page = _template().render(
        title=title,
        notice=codes.notice(trained_on),
        verdict=verdict(result_json),
        facts=[fact for fact in study_facts if fact[1]],
        overview={"data": images["sagittal"]} if "sagittal" in images else None,
        keys=[_key(stem, data) for stem, data in images.items() if stem.startswith("key_")],
        rows=_rows(result_json, _truth_by_level(truth)),
        has_truth=truth is not None,
        series=result_json["series"],
        quality=result_json["quality"],
        bundle=result_json["bundle"],
        trained_on=trained_on,
        device=result_json["device"],
        timings=[(stage, seconds) for stage, seconds in result_json["timings_s"].items() if seconds],
        objects=result_json["objects"],
    )
    out_path.write_text(page, encoding="utf-8")
    return out_path


def verdict(result_json: Mapping[str, Any]) -> dict[str, str]:
    """One sentence, and whether it is "positive", "negative" or "neither"."""
    if result_json["outcome"] != Outcome.ANALYSED.value:
        word = "Not applicable" if result_json["outcome"] == Outcome.NOT_APPLICABLE.value else "Failed"
        return {"kind": "neither", "text": f"{word}: {result_json['reason']}"}
    levels = result_json["levels"]
    suspicious = [entry["level"] for entry in levels if entry["fracture"]]
    unseen = [entry["level"] for entry in levels if entry["status"] != LevelStatus.ASSESSED.value]
    rest = f"; not assessed: {', '.join(unseen)}" if unseen else ""
    if suspicious:
        return {"kind": "positive", "text": f"Suspicious for fracture: {', '.join(suspicious)}{rest}"}
    if result_json["patient_overall"]["fracture"]:
        return {"kind": "positive", "text": f"Suspicious for fracture, no single level stands out{rest}"}
    if len(unseen) == len(levels):
        return {"kind": "neither", "text": "No level could be assessed"}
    return {"kind": "neither" if unseen else "negative", "text": f"No fracture found{rest}"}


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _embedded(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")


def _key(stem: str, data: str) -> dict[str, str]:
    return {"name": stem.removeprefix("key_"), "data": data}


def _rows(result_json: Mapping[str, Any], truth: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    overall = result_json["patient_overall"]
    rows = [_row(entry["level"], entry, truth.get(entry["level"])) for entry in result_json["levels"]]
    if overall["probability"] is not None:
        rows.append(_row("Patient overall", overall, truth.get("overall")))
    return rows


def _row(name: str, entry: Mapping[str, Any], truth: Mapping[str, Any] | None) -> dict[str, Any]:
    probability = entry["probability"]
    return {
        "name": name,
        "colour": "rgb({}, {}, {})".format(*codes.COLOURS[name].rgb) if name in LEVELS else "",
        "probability": None if probability is None else _percent(probability),
        "threshold": None if entry["threshold"] is None else _percent(entry["threshold"]),
        "fracture": entry["fracture"],
        "why": _WHY_NOT.get(entry.get("status", ""), ""),
        "truth": _truth_beside(truth, entry["fracture"]),
    }


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _truth_by_level(truth: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    if truth is None:
        return {}
    by_level: dict[str, Mapping[str, Any]] = {entry["level"]: entry for entry in truth["levels"]}
    return by_level | {"overall": {"fractured": truth["any_fracture"]}}


def _truth_beside(truth: Mapping[str, Any] | None, found: bool | None) -> dict[str, str]:
    """What is true in words, and where the finding disagrees, how."""
    if truth is None:
        return {"words": "", "verdict": ""}
    if truth.get("status") == "absent":
        return {"words": "not in the images", "verdict": ""}
    kinds = ", ".join(str(fracture["kind"]) for fracture in truth.get("fractures", ()))
    words = (f"fracture ({kinds})" if kinds else "fracture") if truth["fractured"] else "no fracture"
    if found is None or found == truth["fractured"]:
        return {"words": words, "verdict": ""}
    return {"words": words, "verdict": "false alarm" if found else "missed"}
