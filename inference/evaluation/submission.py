"""`submission.csv` in the challenge's form: `row_id,fractured`, eight rows a study, row_id = `<StudyInstanceUID>_C1`.

The order is that of a `sample_submission.csv` where one is given; else the studies as they come, C1 to C7 before
patient_overall.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from inference.evaluation.predictions import LEVEL_COLUMNS, Predictions, PredictionsError

COLUMNS: Final = ("row_id", "fractured")
# A certain mistake costs -ln of this; the metric itself would clip at 1e-15.
LEAST: Final = 1e-4

_ORDER: Final = (*LEVEL_COLUMNS[1:], LEVEL_COLUMNS[0])
_ALIKE: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The rows of a submission, and what a person should know before sending it in."""

    rows: tuple[tuple[str, float], ...]
    warnings: tuple[str, ...]


def make_submission(predictions: Predictions, row_ids: tuple[str, ...] | None = None) -> Submission:
    """The rows for `row_ids`, or for all studies; values are clipped to [1e-4, 1 - 1e-4].

    Raises PredictionsError where a row's study is missing or a row_id has no known ending.
    """
    wanted = row_ids if row_ids is not None else tuple(f"{uid}_{h}" for uid in predictions.uids for h in _ORDER)
    places = [split_row_id(row_id) for row_id in wanted]
    index = {uid: i for i, uid in enumerate(predictions.uids)}
    missing = list(dict.fromkeys(uid for uid, _ in places if uid not in index))
    if missing:
        raise PredictionsError(f"no prediction for {len(missing)} studies of the submission, the first {missing[0]}")
    values = np.clip(predictions.values, LEAST, 1 - LEAST)
    rows = [
        (row_id, float(values[index[uid], LEVEL_COLUMNS.index(head)]))
        for row_id, (uid, head) in zip(wanted, places, strict=True)
    ]
    return Submission(rows=tuple(rows), warnings=tuple(_warnings(predictions, {uid for uid, _ in places})))


def split_row_id(row_id: str) -> tuple[str, str]:
    """StudyInstanceUID and head of a row_id; PredictionsError where it ends in none of the eight heads."""
    for head in LEVEL_COLUMNS:
        uid = row_id.removesuffix(f"_{head}")
        if uid and uid != row_id:
            return uid, head
    raise PredictionsError(f"row_id {row_id!r} does not end in one of {', '.join('_' + h for h in LEVEL_COLUMNS)}")


def read_row_ids(path: Path) -> tuple[str, ...]:
    """The row_ids of a sample_submission.csv, in its order; PredictionsError where it is none or one comes twice."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "row_id" not in (reader.fieldnames or ()):
            raise PredictionsError(f"{path} lacks the column row_id")
        row_ids = tuple((row["row_id"] or "").strip() for row in reader)
    if not row_ids:
        raise PredictionsError(f"{path} holds no row")
    if len(set(row_ids)) < len(row_ids):
        raise PredictionsError(f"{path} has a row_id more than once")
    return row_ids


def write_submission(path: Path, submission: Submission) -> None:
    """Write the CSV at once or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((row_id, f"{value:.9g}") for row_id, value in submission.rows)
    os.replace(partial, path)


def _warnings(predictions: Predictions, wanted: set[str]) -> list[str]:
    kept = [i for i, uid in enumerate(predictions.uids) if uid in wanted]
    said, values = [], predictions.values[kept]
    if len(kept) > 1:
        alike = np.ptp(values, axis=0) < _ALIKE
        if alike.all():
            said.append(
                f"every one of the {len(kept)} studies has the same values: these are constants, not predictions"
            )
        elif alike.any():
            names = ", ".join(h for h, same in zip(LEVEL_COLUMNS, alike, strict=True) if same)
            said.append(f"the same value in every study for {names}")
    left_out = len(predictions) - len(kept)
    if left_out:
        said.append(f"{left_out} predicted studies are not in the sample submission and are left out")
    return said
