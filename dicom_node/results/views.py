"""The 2D views that the analysis left for pictures (see `dicom_node.analysis.views`), read back and checked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.errors import EncodingInvalid

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """Where a flat view lies, LPS mm: the centre of its first pixel, and the steps along rows and columns."""

    origin_mm: NDArray[np.float64]
    row_step_mm: NDArray[np.float64]
    column_step_mm: NDArray[np.float64]

    def points_mm(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """The pixels' centres, [row, column, (x, y, z)]."""
        down = np.arange(shape[0])[:, None, None] * self.row_step_mm
        across = np.arange(shape[1])[None, :, None] * self.column_step_mm
        points: NDArray[np.float64] = self.origin_mm + down + across
        return points


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One entry of views.json with its arrays: `hu` int16 and `mask` uint8 [row, column]; positions in pixels.

    `plane` is None for a view that follows the spine. `slice_index` is the z index of a view that is a source slice.
    """

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
    plane: Plane | None = None


def read_views(views_dir: Path) -> tuple[View, ...]:
    """What the analysis left in the folder. Raises EncodingInvalid where it is not as agreed."""
    try:
        entries = json.loads((views_dir / "views.json").read_text())["views"]
        return tuple(_view(entry, views_dir) for entry in entries)
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise EncodingInvalid(f"the views of the analysis cannot be read: {error}") from error


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
        plane=None if entry.get("plane") is None else _plane(entry["plane"]),
    )


def _plane(entry: dict[str, Any]) -> Plane:
    origin, down, across = (
        np.asarray(entry[f"{name}_mm_lps"], dtype=np.float64) for name in ("origin", "row_step", "column_step")
    )
    if not origin.shape == down.shape == across.shape == (3,):
        raise ValueError(f"a plane has three numbers each, not {entry}")
    return Plane(origin_mm=origin, row_step_mm=down, column_step_mm=across)
