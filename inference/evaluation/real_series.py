"""A localiser on the marked real series, as it is and as a dozen other scans would show the same neck.

Evaluation only: nothing is trained, tuned or calibrated on it. What is right in each variant stands here, derived from
the marks alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.marks import Marks
from inference.evaluation.variants import (
    Axis,
    Variant,
    bone_contrast,
    cropped,
    noisy,
    offset,
    resampled,
    rotated,
    unchanged,
)
from inference.headers import scan_folder
from inference.postprocess import ASSESSED, LEVELS, NOT_ASSESSED, PARTLY
from inference.reading import read_series
from inference.spine import Localiser, Spine
from inference.volume import Volume

CENTRE_LIMIT_MM: Final = 6.0
# A level cut by the border has its middle elsewhere than the whole one, but not a vertebra's height away.
PARTLY_LIMIT_MM: Final = 15.0
_NOISE_SEED: Final = 60

Row = dict[str, Any]
Statuses = dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A variant to be made, and the statuses that are right for each level in it."""

    name: str
    make: Callable[[Volume], Variant]
    right: Statuses


def read_volume(folder: Path) -> Volume:
    """The series in a folder; raises ValueError where there is not exactly one, ReadingError as `read_series` does."""
    instances = scan_folder(folder).instances
    series = {header.series_instance_uid for header in instances}
    if len(series) != 1:
        raise ValueError(f"{folder} holds {len(series)} DICOM series; give the folder of one")
    return read_series(instances).volume


def trials(marks: Marks) -> tuple[Trial, ...]:
    """The series and its variants."""
    whole: Statuses = {level: (status,) for level, status in marks.expected_status.items()}
    middle = np.mean([marks.centres_lps_mm[f"C{k}"] for k in range(1, 6)], axis=0)
    c2_mm, joint_mm = float(marks.centres_lps_mm["C2"][2]), marks.atlantoaxial_joint_z_mm
    none = (NOT_ASSESSED,)
    made: list[tuple[str, Callable[[Volume], Variant], Statuses]] = [
        ("as it is", unchanged, whole),
        ("cut at mid-C2, nothing above", partial(cropped, highest_z_mm=c2_mm), {**whole, "C1": none, "C2": (PARTLY,)}),
        (
            "cut at the C1-C2 joint, nothing above",
            partial(cropped, highest_z_mm=joint_mm),
            {**whole, "C1": (NOT_ASSESSED, PARTLY), "C2": (PARTLY, ASSESSED)},
        ),
        (
            "cut at mid-C2, nothing below",
            partial(cropped, lowest_z_mm=c2_mm),
            {**dict.fromkeys(LEVELS, none), "C1": (ASSESSED,), "C2": (PARTLY,)},
        ),
    ]
    axes: tuple[tuple[Axis, str], ...] = (("x", "nodded"), ("y", "bent sideways"), ("z", "turned"))
    for axis, word in axes:
        for degrees in (-15.0, 15.0):
            name = f"{word} by {degrees:+.0f}°"
            made.append((name, partial(rotated, axis=axis, degrees=degrees, about_lps_mm=middle), whole))
    made += [
        ("0.6 mm voxels", partial(resampled, spacing_mm_zyx=(0.6, 0.6, 0.6)), whole),
        ("3 mm voxels", partial(resampled, spacing_mm_zyx=(3.0, 3.0, 3.0)), whole),
        ("3 mm slices", _thick_slices, whole),
        ("+200 HU", partial(offset, hu=200), whole),
        ("-200 HU", partial(offset, hu=-200), whole),
        ("bone brighter: 700 HU is 900", partial(bone_contrast, hu_of_700=900.0), whole),
        ("bone fainter: 700 HU is 500", partial(bone_contrast, hu_of_700=500.0), whole),
        ("noise of SD 60 HU", partial(noisy, sd_hu=60.0, seed=_NOISE_SEED), whole),
    ]
    return tuple(Trial(name=name, make=make, right=right) for name, make, right in made)


def evaluate_real(volume: Volume, marks: Marks, localiser: Localiser) -> Iterator[Row]:
    """One row per trial, as `judge` makes it, with the seconds of `locate`."""
    for trial in trials(marks):
        variant = trial.make(volume)
        begin = time.perf_counter()
        spine = localiser.locate(variant.volume)
        seconds = round(time.perf_counter() - begin, 2)
        yield {**judge(trial, variant, marks, spine), "seconds": seconds}


def judge(trial: Trial, variant: Variant, marks: Marks, spine: Spine | None) -> Row:
    """What was said in one trial, and whether it is right.

    A level is right when its status is one of the right ones and, where it is reported, its own mark is the nearest
    one, within 6 mm where it may be assessed and within 15 mm where it is cut.
    """
    at = {level: variant.moved(mark) for level, mark in marks.centres_lps_mm.items()}
    levels = []
    for number, name in enumerate(LEVELS):
        answer = None if spine is None else spine.levels[number]
        status = NOT_ASSESSED if answer is None else answer.status
        centre = None if answer is None or answer.centre_lps_mm is None else np.array(answer.centre_lps_mm)
        error = None if centre is None or name not in at else round(float(np.linalg.norm(centre - at[name])), 2)
        nearest = None if centre is None else _nearest(at, centre)
        right = trial.right[name]
        limit = CENTRE_LIMIT_MM if ASSESSED in right else PARTLY_LIMIT_MM
        # Where nothing is answered the status alone decides.
        near = error is None or error <= limit
        levels.append(
            {
                "level": name,
                "right_statuses": list(right),
                "status": status,
                "centre_error_mm": error,
                "nearest_mark": nearest,
                "right": status in right and nearest in (None, name) and near,
            }
        )
    upper = [v for v in levels if ASSESSED in trial.right[str(v["level"])]]
    return {
        "variant": trial.name,
        "found": spine is not None,
        "right": all(v["right"] for v in levels),
        "assessable_right": sum(bool(v["right"]) for v in upper),
        "assessable": len(upper),
        "levels": levels,
    }


def summary(rows: list[Row], marks: Marks) -> dict[str, Any]:
    """The rows with their sums: variants entirely right, and levels that a right answer assesses."""
    errors = [
        v["centre_error_mm"]
        for r in rows
        for v in r["levels"]
        if ASSESSED in v["right_statuses"] and v["centre_error_mm"] is not None
    ]
    return {
        "series": marks.series,
        "use": "evaluation only",
        "marks_apart_mm": {level: round(apart, 2) for level, apart in marks.apart_mm.items()},
        "centre_limit_mm": CENTRE_LIMIT_MM,
        "variants": len(rows),
        "variants_right": sum(r["right"] for r in rows),
        "assessable_levels": sum(r["assessable"] for r in rows),
        "assessable_levels_right": sum(r["assessable_right"] for r in rows),
        "centre_error_mm_median": round(float(np.median(errors)), 2) if errors else None,
        "centre_error_mm_most": max(errors) if errors else None,
        "rows": rows,
    }


def _nearest(marks: dict[str, NDArray[np.float64]], centre: NDArray[np.float64]) -> str:
    return min(marks, key=lambda level: float(np.linalg.norm(marks[level] - centre)))


def _thick_slices(volume: Volume) -> Variant:
    _, row_mm, column_mm = volume.spacing_mm_zyx
    return resampled(volume, (3.0, row_mm, column_mm))
