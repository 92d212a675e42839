"""The picture of an answer on the real series: what the network named, beside the marks of a person."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from inference.evaluation.marks import Marks
from inference.postprocess import LEVELS, NOT_ASSESSED, PARTLY
from inference.spine import Spine
from inference.volume import Volume

Plane = Literal["sagittal", "coronal"]

COLOURS: Final = ("#e6194b", "#f58231", "#ffe119", "#3cb44b", "#42d4f4", "#4363d8", "#f032e6")
WORDS: Final = "evaluation only; trained on synthetic CT only"
MOST_BYTES: Final = 250_000

_STEP_MM: Final = 0.35
_WINDOW_HU: Final = (-300.0, 1100.0)
_OPACITY: Final = 0.42
_GREYS: Final = 109
_TINTS: Final = 20
# How far the picture reaches before and behind, or to either side of, the marks.
_REACH_MM: Final = {"sagittal": (30.0, 62.0), "coronal": (50.6, 50.6)}
_ABOVE_MM: Final = 26.0

Array = NDArray[np.float64]


def write_picture(file: Path, volume: Volume, marks: Marks, spine: Spine | None) -> None:
    """A PNG of at most 250 kB: a sagittal and a coronal plane that follow the marks, with the answer in colours.

    The mask is tinted per level; crosses are the marks, rings the answered centres. `spine` None is drawn as no answer.
    """
    figure = Figure(figsize=(10.4, 7.4), facecolor="black")
    FigureCanvasAgg(figure)
    planes: tuple[Plane, ...] = ("sagittal", "coronal")
    for plane, place in zip(planes, ((0.01, 0.1, 0.485, 0.82), (0.505, 0.1, 0.485, 0.82)), strict=True):
        _draw(figure.add_axes(place), plane, volume, marks, spine)
    _explain(figure, marks, spine)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100, facecolor="black")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_small_png(drawn))


def plane_points(marks: Marks, plane: Plane, lowest_mm: float, highest_mm: float) -> tuple[Array, Array]:
    """LPS mm points [rows, columns, 3] of a plane bent to follow the marks, and its extent (left, right, bottom, top).

    Row 0 is the lowest height. Columns run to the posterior (sagittal) or to the patient's left (coronal).
    """
    centres = np.array(sorted(marks.centres_lps_mm.values(), key=lambda p: float(p[2])))
    z = np.arange(lowest_mm, highest_mm, _STEP_MM)
    along, fixed = (1, 0) if plane == "sagittal" else (0, 1)
    before, behind = _REACH_MM[plane]
    across = np.arange(centres[:, along].min() - before, centres[:, along].max() + behind, _STEP_MM)
    points = np.empty((len(z), len(across), 3))
    points[..., along] = across[None, :]
    points[..., fixed] = np.interp(z, centres[:, 2], centres[:, fixed])[:, None]
    points[..., 2] = z[:, None]
    return points, np.array([across[0], across[-1], z[0], z[-1]])


def tinted(hu: NDArray[Any], labels: NDArray[Any]) -> Array:
    """RGB [rows, columns, 3], 0 to 1: the grey picture with labels 1-7 in their colours."""
    low, high = _WINDOW_HU
    rgb = np.repeat(np.clip((hu - low) / (high - low), 0, 1)[..., None], 3, axis=-1)
    for number, colour in enumerate(COLOURS, 1):
        own = labels == number
        rgb[own] = (1 - _OPACITY) * rgb[own] + _OPACITY * np.array(to_rgb(colour))
    return np.asarray(rgb, dtype=float)


def _draw(axes: Axes, plane: Plane, volume: Volume, marks: Marks, spine: Spine | None) -> None:
    top = max(float(p[2]) for p in marks.centres_lps_mm.values()) + _ABOVE_MM
    points, extent = plane_points(marks, plane, marks.anatomy_ends_at_z_mm, top)
    index = np.moveaxis(volume.to_index_zyx(points), -1, 0)
    hu = ndimage.map_coordinates(volume.hu.astype(np.float32), index, order=1, cval=-1024)
    labels = np.zeros(hu.shape, np.uint8)
    if spine is not None:
        labels = ndimage.map_coordinates(spine.mask, index, order=0, cval=0)
    axes.imshow(tinted(hu, labels), origin="lower", extent=tuple(extent), interpolation="bilinear")
    axes.set_axis_off()
    axes.set_title(f"{plane}, bent through the marks", color="white", fontsize=10, pad=4)
    along = 1 if plane == "sagittal" else 0
    for point in marks.centres_lps_mm.values():
        axes.plot(point[along], point[2], "+", color="black", ms=12, mew=3.2)
        axes.plot(point[along], point[2], "+", color="white", ms=11, mew=1.4)
    for number, level in enumerate(() if spine is None else spine.levels):
        if level.centre_lps_mm is not None:
            x, z = level.centre_lps_mm[along], level.centre_lps_mm[2]
            axes.plot(x, z, "o", ms=11, mfc="none", mec="black", mew=3.4)
            axes.plot(x, z, "o", ms=11, mfc="none", mec=COLOURS[number], mew=1.8)
            name = f"{level.level} (partly)" if level.status == PARTLY else level.level
            axes.text(
                extent[1] - 1.5, z, name, color=COLOURS[number], ha="right", va="center", fontsize=11, fontweight="bold"
            )


def _explain(figure: Figure, marks: Marks, spine: Spine | None) -> None:
    handles = [Line2D([], [], color=colour, lw=6, label=level) for level, colour in zip(LEVELS, COLOURS, strict=True)]
    handles.append(Line2D([], [], color="white", marker="+", ls="", ms=11, mew=1.6, label="mark by eye"))
    handles.append(Line2D([], [], color="white", marker="o", mfc="none", ls="", ms=9, label="answered centre"))
    figure.legend(
        handles=handles, loc="lower center", ncols=9, frameon=False, labelcolor="white", fontsize=9,
        bbox_to_anchor=(0.5, 0.045), handlelength=1.2, columnspacing=1.3,
    )  # fmt: skip
    unseen = LEVELS if spine is None else [v.level for v in spine.levels if v.status == NOT_ASSESSED]
    answer = "no cervical spine found" if spine is None else f"not assessed: {', '.join(unseen) or 'none'}"
    figure.text(0.5, 0.96, f"{marks.series}: {WORDS}", color="white", fontsize=12, ha="center")
    figure.text(0.5, 0.022, answer, color="white", fontsize=10, ha="center")


def _small_png(drawn: BytesIO) -> bytes:
    """The picture in greys and tints only; fewer pixels where it is still too large."""
    image, palette = Image.open(drawn).convert("RGB"), _palette()
    while True:
        out = BytesIO()
        image.quantize(palette=palette, dither=Image.Dither.NONE).save(out, format="PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            return out.getvalue()
        image = image.resize((int(image.width * 0.9), int(image.height * 0.9)), Image.Resampling.LANCZOS)


def _palette() -> Image.Image:
    """256 colours: the greys, the seven colours, and each of them over twenty greys, as `tinted` mixes them."""
    greys = np.repeat(np.linspace(0, 1, _GREYS)[:, None], 3, axis=1)
    pure = np.array([to_rgb(colour) for colour in COLOURS])
    under = np.repeat(np.linspace(0, 1, _TINTS)[:, None], 3, axis=1)
    tints = ((1 - _OPACITY) * under[None] + _OPACITY * pure[:, None]).reshape(-1, 3)
    colours = np.round(np.concatenate([greys, pure, tints]) * 255).astype(np.uint8)
    image = Image.new("P", (1, 1))
    image.putpalette(colours.ravel().tolist())
    return image
