"""How pictures are drawn: colours, letters with an outline, rims, frames. Pillow alone.

Importing a plotting library would take longer than all the pictures together.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.results import codes
from dicom_node.results.fonts import REGULAR, font_file

RGB = tuple[int, int, int]

INK: RGB = (236, 238, 240)
NOTICE_INK: RGB = (255, 205, 120)
STRIP: RGB = (22, 25, 29)
MARK: RGB = (255, 255, 255)
STRIP_PX = 40
OUTLINE_PX = 2

_HEADING_PX = 23
_LEAST_PX = 8
_MARGIN_PX = 10


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The same letters on every machine, and every letter of the languages we write."""
    return ImageFont.truetype(str(font_file(REGULAR)), size, layout_engine=ImageFont.Layout.BASIC)


def text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], said: str, anchor: str, *, size: int = 22, ink: RGB = MARK
) -> None:
    """Letters with a dark outline, readable on bone and on air."""
    draw.text(place, said, fill=ink, font=font(size), anchor=anchor, stroke_width=max(2, size // 9), stroke_fill=0)


def lightened(colour: RGB) -> RGB:
    """Half way to white: a level's colour as letters."""
    red, green, blue = (value + (255 - value) // 2 for value in colour)
    return red, green, blue


def level_ink(level: str) -> RGB:
    """The letters' colour of a level."""
    return lightened(codes.COLOURS[level].rgb) if level in codes.COLOURS else INK


def outline(image: Image.Image, region: NDArray[np.float32], colour: RGB, *, threshold: float = 0.5) -> None:
    """The picture shows the rim of where `region`, enlarged smoothly to its size, reaches the threshold."""
    for box, enlarged in _enlarged(region, image.size, threshold):
        rim = _rim(enlarged >= threshold)
        patch = np.array(image.crop(box))
        patch[rim] = colour
        image.paste(Image.fromarray(patch), box[:2])


def marker(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    """A ring with four ticks; the place itself stays free to look at."""
    x, y = centre
    for colour, width in (((0, 0, 0), 5), (MARK, 2)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            near, far = radius * 1.15, radius * 1.7
            draw.line((x + dx * near, y + dy * near, x + dx * far, y + dy * far), fill=colour, width=width)


def stroke(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: RGB) -> None:
    """A line with a dark outline."""
    draw.line((*start, *end), fill=(0, 0, 0), width=7)
    draw.line((*start, *end), fill=colour, width=3)


def framed(image: Image.Image, heading: str, notice: str) -> Image.Image:
    """The picture between its heading and the notice."""
    frame = Image.new("RGB", (image.width, image.height + 2 * STRIP_PX), STRIP)
    frame.paste(image, (0, STRIP_PX))
    draw = ImageDraw.Draw(frame)
    for said, y, ink in ((heading, STRIP_PX / 2, INK), (notice, frame.height - STRIP_PX / 2, NOTICE_INK)):
        draw.text((_MARGIN_PX, y), said, fill=ink, font=_fitting(said, image.width), anchor="lm")
    return frame


def _fitting(said: str, width: int) -> ImageFont.FreeTypeFont:
    """The largest font in which the text fits the width."""
    sizes = range(_HEADING_PX, _LEAST_PX, -1)
    return next((font(s) for s in sizes if font(s).getlength(said) <= width - 2 * _MARGIN_PX), font(_LEAST_PX))


def _enlarged(
    region: NDArray[np.float32], size: tuple[int, int], threshold: float
) -> Iterator[tuple[tuple[int, int, int, int], NDArray[np.float32]]]:
    """The box (left, upper, right, lower) of the picture around what reaches the threshold, and the region there."""
    rows, columns = np.nonzero(region >= threshold)
    if not rows.size:
        return
    scales = size[0] / region.shape[1], size[1] / region.shape[0]
    left, right = _span(columns, scales[0], size[0])
    upper, lower = _span(rows, scales[1], size[1])
    source = left / scales[0], upper / scales[1], right / scales[0], lower / scales[1]
    image = Image.fromarray(region, mode="F")
    part = image.resize((right - left, lower - upper), Image.Resampling.BICUBIC, box=source)
    yield (left, upper, right, lower), np.asarray(part)


def _span(places: NDArray[np.intp], scale: float, limit: int) -> tuple[int, int]:
    room = scale + OUTLINE_PX + 1
    return max(0, int(places.min() * scale - room)), min(limit, int((places.max() + 1) * scale + room))


def _rim(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels just outside the region, so that the edge of the bone itself stays visible."""
    grown = region
    for _ in range(OUTLINE_PX):
        padded = np.pad(grown, 1)
        grown = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~region
