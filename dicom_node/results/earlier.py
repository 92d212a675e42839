"""What an earlier report on the study said, and how today's differs.

The earlier findings are read from the earlier SR itself: that file is what a PACS holds, and it stays whole where
everything else of an old revision has been tidied away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.core.finding import LEVELS, ResultKind, ResultObject
from dicom_node.results import codes
from dicom_node.results.calls import OVERALL, Call, calls
from dicom_node.results.wording import call_words
from dicom_node.results.words import Words

READABLE = (ResultKind.SR, ResultKind.SR_COMPREHENSIVE, ResultKind.SR_ENHANCED)

# A probability that moved by less says the same.
_WORTH_TELLING = 0.05

_SITES = {code.value: level for level, code in codes.VERTEBRA.items()} | {codes.CERVICAL_SPINE.value: OVERALL}
_CALLS = {
    codes.PRESENT.value: Call.PRESENT,
    codes.ABSENT.value: Call.ABSENT,
    codes.UNDETERMINED.value: Call.UNDETERMINED,
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was said of a level; both are None where it was not assessed. `probability` is in [0, 1]."""

    call: Call | None = None
    probability: float | None = None


def read_earlier(predecessor: Sequence[ResultObject]) -> dict[str, Said] | None:
    """By level and for OVERALL, what the earlier SR says; None where there is none that can be read."""
    for kind in READABLE:
        for entry in predecessor:
            if entry.kind is not kind:
                continue
            try:
                return _said(dcmread(entry.file))
            except (OSError, InvalidDicomError, AttributeError, IndexError, KeyError, TypeError, ValueError):
                continue
    return None


def changes(predecessor: Sequence[ResultObject], result_json: Mapping[str, Any], words: Words) -> tuple[str, ...]:
    """The sentences of a later revision about the earlier report; empty for a first one."""
    if not predecessor:
        return ()
    opening = words("This report replaces an earlier one on the same study.")
    earlier = read_earlier(predecessor)
    if earlier is None:
        return opening, words("The earlier findings can no longer be read, so nothing is said about changes.")
    differences = [
        _difference(level, now, earlier[level], words)
        for level, now in today(result_json).items()
        if _differ(now, earlier[level])
    ]
    same = words("No level is judged differently, and no probability has changed by 5 percentage points or more.")
    return opening, *(differences or [same])


def today(result_json: Mapping[str, Any]) -> dict[str, Said]:
    """By level and for OVERALL, what `result.json` says."""
    made = calls(result_json)
    entries = {entry["level"]: entry for entry in result_json["levels"]} | {OVERALL: result_json["patient_overall"]}
    return {level: Said(call=made[level], probability=entry["probability"]) for level, entry in entries.items()}


def _differ(now: Said, before: Said) -> bool:
    if now.call is not before.call or now.probability is None or before.probability is None:
        return now != before
    return abs(now.probability - before.probability) >= _WORTH_TELLING


def _difference(level: str, now: Said, before: Said, words: Words) -> str:
    """The sentence; where only the probability moved, the judgement is not repeated."""
    shown = [_percent(said, words) if now.call is before.call else _in_words(said, words) for said in (now, before)]
    name = words("Cervical spine as a whole") if level == OVERALL else level
    return words("{level}: now {now}, was {before}.", level=name, now=shown[0], before=shown[1])


def _in_words(said: Said, words: Words) -> str:
    call = call_words(said.call, words)
    return call if said.probability is None else f"{_percent(said, words)} ({call})"


def _percent(said: Said, words: Words) -> str:
    return "" if said.probability is None else words.percent(said.probability)


def _said(report: Dataset) -> dict[str, Said]:
    found = dict.fromkeys((*LEVELS, OVERALL), Said())
    for measurements in _named(report, codes.IMAGING_MEASUREMENTS.value):
        for group in measurements.ContentSequence:
            site = _SITES[_named(group, codes.FINDING_SITE.value)[0].ConceptCodeSequence[0].CodeValue]
            (number,) = _named(group, codes.PROBABILITY.value)
            (fracture,) = _named(group, codes.FRACTURE.value)
            found[site] = Said(
                call=_CALLS[fracture.ConceptCodeSequence[0].CodeValue],
                probability=float(number.MeasuredValueSequence[0].NumericValue) / 100,
            )
    return found


def _named(item: Dataset, code: str) -> list[Dataset]:
    return [
        child
        for child in item.ContentSequence
        if "ConceptNameCodeSequence" in child and child.ConceptNameCodeSequence[0].CodeValue == code
    ]
