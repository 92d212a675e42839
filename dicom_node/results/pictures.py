"""Pictures of an analysis: both overviews with their levels, and two close looks at each suspicious level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.core.finding import LEVELS
from dicom_node.results import codes, drawing
from dicom_node.results.suspicion import BANDS, SuspicionMap
from dicom_node.results.views import View
from dicom_node.results.words import N_, Words

WINDOW_LEVEL_HU = 400.0
WINDOW_WIDTH_HU = 1800.0

_LONG_SIDE_PX = 900
_MAX_PX_PER_MM = 10.0
_MARK_RADIUS_MM = 7.0
_SCALE_BAR_MM = 20.0
_LABEL_PX = 28
_LABEL_ROOM_PX = 36  # from a name's middle to the picture's edge, frame included
_LABEL_ASIDE_MM = {"sagittal": -19.0, "coronal": 38.0}  # beside the body, so that no fracture hides behind a name
_EDGE_PX = 12
_KINDS = {"sagittal": N_("sagittal"), "coronal": N_("coronal"), "axial": N_("axial")}
_OVERVIEW_SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L")}
_AXES = (("L", "R"), ("P", "A"), ("S", "I"))  # towards higher and lower x, y, z of LPS


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What stands around the pictures. `positive` are the suspicious levels; `images` number the slices by z index."""

    words: Words
    notice: str
    positive: frozenset[str] = frozenset()
    images: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A drawn view."""

    name: str
    view: View
    image: Image.Image


def draw_pictures(views: tuple[View, ...], maps: Mapping[str, SuspicionMap], captions: Captions) -> tuple[Picture, ...]:
    """Every view in its order."""
    return tuple(
        Picture(name=view.name, view=view, image=draw_view(view, maps.get(view.level or ""), captions))
        for view in views
    )


def save_pictures(pictures: tuple[Picture, ...], out_dir: Path) -> tuple[Path, ...]:
    """`out_dir`/pictures/<name>.png of each. Raises OSError."""
    folder = out_dir / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(folder / f"{picture.name}.png" for picture in pictures)
    for picture, file in zip(pictures, files, strict=True):
        picture.image.save(file, compress_level=1)
    return files


def draw_view(view: View, found: SuspicionMap | None, captions: Captions) -> Image.Image:
    """The picture in bone window with outlines, labels and the notice; pixels are square whatever the spacing is."""
    px_per_mm = _px_per_mm(view)
    size = (
        max(1, round(view.hu.shape[1] * view.spacing_mm[1] * px_per_mm)),
        max(1, round(view.hu.shape[0] * view.spacing_mm[0] * px_per_mm)),
    )
    image = Image.fromarray(_grey(view.hu)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    for label, level in enumerate(LEVELS, 1):
        drawing.outline(image, (view.mask == label).astype(np.float32), codes.COLOURS[level].rgb)
    draw = ImageDraw.Draw(image)
    scale = (size[1] / view.hu.shape[0], size[0] / view.hu.shape[1])
    aside = _LABEL_ASIDE_MM.get(view.kind, 0.0) * px_per_mm
    for level, row, column in view.labels:
        x = min(max((column + 0.5) * scale[1] + aside, _LABEL_ROOM_PX), size[0] - _LABEL_ROOM_PX)
        _label(draw, level, (x, (row + 0.5) * scale[0]), level in captions.positive)
    if view.point is not None:
        shares = None if found is None else shares_on(view, found)
        if shares is None or shares.max() < BANDS[0].from_share:
            centre = ((view.point[1] + 0.5) * scale[1], (view.point[0] + 0.5) * scale[0])
            drawing.marker(draw, centre, _MARK_RADIUS_MM * px_per_mm)
        else:
            for band in BANDS:
                drawing.outline(image, shares, band.rgb, threshold=band.from_share)
            _legend(draw, size, captions.words)
    _scale_bar(draw, size, px_per_mm)
    _sides(draw, size, view)
    return drawing.framed(image, _heading(view, captions), captions.notice)


def shares_on(view: View, found: SuspicionMap) -> NDArray[np.float32] | None:
    """The map on a flat view as shares of its peak, 0 in other levels' bone; None where the view is not flat."""
    peak = float(found.values.max(initial=0.0))
    if view.plane is None or view.level is None or peak <= 0:
        return None
    shares = found.at(view.plane.points_mm(view.mask.shape)) / np.float32(peak)
    shares[(view.mask > 0) & (view.mask != LEVELS.index(view.level) + 1)] = 0
    return shares


def _px_per_mm(view: View) -> float:
    height, width = (count * mm for count, mm in zip(view.hu.shape, view.spacing_mm, strict=True))
    return min(_MAX_PX_PER_MM, _LONG_SIDE_PX / max(height, width))


def _grey(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    low = WINDOW_LEVEL_HU - WINDOW_WIDTH_HU / 2
    return np.clip((hu.astype(np.float32) - low) * (255.0 / WINDOW_WIDTH_HU), 0, 255).astype(np.uint8)


def _label(draw: ImageDraw.ImageDraw, level: str, centre: tuple[float, float], is_positive: bool) -> None:
    """The level's name; a suspicious one stands in a frame."""
    if is_positive:
        x, y = centre
        half = drawing.font(_LABEL_PX).getlength(level) / 2 + 8
        box = (x - half, y - _LABEL_PX * 0.72, x + half, y + _LABEL_PX * 0.72)
        draw.rounded_rectangle(box, radius=6, outline=(0, 0, 0), width=6)
        draw.rounded_rectangle(box, radius=6, outline=BANDS[-1].rgb, width=3)
    drawing.text(draw, centre, level, "mm", size=_LABEL_PX, ink=drawing.level_ink(level))


def _scale_bar(draw: ImageDraw.ImageDraw, size: tuple[int, int], px_per_mm: float) -> None:
    x, y = size[0] - _EDGE_PX, size[1] - _EDGE_PX
    drawing.stroke(draw, (x - _SCALE_BAR_MM * px_per_mm, y), (x, y), drawing.MARK)
    drawing.text(draw, (x, y - 8), f"{_SCALE_BAR_MM:.0f} mm", "rs")


def _legend(draw: ImageDraw.ImageDraw, size: tuple[int, int], words: Words) -> None:
    """Which rim is which share of the peak, at the lower left."""
    x, y = float(_EDGE_PX), size[1] - _EDGE_PX
    said = words("AI suspicion, % of its peak:")
    drawing.text(draw, (x, y), said, "ls", size=20)
    x += drawing.font(20).getlength(said) + 12
    for band in BANDS:
        drawing.stroke(draw, (x, y - 7), (x + 26, y - 7), band.rgb)
        drawing.text(draw, (x + 32, y), f"{100 * band.from_share:.0f}", "ls", size=20, ink=drawing.lightened(band.rgb))
        x += 70


def _sides(draw: ImageDraw.ImageDraw, size: tuple[int, int], view: View) -> None:
    """Which side of the patient is left and right in the picture, and where the view is flat, at its top."""
    middle = size[0] / 2, size[1] / 2
    left, right = _OVERVIEW_SIDES.get(view.kind, ("", ""))
    if view.plane is not None:
        right, left = _directions(view.plane.column_step_mm)
        drawing.text(draw, (middle[0], _EDGE_PX), _directions(view.plane.row_step_mm)[1], "ma")
    drawing.text(draw, (_EDGE_PX, middle[1]), left, "lm")
    drawing.text(draw, (size[0] - _EDGE_PX, middle[1]), right, "rm")


def _directions(step: NDArray[np.float64]) -> tuple[str, str]:
    """The letters of the side that a step goes to and of the one that it comes from."""
    axis = int(np.abs(step).argmax())
    higher, lower = _AXES[axis]
    return (higher, lower) if step[axis] > 0 else (lower, higher)


def _heading(view: View, captions: Captions) -> str:
    words = captions.words
    parts = [view.level] if view.level else []
    if view.probability is not None:
        parts.append(words("fracture probability {probability}", probability=words.percent(view.probability)))
    parts.append(words(_KINDS.get(view.kind, view.kind)))
    if view.slice_index is not None and view.slice_index in captions.images:
        parts.append(words("image {image}", image=captions.images[view.slice_index]))
    parts.append(words("bone window {level}/{width} HU", level=int(WINDOW_LEVEL_HU), width=int(WINDOW_WIDTH_HU)))
    said = ", ".join(parts)
    return said[:1].upper() + said[1:]
