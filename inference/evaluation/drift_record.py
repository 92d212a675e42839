"""What is kept of each analysed study, so that drift can be seen later: numbers about scores and images, no patient.

A record is one row of a CSV with the columns of `COLUMNS`. `study` is a key of the site's own, not a UID that would
lead back to the patient where the file leaves the site. A number that there is not (a level that was not assessed) is
an empty cell.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.evaluation.predictions import LEVEL_COLUMNS, PredictionsError

SCORES: Final = tuple(f"p_{name}" for name in LEVEL_COLUMNS)
INPUTS: Final = (
    "levels_assessed",
    "slices",
    "slice_spacing_mm",
    "pixel_mm",
    "soft_tissue_hu",
    "bone_hu",
    "bone_share",
    "noise_hu",
)
QUANTITIES: Final = (*SCORES, *INPUTS)
COLUMNS: Final = ("study", "analysed_at", "bundle", *QUANTITIES)

_AIR_HU: Final = -500
_SOFT_HU: Final = (-200, 200)
_BONE_HU: Final = 250
_STAT_SLICES: Final = 24
_NOISE_SLICES: Final = 8
_FEWEST: Final = 200
# A Laplacian difference of differences: blind to slopes and flat parts; of white noise its SD is six times the noise's.
_KERNEL: Final = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], dtype=np.float32)
_SD_OF_MEDIAN: Final = 0.6745 * 6.0

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class InputFacts:
    """What a volume is like. HU are medians: of soft tissue (-200 to 200 HU) and of bone (over 250 HU).

    `bone_share` is the share of bone among all voxels that are neither air nor padding; `noise_hu` the standard
    deviation of fine noise in soft tissue (for noise with a grain of several pixels it is lower than that of the
    pixels). None where there is too little of it.
    """

    slices: int
    slice_spacing_mm: float
    pixel_mm: float
    soft_tissue_hu: float | None
    bone_hu: float | None
    bone_share: float | None
    noise_hu: float | None


def input_facts(hu: NDArray[Any], spacing_mm_zyx: tuple[float, float, float]) -> InputFacts:
    """The facts of a volume in HU [z, y, x], from at most 24 of its slices."""
    some = hu[_evenly(hu.shape[0], _STAT_SLICES), ::2, ::2]
    body = some[some > _AIR_HU]
    soft = body[(body >= _SOFT_HU[0]) & (body <= _SOFT_HU[1])]
    bone = body[body > _BONE_HU]
    return InputFacts(
        slices=int(hu.shape[0]),
        slice_spacing_mm=round(float(spacing_mm_zyx[0]), 4),
        pixel_mm=round(float(spacing_mm_zyx[2]), 4),
        soft_tissue_hu=_median(soft),
        bone_hu=_median(bone),
        bone_share=round(len(bone) / len(body), 5) if len(body) >= _FEWEST else None,
        noise_hu=noise_hu(hu),
    )


def noise_hu(hu: NDArray[Any]) -> float | None:
    """The standard deviation of fine noise in the soft tissue of a volume [z, y, x]; None where there is too little."""
    found = []
    for k in _evenly(hu.shape[0], _NOISE_SLICES):
        plane = hu[k].astype(np.float32)
        smooth = ndimage.uniform_filter(plane, 5)
        inside = (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])
        # Only where the whole neighbourhood is soft tissue: edges are not noise.
        inside = ndimage.binary_erosion(inside, iterations=3)
        found.append(np.abs(ndimage.convolve(plane, _KERNEL)[inside]))
    values = np.concatenate(found) if found else np.zeros(0)
    return round(float(np.median(values)) / _SD_OF_MEDIAN, 2) if len(values) >= _FEWEST else None


def record_of(
    *, study: str, analysed_at: datetime, bundle: str, probabilities: Mapping[str, float | None], inputs: InputFacts
) -> Record:
    """The record of one analysed study.

    `probabilities` by head (patient_overall, C1 ... C7), None or absent where a level was not assessed; `bundle` is
    the bundle's version or hash. Raises ValueError for an unknown head, a value outside 0 to 1 or a naive time.
    """
    if analysed_at.tzinfo is None:
        raise ValueError("analysed_at must be aware of its time zone")
    unknown = sorted(set(probabilities) - set(LEVEL_COLUMNS))
    if unknown:
        raise ValueError(f"unknown heads {', '.join(unknown)}; they are {', '.join(LEVEL_COLUMNS)}")
    said = {name: probabilities.get(name) for name in LEVEL_COLUMNS}
    for name, value in said.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, not from 0 to 1")
    assessed = sum(said[name] is not None for name in LEVEL_COLUMNS[1:])
    return {
        "study": study,
        "analysed_at": analysed_at.isoformat(timespec="seconds"),
        "bundle": bundle,
        **{f"p_{name}": value for name, value in said.items()},
        "levels_assessed": assessed,
        **vars(inputs),
    }


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a CSV; a new file gets its header first."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({name: "" if record[name] is None else record[name] for name in COLUMNS})


def read_records(path: Path) -> list[Record]:
    """The records in a CSV; a column may be missing (its numbers are None), a number must be one.

    PredictionsError names the line and column, or says that there is no known quantity at all.
    """
    records = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not set(QUANTITIES) & set(reader.fieldnames or ()):
            raise PredictionsError(f"{path} has none of the columns {', '.join(QUANTITIES)}")
        for row in reader:
            numbers = {name: _number(path, reader.line_num, name, row.get(name)) for name in QUANTITIES}
            records.append({name: row.get(name) for name in COLUMNS[:3]} | numbers)
    return records


def values_of(records: Iterable[Mapping[str, Any]], quantity: str) -> tuple[NDArray[np.float64], int]:
    """The known values of a quantity, and how many records lack it."""
    values = [record.get(quantity) for record in records]
    known = np.array([v for v in values if v is not None], dtype=np.float64)
    return known, len(values) - len(known)


def _number(path: Path, line: int, column: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise PredictionsError(f"{path}, line {line}: {column} is {text!r}, not a number") from None
    if not np.isfinite(value):
        raise PredictionsError(f"{path}, line {line}: {column} is {text}, not a finite number")
    return value


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _median(values: NDArray[Any]) -> float | None:
    return round(float(np.median(values)), 1) if len(values) >= _FEWEST else None
