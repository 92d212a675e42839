"""The located cervical spine: what a localiser answers, whichever localiser a site uses.

Two of them exist: the bundle's own network (`inference.localise.NetworkLocaliser`) and TotalSegmentator
(`inference.totalsegmentator`). Both name voxels; `describe` makes the same answer out of either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.mask import source_box
from inference.postprocess import (
    ASSESSED,
    LEVELS,
    NOT_ASSESSED,
    PARTLY,
    Column,
    body_centre,
    level_status,
)
from inference.volume import Volume

PointMm = tuple[float, float, float]
Status = Literal["assessed", "partly_in_field_of_view", "not_assessed"]
Progress = Callable[[str, float], None]

# C1 is a ring: its centre, between the lateral masses, lies this share of its depth behind its front.
_RING_SHARE: Final = 0.44
_OUTLIERS_PERCENT: Final = 0.5
_AXIS: Final = 2

COUNTED_FROM_SHAPE: Final = (
    "Neither C1 nor C2 lies whole in the field of view: the other levels are named from their shape, "
    "and all names may be one level off."
)


@dataclass(frozen=True, kw_only=True)
class OrientedBox:
    """A box around one vertebra in its own frame, LPS mm.

    `axes_lps` are the unit vectors (to the patient's left, posterior, superior) of the vertebra, `size_mm` the full
    side along each of them.
    """

    centre_lps_mm: PointMm
    axes_lps: tuple[PointMm, PointMm, PointMm]
    size_mm: PointMm


@dataclass(frozen=True, kw_only=True)
class LocatedLevel:
    """One level of the seven.

    A level that is not assessed has neither centre nor box. `centre_lps_mm` is the middle of the vertebral body (C2:
    without the dens; C1, which has none: of its ring). `evidence` is the localiser's mean probability, 0-1, where it
    gives one.
    """

    level: str
    status: Status
    centre_lps_mm: PointMm | None
    box: OrientedBox | None
    evidence: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Spine:
    """`mask` is uint8 [z, y, x] on the volume's grid, 1-7 = C1-C7, one connected piece each; `levels` are C1 to C7."""

    mask: NDArray[np.uint8]
    column: Column
    levels: tuple[LocatedLevel, ...]
    notes: tuple[str, ...] = ()


class Localiser(Protocol):
    """Finds and names the cervical vertebrae of a volume."""

    def locate(self, volume: Volume, progress: Progress | None = None) -> Spine | None:
        """The spine, or None where the volume shows no cervical spine; `progress` receives (stage, share 0-1)."""
        ...


def describe(volume: Volume, column: Column, mask: NDArray[np.uint8]) -> Spine:
    """The spine of a column whose mask on the volume's grid is drawn; unassessed levels are wiped from `mask`."""
    levels = []
    # Counting the voxels of the whole scan would cost more time and memory than all networks together.
    near = mask[source_box(volume, column.grid)]
    present = [bool((near == number).any()) for number in range(1, 8)]
    centres = body_centres(column)
    for number, name in enumerate(LEVELS, start=1):
        status = level_status(column, volume, number) if present[number - 1] else NOT_ASSESSED
        if status == NOT_ASSESSED:
            if present[number - 1]:
                mask[mask == number] = 0
            levels.append(LocatedLevel(level=name, status=NOT_ASSESSED, centre_lps_mm=None, box=None, evidence=None))
            continue
        box = oriented_box(column, number, centres)
        levels.append(
            LocatedLevel(
                level=name,
                status=status,  # type: ignore[arg-type]
                centre_lps_mm=_centre(centres, number, box),
                box=box,
                evidence=column.evidence.get(number),
            )
        )
    return Spine(mask=mask, column=column, levels=tuple(levels), notes=(*column.notes, *_notes(levels)))


def body_centres(column: Column) -> dict[int, PointMm]:
    """`body_centre` of each level of the column."""
    return {level: body_centre(column, level) for level in column.levels}


def oriented_box(column: Column, level: int, centres: dict[int, PointMm]) -> OrientedBox:
    """The level's box along its own axes: superior follows the column, posterior points to the spinous process.

    `centres` are the column's `body_centres`.
    """
    axes = _axes(column, level, centres)
    points = column.grid.to_lps_mm(column.voxels(level))
    along = points @ axes.T
    low, high = np.percentile(along, [_OUTLIERS_PERCENT, 100 - _OUTLIERS_PERCENT], axis=0)
    room = column.grid.spacing_mm_zyx[0]
    return OrientedBox(
        centre_lps_mm=_point((low + high) / 2 @ axes),
        axes_lps=(_point(axes[0]), _point(axes[1]), _point(axes[2])),
        size_mm=_point(high - low + room),
    )


def _axes(column: Column, level: int, centres: dict[int, PointMm]) -> NDArray[np.float64]:
    """Rows: left, posterior, superior of the level, LPS."""
    up = _up(level, centres)
    # C1 has no body in front to show the way back; C2, which it turns about, does.
    guide = 2 if level == 1 and 2 in centres else level
    voxels = column.grid.to_lps_mm(column.voxels(guide))
    back = voxels.mean(axis=0) - np.array(centres[guide])
    back = back - up * (back @ up)
    if back[1] <= 0.5 * float(np.linalg.norm(back)) or np.linalg.norm(back) < 1.0:
        back = np.array([0.0, 1.0, 0.0]) - up * up[1]
    back = back / np.linalg.norm(back)
    return np.stack([np.cross(back, up), back, up])


def _up(level: int, centres: dict[int, PointMm]) -> NDArray[np.float64]:
    """The column's direction at a level, from its neighbours."""
    near = [k for k in (level - 1, level, level + 1) if k in centres]
    if len(near) < 2:
        return np.array([0.0, 0.0, 1.0])
    top, bottom = (np.array(centres[k]) for k in (near[0], near[-1]))
    way = top - bottom
    length = float(np.linalg.norm(way))
    return way / length if way[2] > 0.3 * length else np.array([0.0, 0.0, 1.0])


def _centre(centres: dict[int, PointMm], level: int, box: OrientedBox) -> PointMm:
    if level > 1:
        return centres[level]
    axes = np.array(box.axes_lps)
    return _point(np.array(box.centre_lps_mm) + axes[1] * (_RING_SHARE - 0.5) * box.size_mm[1])


def _notes(levels: list[LocatedLevel]) -> tuple[str, ...]:
    partly = [v.level for v in levels if v.status == PARTLY]
    missing = [v.level for v in levels if v.status == NOT_ASSESSED]
    notes = []
    if partly:
        notes.append(f"Only partly in the field of view: {', '.join(partly)}.")
    if missing:
        notes.append(f"Not assessed: {', '.join(missing)}.")
    if len(missing) < len(levels) and all(v.status != ASSESSED for v in levels[:_AXIS]):
        notes.append(COUNTED_FROM_SHAPE)
    return tuple(notes)


def _point(xyz: NDArray[Any]) -> PointMm:
    return float(xyz[0]), float(xyz[1]), float(xyz[2])
