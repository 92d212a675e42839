"""False alarms on a series that is known to have no fracture, as it is and as it might have been scanned.

Nothing is fitted to it: a call on any of these variants is a false alarm, whatever the truth elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from inference.evaluation.variants import Axis, Variant, noisy, rotated, unchanged
from inference.pipeline import Pipeline, Prediction
from inference.volume import Volume

TURN_DEG: Final = 5.0
NOISE_SD_HU: Final = (20.0, 40.0)
_SEED: Final = 5

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SoundTrial:
    """A way of scanning the same sound neck again."""

    name: str
    make: Callable[[Volume], Variant]


def sound_trials() -> tuple[SoundTrial, ...]:
    """As it is, mirrored left to right, turned by 5 degrees about each axis both ways, with added noise."""
    trials = [SoundTrial(name="as it is", make=unchanged), SoundTrial(name="left for right", make=mirrored)]
    axes: tuple[tuple[Axis, str], ...] = (("x", "nodded"), ("y", "bent sideways"), ("z", "turned"))
    for axis, word in axes:
        for degrees in (-TURN_DEG, TURN_DEG):
            make = partial(_turned, axis=axis, degrees=degrees)
            trials.append(SoundTrial(name=f"{word} by {degrees:+.0f}°", make=make))
    for sd_hu in NOISE_SD_HU:
        trials.append(SoundTrial(name=f"noise of SD {sd_hu:.0f} HU", make=partial(noisy, sd_hu=sd_hu, seed=_SEED)))
    return tuple(trials)


def mirrored(volume: Volume) -> Variant:
    """The patient's left for the right, about the middle of the scan."""
    flipped = replace(volume, hu=np.ascontiguousarray(volume.hu[:, :, ::-1]))
    columns = volume.hu.shape[2]
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = columns - 1.0
    move = volume.affine_lps @ flip @ np.linalg.inv(volume.affine_lps)
    return Variant(volume=flipped, to_variant=move)


def _turned(volume: Volume, axis: Axis, degrees: float) -> Variant:
    middle = volume.to_lps_mm((np.array(volume.hu.shape) - 1) / 2)
    return rotated(volume, axis, degrees, middle)


def evaluate_sound(volume: Volume, pipeline: Pipeline) -> Iterator[Row]:
    """A row for each trial: `variant`, `levels` (status, probability, threshold, called) and `patient_overall`."""
    for trial in sound_trials():
        yield {"variant": trial.name, **_row(pipeline.predict(trial.make(volume).volume))}


def _row(prediction: Prediction) -> Row:
    levels = {v.level: _said(v.probability, v.threshold) | {"status": v.status} for v in prediction.levels}
    return {
        "levels": levels,
        "patient_overall": _said(prediction.overall_probability, prediction.overall_threshold),
        "false_alarms": [name for name, said in levels.items() if said["called"]],
    }


def _said(probability: float | None, threshold: float) -> Row:
    return {
        "probability": None if probability is None else round(probability, 4),
        "threshold": round(threshold, 4),
        "called": probability is not None and probability >= threshold,
    }


def sound_text(rows: Sequence[Row]) -> str:
    """A table for people: probabilities by level, false alarms marked with an exclamation mark."""
    heads = ["variant", *rows[0]["levels"], "patient"]
    lines = [
        [row["variant"], *(_cell(said) for said in row["levels"].values()), _cell(row["patient_overall"])]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    body = "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in (heads, *lines)
    )
    count = sum(len(row["false_alarms"]) for row in rows)
    assessed = sum(said["probability"] is not None for row in rows for said in row["levels"].values())
    patients = sum(row["patient_overall"]["called"] for row in rows)
    return f"{body}\n\nfalse alarms: {count} of {assessed} assessed levels, {patients} of {len(rows)} patients"


def _cell(said: Row) -> str:
    if said["probability"] is None:
        return "-"
    return f"{said['probability']:.2f}{'!' if said['called'] else ''}"
