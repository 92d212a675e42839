"""PNG pictures of an analysis: the spine from the side with its levels, and the key slice of each suspicious level.

Drawn with Pillow alone: importing a plotting library would take longer than all the pictures together.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import LEVELS
from dicom_node.results import codes

WINDOW_LEVEL_HU = 400.0
WINDOW_WIDTH_HU = 1800.0

_LONG_SIDE_PX = 900
_MAX_PX_PER_MM = 8.0
_STRIP_PX = 34
_OUTLINE_PX = 2
_INK = (236, 238, 240)
_STRIP = (22, 25, 29)
_MARK = (255, 255, 255)
_MARK_RADIUS_MM = 7.0
_SCALE_BAR_MM = 20.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_RGB = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One entry of views.json with its arrays: `hu` int16 and `mask` uint8 [row, column]; positions in pixels."""

    name: str
    kind: str
    level: str | None
    hu: NDArray[np.int16]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float]
    labels: tuple[tuple[str, float, float], ...] = ()
    slice_index: int | None = None
    point: tuple[float, float] | None = None
    probability: float | None = None


def write_pictures(views_dir: Path, out_dir: Path, *, trained_on: str = "synthetic data only") -> tuple[Path, ...]:
    """The views are drawn as `out_dir`/pictures/<name>.png, in their order. Raises EncodingInvalid for broken views."""
    views = read_views(views_dir)
    folder = out_dir / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for view in views:
        file = folder / f"{view.name}.png"
        draw_view(view, notice=codes.notice(trained_on)).save(file, compress_level=4)
        files.append(file)
    return tuple(files)


def read_views(views_dir: Path) -> tuple[View, ...]:
    """What the analysis left in the folder. Raises EncodingInvalid where it is not as agreed."""
    try:
        entries = json.loads((views_dir / "views.json").read_text())["views"]
        return tuple(_view(entry, views_dir) for entry in entries)
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise EncodingInvalid(f"the views of the analysis cannot be read: {error}") from error


def draw_view(view: View, *, notice: str) -> Image.Image:
    """The picture in bone window with outlines, labels and the notice; pixels are square whatever the spacing is."""
    px_per_mm = _px_per_mm(view)
    size = (
        max(1, round(view.hu.shape[1] * view.spacing_mm[1] * px_per_mm)),
        max(1, round(view.hu.shape[0] * view.spacing_mm[0] * px_per_mm)),
    )
    image = Image.fromarray(_grey(view.hu)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    image = _outlined(image, view.mask)
    draw = ImageDraw.Draw(image)
    scale = (size[1] / view.hu.shape[0], size[0] / view.hu.shape[1])
    for level, row, column in view.labels:
        _label(draw, level, ((column + 0.5) * scale[1], (row + 0.5) * scale[0]))
    if view.point is not None:
        centre = ((view.point[1] + 0.5) * scale[1], (view.point[0] + 0.5) * scale[0])
        _marker(draw, centre, _MARK_RADIUS_MM * px_per_mm)
    _scale_bar(draw, size, px_per_mm)
    if view.kind == "sagittal":
        _directions(draw, size)
    return _framed(image, _heading(view), notice)


def _view(entry: dict[str, Any], folder: Path) -> View:
    name = str(entry["name"])
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"a view cannot be named {name!r}")
    hu = np.load(folder / Path(entry["hu"]).name, allow_pickle=False)
    mask = np.load(folder / Path(entry["mask"]).name, allow_pickle=False)
    if hu.ndim != 2 or hu.shape != mask.shape:
        raise ValueError(f"view {name}: pixels are {hu.shape}, mask is {mask.shape}")
    point = entry.get("point")
    return View(
        name=name,
        kind=str(entry["kind"]),
        level=entry.get("level"),
        hu=hu,
        mask=mask,
        spacing_mm=(float(entry["spacing_mm"][0]), float(entry["spacing_mm"][1])),
        labels=tuple((str(e["level"]), float(e["row"]), float(e["column"])) for e in entry.get("labels", ())),
        slice_index=entry.get("slice_index"),
        point=None if point is None else (float(point[0]), float(point[1])),
        probability=entry.get("probability"),
    )


def _px_per_mm(view: View) -> float:
    height, width = (count * mm for count, mm in zip(view.hu.shape, view.spacing_mm, strict=True))
    return min(_MAX_PX_PER_MM, _LONG_SIDE_PX / max(height, width))


def _grey(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    low = WINDOW_LEVEL_HU - WINDOW_WIDTH_HU / 2
    return np.clip((hu.astype(np.float32) - low) * (255.0 / WINDOW_WIDTH_HU), 0, 255).astype(np.uint8)


def _outlined(image: Image.Image, mask: NDArray[np.uint8]) -> Image.Image:
    """Each level's edge in its colour: the level is enlarged smoothly, cut at one half, and rimmed."""
    pixels = np.array(image)
    for label, level in enumerate(LEVELS, 1):
        own = mask == label
        if not own.any():
            continue
        smooth = Image.fromarray(own.astype(np.uint8) * 255).resize(image.size, Image.Resampling.BICUBIC)
        pixels[_rim(np.asarray(smooth) > 127)] = codes.COLOURS[level].rgb
    return Image.fromarray(pixels)


def _rim(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels just outside the region, so that the edge of the bone itself stays visible."""
    grown = region
    for _ in range(_OUTLINE_PX):
        padded = np.pad(grown, 1)
        grown = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~region


def _label(draw: ImageDraw.ImageDraw, level: str, centre: tuple[float, float]) -> None:
    colour = codes.COLOURS[level].rgb if level in codes.COLOURS else _INK
    draw.text(
        centre, level, fill=_lightened(colour), font=_font(26), anchor="mm", stroke_width=3, stroke_fill=(0, 0, 0)
    )


def _lightened(colour: _RGB) -> _RGB:
    red, green, blue = (value + (255 - value) // 2 for value in colour)
    return red, green, blue


def _marker(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    """A ring with four ticks; the place itself stays free to look at."""
    x, y = centre
    for colour, width in (((0, 0, 0), 5), (_MARK, 2)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            near, far = radius * 1.15, radius * 1.7
            draw.line((x + dx * near, y + dy * near, x + dx * far, y + dy * far), fill=colour, width=width)


def _scale_bar(draw: ImageDraw.ImageDraw, size: tuple[int, int], px_per_mm: float) -> None:
    length = _SCALE_BAR_MM * px_per_mm
    x, y = size[0] - 14, size[1] - 14
    draw.line((x - length, y, x, y), fill=(0, 0, 0), width=6)
    draw.line((x - length, y, x, y), fill=_MARK, width=2)
    _small(draw, (x, y - 8), f"{_SCALE_BAR_MM:.0f} mm", "rs")


def _directions(draw: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    """Anterior is left and superior is up in a sagittal view."""
    _small(draw, (10, size[1] / 2), "A", "lm")
    _small(draw, (size[0] - 10, size[1] / 2), "P", "rm")


def _small(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str) -> None:
    draw.text(place, text, fill=_MARK, font=_font(18), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _heading(view: View) -> str:
    window = f"bone window {WINDOW_LEVEL_HU:.0f}/{WINDOW_WIDTH_HU:.0f} HU"
    if view.kind == "sagittal":
        return f"Sagittal, {window}"
    parts = [view.level or view.name]
    if view.probability is not None:
        parts.append(f"fracture probability {100 * view.probability:.0f} %")
    if view.slice_index is not None:
        parts.append(f"slice index {view.slice_index}")
    return ", ".join([*parts, window])


def _framed(image: Image.Image, heading: str, notice: str) -> Image.Image:
    """The picture between its heading and the notice, wide enough for both."""
    fonts = _fitting(heading, image.width), _fitting(notice, image.width)
    framed = Image.new("RGB", (image.width, image.height + 2 * _STRIP_PX), _STRIP)
    framed.paste(image, (0, _STRIP_PX))
    draw = ImageDraw.Draw(framed)
    draw.text((10, _STRIP_PX / 2), heading, fill=_INK, font=fonts[0], anchor="lm")
    draw.text((10, framed.height - _STRIP_PX / 2), notice, fill=(255, 205, 120), font=fonts[1], anchor="lm")
    return framed


def _fitting(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font up to 18 px in which the text fits the width."""
    for size in range(18, 7, -1):
        font = _font(size)
        if font.getlength(text) <= width - 20:
            return font
    return _font(7)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
