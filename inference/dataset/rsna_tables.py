"""The tables of the RSNA 2022 layout, row by row; a row that cannot be meant stops the reading with its line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.dataset.errors import TableError
from inference.synthetic.rsna_layout import BOX_COLUMNS, TRAIN_COLUMNS

TEST_COLUMNS: Final = ("row_id", "StudyInstanceUID", "prediction_type")
PREDICTION_TYPES: Final = TRAIN_COLUMNS[1:]


@dataclass(frozen=True, kw_only=True)
class PixelBox:
    """A row of `train_bounding_boxes.csv`: pixels, (x, y) is the box's top left corner in slice `slice_number`."""

    slice_number: int
    x: float
    y: float
    width: float
    height: float


def read_train(path: Path) -> dict[str, tuple[int, ...]]:
    """Truth by study: patient_overall, C1 ... C7, each 0 or 1, in the order of `train.csv`.

    Raises TableError for another header, a study twice, a value that is not 0 or 1, and a patient_overall that is not
    the highest of the levels (the public table has no such row).
    """
    truth: dict[str, tuple[int, ...]] = {}
    for line, row in _rows(path, TRAIN_COLUMNS):
        uid = _uid(path, line, row[0])
        if uid in truth:
            raise TableError(path, line, f"study {uid} is there a second time")
        values = tuple(_bit(path, line, name, text) for name, text in zip(TRAIN_COLUMNS[1:], row[1:], strict=True))
        if values[0] != max(values[1:]):
            raise TableError(path, line, f"patient_overall is {values[0]}, but the highest level is {max(values[1:])}")
        truth[uid] = values
    return truth


def read_boxes(path: Path) -> dict[str, tuple[PixelBox, ...]]:
    """Boxes by study, each study's by slice number.

    Raises TableError for another header, for what is no number, an empty box, and two boxes in one slice.
    """
    boxes: dict[str, dict[int, PixelBox]] = {}
    for line, row in _rows(path, BOX_COLUMNS):
        uid = _uid(path, line, row[0])
        x, y, width, height, slice_number = (
            _number(path, line, name, text) for name, text in zip(BOX_COLUMNS[1:], row[1:], strict=True)
        )
        if width <= 0 or height <= 0:
            raise TableError(path, line, f"a box of {width:g} x {height:g} pixels is empty")
        if slice_number != int(slice_number):
            raise TableError(path, line, f"slice_number {slice_number:g} is no whole number")
        of_study = boxes.setdefault(uid, {})
        if int(slice_number) in of_study:
            raise TableError(path, line, f"study {uid} has a second box in slice {slice_number:g}")
        of_study[int(slice_number)] = PixelBox(slice_number=int(slice_number), x=x, y=y, width=width, height=height)
    return {uid: tuple(of_study[number] for number in sorted(of_study)) for uid, of_study in boxes.items()}


def read_test(path: Path) -> tuple[str, ...]:
    """The studies of `test.csv`, each once, in its order. Raises TableError for another header or an unknown type."""
    uids: dict[str, None] = {}
    for line, row in _rows(path, TEST_COLUMNS):
        if row[2] not in PREDICTION_TYPES:
            raise TableError(path, line, f"prediction_type {row[2]!r} is not one of {', '.join(PREDICTION_TYPES)}")
        uids[_uid(path, line, row[1])] = None
    return tuple(uids)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if tuple(header) != columns:
            raise TableError(path, 1, f"the header is {','.join(header)!r}, expected {','.join(columns)!r}")
        for row in reader:
            if not row:
                continue
            if len(row) != len(columns):
                raise TableError(path, reader.line_num, f"{len(row)} values, expected {len(columns)}")
            yield reader.line_num, row


def _uid(path: Path, line: int, text: str) -> str:
    if not text or set(text) - set("0123456789."):
        raise TableError(path, line, f"{text!r} is no StudyInstanceUID")
    return text


def _bit(path: Path, line: int, name: str, text: str) -> int:
    if text not in ("0", "1"):
        raise TableError(path, line, f"{name} is {text!r}, expected 0 or 1")
    return int(text)


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TableError(path, line, f"{name} is {text!r}, expected a number")
    return value
