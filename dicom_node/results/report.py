"""The report page: one self-contained HTML file with the findings, the pictures and how they came about."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from dicom_node.core.finding import LEVELS
from dicom_node.results import codes, remarks
from dicom_node.results.calls import OVERALL, Call, calls
from dicom_node.results.facts import Facts, shown_facts
from dicom_node.results.wording import (
    NEGATIVE,
    NEITHER,
    POSITIVE,
    SYNTHETIC,
    Maker,
    Narrative,
    call_words,
    narrate,
    picture_caption,
    why_not_assessed,
)
from dicom_node.results.words import N_, SOURCE_LANGUAGE, Words

_TEMPLATE = Path(__file__).parent / "templates" / "report.html"
_KINDS = {Call.PRESENT: POSITIVE, Call.ABSENT: NEGATIVE, Call.UNDETERMINED: NEITHER, None: NEITHER}
_STAGES = {
    "read": N_("Reading"),
    "localise": N_("Finding the levels"),
    "classify": N_("Looking for fractures"),
    "encode": N_("Writing the results"),
    "total": N_("In all"),
}


def write_report(
    result_json: Mapping[str, Any],
    pictures: Sequence[Path],
    out_path: Path,
    *,
    truth: Mapping[str, Any] | None = None,
    title: str = "",
    study_facts: Facts = (),
    trained_on: str = SYNTHETIC,
    narrative: Narrative | None = None,
    language: str = SOURCE_LANGUAGE,
) -> Path:
    """`out_path` holds the page, readable without any other file, and is returned.

    `result_json` is the contract's `result.json`. `pictures` are PNGs as `save_pictures` names them. `truth` is a
    phantom's `truth.json`, shown beside the findings. `study_facts` are (name, value) pairs of patient and study.
    `narrative` is the report in sentences; without it, it is told from `result_json` alone, in `language`.
    """
    bundle = result_json["bundle"]
    told = narrative or narrate(
        result_json,
        Words(language=language),
        maker=Maker(
            software="cspine-node", bundle=f"{bundle['name']} {bundle['version']}".strip(), trained_on=trained_on
        ),
    )
    words = Words(language=told.language)
    images = {file.stem: _embedded(file) for file in pictures}
    page = _template().render(
        words=words,
        rule=lambda name: remarks.rule(name, words),
        told=told,
        title=title or told.title,
        facts=shown_facts(study_facts, words),
        overviews=[(picture_caption(name, words), data) for name, data in images.items() if not _is_key(name)],
        keys=[(picture_caption(name, words), data) for name, data in images.items() if _is_key(name)],
        rows=_rows(result_json, _truth_by_level(truth), words),
        has_truth=truth is not None,
        series=result_json["series"],
        bundle=bundle,
        device=result_json["device"],
        timings=[(words(_STAGES[stage]), seconds) for stage, seconds in result_json["timings_s"].items() if seconds],
        objects=result_json["objects"],
    )
    out_path.write_text(page, encoding="utf-8")
    return out_path


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _embedded(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")


def _is_key(name: str) -> bool:
    return name.startswith("key_")


def _rows(result_json: Mapping[str, Any], truth: Mapping[str, Mapping[str, Any]], words: Words) -> list[dict[str, Any]]:
    made = calls(result_json)
    rows = [
        _row(entry["level"], entry, made[entry["level"]], truth.get(entry["level"]), words)
        for entry in result_json["levels"]
    ]
    overall = result_json["patient_overall"]
    if overall["probability"] is not None:
        rows.append(_row(words("Cervical spine as a whole"), overall, made[OVERALL], truth.get(OVERALL), words))
    return rows


def _row(
    name: str, entry: Mapping[str, Any], call: Call | None, truth: Mapping[str, Any] | None, words: Words
) -> dict[str, Any]:
    probability, threshold = entry["probability"], entry["threshold"]
    return {
        "name": name,
        "colour": "rgb({}, {}, {})".format(*codes.COLOURS[name].rgb) if name in LEVELS else "",
        "probability": None if probability is None else _percent(probability),
        "shown_probability": "" if probability is None else words.percent(probability),
        "threshold": None if threshold is None else _percent(threshold),
        "shown_threshold": "" if threshold is None else words.percent(threshold),
        "fracture": entry["fracture"],
        "call": call_words(call, words),
        "kind": _KINDS[call],
        "why": why_not_assessed(entry.get("status", ""), words),
        "truth": _truth_beside(truth, entry["fracture"], words),
    }


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _truth_by_level(truth: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    if truth is None:
        return {}
    by_level: dict[str, Mapping[str, Any]] = {entry["level"]: entry for entry in truth["levels"]}
    return by_level | {OVERALL: {"fractured": truth["any_fracture"]}}


def _truth_beside(truth: Mapping[str, Any] | None, found: bool | None, words: Words) -> dict[str, str]:
    """What is true in words, and where the finding disagrees, how."""
    if truth is None:
        return {"words": "", "verdict": ""}
    if truth.get("status") == "absent":
        return {"words": words("not in the images"), "verdict": ""}
    kinds = ", ".join(str(fracture["kind"]) for fracture in truth.get("fractures", ()))
    fracture = words("fracture")
    said = (f"{fracture} ({kinds})" if kinds else fracture) if truth["fractured"] else words("no fracture")
    if found is None or found == truth["fractured"]:
        return {"words": said, "verdict": ""}
    return {"words": said, "verdict": words("false alarm") if found else words("missed")}
