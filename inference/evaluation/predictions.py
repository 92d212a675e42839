"""Files of predictions and of the truth: one row a study, eight columns, as RSNA's train.csv has them.

    StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7

A predictions file holds probabilities, a truth file 0 and 1. An optional `facts.json` says what is known about each
study beyond that: `{uid: {"patient": "...", "fractures": {"C2": ["odontoid-2"]}, "decoys": {"C5": ["osteophytes"]},
"decoys_everywhere": ["motion"]}}`. A folder of prepared studies holds both, truth and facts.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

UID_COLUMN: Final = "StudyInstanceUID"
LEVEL_COLUMNS: Final = ("patient_overall", "C1", "C2", "C3", "C4", "C5", "C6", "C7")

_NAMED_AT_MOST: Final = 3

Array = NDArray[np.float64]
Facts = dict[str, dict[str, Any]]


class PredictionsError(ValueError):
    """A file or table of predictions cannot be used; the message names the file, the row or the studies."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """`values` float64 [study, head] from 0 to 1, heads as in LEVEL_COLUMNS; a truth has only 0 and 1.

    Raises PredictionsError for another shape, for values outside 0 to 1 or not finite, and for a study given twice.
    """

    uids: tuple[str, ...]
    values: Array

    def __post_init__(self) -> None:
        wanted = (len(self.uids), len(LEVEL_COLUMNS))
        if self.values.shape != wanted:
            raise PredictionsError(f"values have the shape {self.values.shape}, not {wanted} (studies, heads)")
        twice = [uid for uid, count in Counter(self.uids).items() if count > 1]
        if twice:
            raise PredictionsError(f"given more than once: {_named(twice)}")
        with np.errstate(invalid="ignore"):
            wrong = np.argwhere(~((self.values >= 0) & (self.values <= 1)))
        if len(wrong):
            study, head = wrong[0]
            value = float(self.values[study, head])
            raise PredictionsError(f"{LEVEL_COLUMNS[head]} of study {self.uids[study]} is {value}, not from 0 to 1")

    def __len__(self) -> int:
        return len(self.uids)


def read_predictions(path: Path) -> Predictions:
    """The predictions in a CSV file; further columns are ignored. PredictionsError names the line that is wrong."""
    uids, values = [], []
    for line, uid, row in _rows(path):
        uids.append(uid)
        values.append([_number(path, line, column, row[column]) for column in LEVEL_COLUMNS])
    if not uids:
        raise PredictionsError(f"{path} holds no study")
    try:
        return Predictions(uids=tuple(uids), values=np.array(values, dtype=np.float64))
    except PredictionsError as error:
        raise PredictionsError(f"{path}: {error}") from None


def read_truth(path: Path) -> Predictions:
    """The truth in a CSV file: 0 and 1 only, and patient_overall is 1 exactly where a level is."""
    truth = read_predictions(path)
    odd = np.argwhere((truth.values != 0) & (truth.values != 1))
    if len(odd):
        study, head = odd[0]
        value = truth.values[study, head]
        raise PredictionsError(f"{path}: {LEVEL_COLUMNS[head]} of study {truth.uids[study]} is {value:g}, not 0 or 1")
    disagree = np.flatnonzero(truth.values[:, 0] != truth.values[:, 1:].max(axis=1))
    if len(disagree):
        named = _named([truth.uids[i] for i in disagree])
        raise PredictionsError(f"{path}: patient_overall disagrees with C1 to C7 in {named}")
    return truth


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the CSV at once or not at all; values keep all their digits."""
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((UID_COLUMN, *LEVEL_COLUMNS))
        for uid, row in zip(predictions.uids, predictions.values, strict=True):
            writer.writerow((uid, *(f"{value:.17g}" for value in row)))
    os.replace(partial, path)


def aligned(truth: Predictions, predictions: Predictions) -> Predictions:
    """The predictions in the order of the truth's studies; PredictionsError where a study is missing or extra."""
    missing = [uid for uid in truth.uids if uid not in set(predictions.uids)]
    extra = [uid for uid in predictions.uids if uid not in set(truth.uids)]
    if missing or extra:
        parts = [
            f"{len(uids)} {word}: {_named(uids)}" for uids, word in ((missing, "missing"), (extra, "extra")) if uids
        ]
        raise PredictionsError(f"predictions and truth are not about the same studies; {'; '.join(parts)}")
    place = {uid: i for i, uid in enumerate(predictions.uids)}
    order = [place[uid] for uid in truth.uids]
    return Predictions(uids=truth.uids, values=predictions.values[order])


def read_facts(path: Path) -> Facts:
    """The facts of studies by UID; PredictionsError where the file is no JSON object of objects."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PredictionsError(f"{path} is not JSON: {error}") from None
    if not isinstance(facts, dict) or not all(isinstance(value, dict) for value in facts.values()):
        raise PredictionsError(f"{path} must be a JSON object with an object for each StudyInstanceUID")
    return facts


def patients_of(uids: Sequence[str], facts: Facts) -> tuple[str, ...]:
    """The patient of each study, where the facts name one; else every study is a patient of its own."""
    return tuple(str(facts.get(uid, {}).get("patient") or uid) for uid in uids)


def _rows(path: Path) -> Iterator[tuple[int, str, dict[str, str | None]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in (UID_COLUMN, *LEVEL_COLUMNS) if name not in (reader.fieldnames or ())]
        if lacking:
            raise PredictionsError(f"{path} lacks the column(s) {', '.join(lacking)}")
        for row in reader:
            uid = (row[UID_COLUMN] or "").strip()
            if not uid:
                raise PredictionsError(f"{path}, line {reader.line_num}: no {UID_COLUMN}")
            yield reader.line_num, uid, row


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise PredictionsError(f"{path}, line {line}: {column} is {text!r}, not a number") from None


def _named(uids: Sequence[str]) -> str:
    more = len(uids) - _NAMED_AT_MOST
    return ", ".join(uids[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
