"""Tiny prepared studies: seven blocks of bone in a column, some of them cleft."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inference.dataset.prepared import (
    SUFFIX,
    PreparedFolder,
    PreparedStudy,
    SliceBox,
    save_prepared,
    stored_hu,
)
from inference.preprocess import PatientGrid

SHAPE_ZYX = (63, 36, 40)
SPACING_MM_ZYX = (2.4, 1.6, 1.6)


def neck(
    uid: str = "1.2.3",
    *,
    broken: tuple[int, ...] = (),
    seed: int = 0,
    levels: bool = True,
    zones: bool = True,
    boxes: bool = False,
    truth: bool = True,
) -> PreparedStudy:
    """A column of seven blocks 9 slices apart, C1 on top; each of `broken` has a cleft, left of the middle.

    `zones` keeps the voxels of the clefts, `boxes` their boxes; `levels` and `truth` are known or not.
    """
    rng = np.random.default_rng(seed)
    hu = np.full(SHAPE_ZYX, 40.0) + rng.normal(0, 15, SHAPE_ZYX)
    labels, zone = np.zeros(SHAPE_ZYX, dtype=np.uint8), np.zeros(SHAPE_ZYX, dtype=np.uint8)
    around: list[SliceBox] = []
    for level in range(1, 8):
        z = slice(63 - 9 * level + 1, 63 - 9 * level + 8)
        labels[z, 10:26, 10:30] = level
        hu[z, 10:26, 10:30] = 600 + rng.normal(0, 20)
        if level in broken:
            cleft = (z, slice(10, 26), slice(14, 18))
            hu[cleft], zone[cleft] = -100.0, level
            around += [SliceBox(z=k, y_low=9.5, y_high=25.5, x_low=13.5, x_high=17.5) for k in range(z.start, z.stop)]
    return PreparedStudy(
        study_instance_uid=uid,
        patient=f"p{uid}",
        source="phantom" if zones else "dicom",
        hu=stored_hu(hu),
        grid=PatientGrid(origin_lps_mm=(-30.0, -20.0, -75.0), spacing_mm_zyx=SPACING_MM_ZYX, shape_zyx=SHAPE_ZYX),
        levels=labels if levels else None,
        levels_from="truth" if levels else None,
        fracture=zone if zones else None,
        boxes=tuple(around) if boxes else (),
        truth=tuple(int(k in broken or (k == 0 and bool(broken))) for k in range(8)) if truth else None,
    )


def write_necks(folder: Path, count: int = 4, *, first: int = 0, **changes: object) -> PreparedFolder:
    """`count` studies in a folder; every second has a fracture, of one level after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        study = neck(f"1.2.{i}", broken=(1 + i % 7,) if i % 2 else (), seed=i, **changes)  # type: ignore[arg-type]
        save_prepared(folder / f"{study.study_instance_uid}{SUFFIX}", study)
    return PreparedFolder(folder)
