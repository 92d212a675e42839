"""One slice as a picture: window, colour map, boxes and level outlines. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from inference.dataset.rsna_tables import PixelBox
from inference.synthetic.spec import LEVELS

# Centre and width, HU.
WINDOWS: Final = {"bone": (400.0, 1800.0), "soft-tissue": (40.0, 400.0), "brain": (40.0, 80.0)}
COLOURS: Final = ("grey", "bone", "inferno")

Colour = tuple[int, int, int]

_MATPLOTLIB: Final = {"grey": "gray", "bone": "bone", "inferno": "inferno"}
BOX_COLOUR: Final = (255, 64, 64)
FRACTURED_COLOUR: Final = (255, 110, 110)
# C1 ... C7, other vertebrae: told apart on black, on bone and by most colour-blind eyes (after Okabe and Ito).
LEVEL_COLOURS: Final = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 190, 140),
    (240, 228, 66),
    (90, 150, 255),
    (213, 120, 60),
    (220, 140, 190),
    (150, 150, 150),
)
_LEAST_LABEL_PIXELS: Final = 20


def shades(hu: NDArray[np.int16], window: str) -> NDArray[np.uint8]:
    """Hounsfield units [..., y, x] as 0 (at or below the window) to 255 (at or above it)."""
    centre, width = WINDOWS[window]
    share = (hu.astype(np.float32) - np.float32(centre - width / 2)) / np.float32(width)
    return (np.clip(share, 0.0, 1.0) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def picture(hu: NDArray[np.int16], window: str, colour: str) -> Image.Image:
    """A slice [y, x] as a picture of the same size, "L" for grey and "RGB" for a colour map."""
    values = shades(hu, window)
    if colour == "grey":
        return Image.fromarray(values)
    return Image.fromarray(_table(colour)[values])


def draw_boxes(image: Image.Image, boxes: Iterable[PixelBox], scale: float = 1.0) -> Image.Image:
    """The picture with boxes in red; (x, y) is a box's top left corner, `scale` the picture's size over the slice's."""
    shown = image.convert("RGB")
    pen = ImageDraw.Draw(shown)
    for box in boxes:
        corners = (box.x, box.y, box.x + box.width, box.y + box.height)
        pen.rectangle([v * scale for v in corners], outline=BOX_COLOUR, width=max(1, round(1.5 * scale)))
    return shown


def draw_levels(image: Image.Image, labels: NDArray[np.uint8], fractured: Collection[str] = ()) -> Image.Image:
    """The picture with each level of `labels` [y, x] (of the picture's size) outlined and named.

    The names of `fractured` levels are red and bear an exclamation mark.
    """
    pixels = np.array(image.convert("RGB"))
    names = []
    for label in sorted(int(v) for v in np.unique(labels) if v):
        where = labels == label
        # Around the bone, not on it: the cortex is what the eye looks for.
        pixels[ndimage.binary_dilation(where) & (labels == 0)] = LEVEL_COLOURS[min(label, 8) - 1]
        if label <= len(LEVELS) and where.sum() >= _LEAST_LABEL_PIXELS:
            names.append((LEVELS[label - 1], np.argwhere(where)))
    shown = Image.fromarray(pixels)
    pen = ImageDraw.Draw(shown)
    font = ImageFont.load_default(size=max(12.0, shown.width / 30))
    for name, spot in names:
        _write_name(pen, font, name, spot, shown.size, name in fractured)
    return shown


def _write_name(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    name: str,
    spot: NDArray[np.intp],
    size: tuple[int, int],
    is_fractured: bool,
) -> None:
    """The name to the right of the level, inside the picture."""
    text = f"{name}!" if is_fractured else name
    colour = FRACTURED_COLOUR if is_fractured else LEVEL_COLOURS[LEVELS.index(name)]
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    x = min(float(spot[:, 1].max()) + 3, size[0] - (right - left) - 2)
    y = float(np.clip(spot[:, 0].mean() - bottom / 2, 0, size[1] - bottom - top))
    pen.text((x, y), text, fill=colour, font=font, stroke_width=1, stroke_fill=(0, 0, 0))


@lru_cache(maxsize=len(COLOURS))
def _table(colour: str) -> NDArray[np.uint8]:
    """256 colours [256, 3] of a map."""
    from matplotlib import colormaps

    table = colormaps[_MATPLOTLIB[colour]](np.arange(256))[:, :3]
    return np.rint(table * 255).astype(np.uint8)
