"""Tiny prepared studies."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.dataset.prepared import PreparedStudy, SliceBox
from inference.preprocess import PatientGrid


def grid(shape=(6, 5, 4)) -> PatientGrid:
    return PatientGrid(origin_lps_mm=(-1.0, -20.0, 300.0), spacing_mm_zyx=(0.8, 0.45, 0.45), shape_zyx=shape)


def study(uid: str = "1.2.3", **changes: Any) -> PreparedStudy:
    shape = (6, 5, 4)
    hu = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    levels = np.zeros(shape, np.uint8)
    levels[2:4, 1:3, 1:3] = 5
    values = {
        "study_instance_uid": uid,
        "patient": "p" + uid,
        "source": "phantom",
        "hu": hu,
        "grid": grid(shape),
        "levels": levels,
        "levels_from": "truth",
        "fracture": np.where(levels == 5, levels, 0).astype(np.uint8),
        "boxes": (SliceBox(z=2, y_low=1.0, y_high=3.0, x_low=1.0, x_high=2.5),),
        "truth": (1, 0, 0, 0, 0, 1, 0, 0),
        "facts": {"kernel": "bone", "fractures": {"C5": ["burst"]}},
    }
    return PreparedStudy(**(values | changes))
