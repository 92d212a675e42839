"""A prepared study as a picture for a report: a sagittal and an axial slice through what was missed or mistaken.

The slices go through the middle of the focus level's fracture zone, else of its boxes, else of its mask, else of the
volume. Patient's front is at the left of the sagittal slice; the axial slice is seen from the feet, as radiologists do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inference.dataset.prepared import PreparedFolder, PreparedStudy, real_hu
from inference.evaluation.predictions import LEVEL_COLUMNS

WINDOW_HU: Final = (-450.0, 1350.0)

_STEP_MM: Final = 0.5
_GAP: Final = 6
_ZONE: Final = (255, 150, 0)
_BOX: Final = (90, 200, 255)

Bytes = NDArray[np.uint8]


def pictures_of_worst(folder: PreparedFolder, worst: Sequence[Mapping[str, Any]]) -> Callable[[str], bytes | None]:
    """The picture function of a report for the `worst` rows of a summary; None for any other study."""
    focus = {row["uid"]: _focus(row) for row in worst}
    known = set(folder.uids)

    def picture(uid: str) -> bytes | None:
        return case_picture(folder.load(uid), focus[uid]) if uid in focus and uid in known else None

    return picture


def case_picture(study: PreparedStudy, level: str | None) -> bytes:
    """The PNG of a study with the focus on a level (C1 to C7, or None); orange outlines fractures, blue boxes."""
    number = 0 if level is None else LEVEL_COLUMNS.index(level)
    z, _, x = _middle(study, number)
    spacing = study.grid.spacing_mm_zyx
    sagittal = _grey(study.hu[::-1, :, x], spacing[0], spacing[1])
    axial = _grey(study.hu[z], spacing[1], spacing[2])
    if study.fracture is not None:
        _outline(sagittal, study.fracture[::-1, :, x] > 0)
        _outline(axial, study.fracture[z] > 0)
    _boxes(axial, study, z)
    return _beside(sagittal, axial)


def _focus(row: Mapping[str, Any]) -> str | None:
    """The level to look at: the first that was missed, else the first false alarm, else the first fracture."""
    for name in ("missed", "false_alarms", "fractured"):
        levels = [level for level in row[name] if level != LEVEL_COLUMNS[0]]
        if levels:
            return str(levels[0])
    return None


def _middle(study: PreparedStudy, number: int) -> tuple[int, int, int]:
    for mask in (study.fracture, study.levels):
        if mask is not None and number and (mask == number).any():
            at = np.argwhere(mask == number)
            z, y, x = at[np.abs(at - at.mean(axis=0)).sum(axis=1).argmin()]
            return int(z), int(y), int(x)
    if study.boxes:
        box = study.boxes[len(study.boxes) // 2]
        return box.z, int((box.y_low + box.y_high) / 2), int((box.x_low + box.x_high) / 2)
    z, y, x = (n // 2 for n in study.hu.shape)
    return z, y, x


def _grey(stored: Bytes, row_mm: float, column_mm: float) -> Image.Image:
    low, high = WINDOW_HU
    grey = np.clip((real_hu(stored) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    size = (max(1, round(grey.shape[1] * column_mm / _STEP_MM)), max(1, round(grey.shape[0] * row_mm / _STEP_MM)))
    return Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _outline(image: Image.Image, zone: NDArray[np.bool_]) -> None:
    """The border of a zone [rows, columns] drawn over the picture of the same slice."""
    if not zone.any():
        return
    large = np.array(Image.fromarray(zone.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)) > 0
    inner = large.copy()
    inner[1:] &= large[:-1]
    inner[:-1] &= large[1:]
    inner[:, 1:] &= large[:, :-1]
    inner[:, :-1] &= large[:, 1:]
    pixels = np.array(image)
    pixels[large & ~inner] = _ZONE
    image.paste(Image.fromarray(pixels))


def _boxes(image: Image.Image, study: PreparedStudy, z: int) -> None:
    _, row_mm, column_mm = study.grid.spacing_mm_zyx
    draw = ImageDraw.Draw(image)
    for box in study.boxes:
        if box.z == z:
            (left, right), (top, bottom) = (
                (low * mm / _STEP_MM, high * mm / _STEP_MM)
                for low, high, mm in ((box.x_low, box.x_high, column_mm), (box.y_low, box.y_high, row_mm))
            )
            draw.rectangle((left, top, right, bottom), outline=_BOX)


def _beside(left: Image.Image, right: Image.Image) -> bytes:
    height = max(left.height, right.height)
    both = Image.new("RGB", (left.width + _GAP + right.width, height))
    both.paste(left, (0, (height - left.height) // 2))
    both.paste(right, (left.width + _GAP, (height - right.height) // 2))
    out = BytesIO()
    both.save(out, format="PNG", optimize=True)
    return out.getvalue()
