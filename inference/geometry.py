"""Where the slices of a stack lie, from their positions and orientations alone. Pure numpy, LPS millimetres.

Image Orientation (Patient) gives the direction of a row (towards higher columns) and of a column (towards
higher rows); their cross product is the slice normal (PS3.3 C.7.6.2.1.1). Instance Numbers say nothing about
space. A slice's place in the stack is its position projected on the normal.

The stack's direction is the normal or its opposite, whichever has a positive component along the patient axis it
is nearest to: an axial stack runs towards superior (+z), a sagittal one towards the left (+x), a coronal one
towards posterior (+y). So the third column of the affine need not complete a right-handed system.

With gantry tilt the positions move within the slice plane as the table advances. That shift is linear in the
distance along the normal, so it belongs to the affine's third column and the voxels stay as they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Positions closer than this part of the spacing are one position (a duplicate), not two slices.
DUPLICATE_TOLERANCE = 0.1
# A slice may stand off its place in the regular grid by this part of the spacing, within these limits in mm.
# Positions are often rounded to 0.1 mm: then a slice and the ends of the grid are off by 0.05 mm each.
GRID_TOLERANCE = 0.2
GRID_TOLERANCE_MM = (0.101, 0.2)
# A neighbour farther than this multiple of the spacing is behind a gap.
GAP_FACTOR = 1.5
# Beyond this angle between the normal and the nearest patient axis a stack is oblique. Gantries tilt to 30 degrees.
OBLIQUE_DEG = 35.0
_SAME_PLACE_MM = 1e-3


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Two neighbouring positions (indices into `StackGeometry.offsets_mm`) and the distance between them."""

    before: int
    mm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class StackGeometry:
    """A stack of parallel slices, sorted along its direction.

    `groups` holds, for every distinct position in ascending order, the indices of the inputs that lie there (more
    than one: duplicates). `offsets_mm` are those positions along `direction`, from the patient origin.
    `spacing_mm` is the typical distance between neighbouring positions, None where there is only one.
    `tilt_deg` is the angle between the stack's direction and the line on which the positions lie;
    `off_line_mm` how far the worst position stands off that line. `angle_deg` is between the normal and the
    patient's z axis, 0 to 90. `orientation_spread_deg` is the largest angle between any slice's rows or columns
    and the first one's: above a degree or so the slices are not parallel and the rest means little.
    """

    direction: NDArray[np.float64]
    orientation: str
    angle_deg: float
    orientation_spread_deg: float
    groups: tuple[tuple[int, ...], ...]
    offsets_mm: NDArray[np.float64]
    spacing_mm: float | None
    gaps: tuple[Gap, ...]
    is_uneven: bool
    tilt_deg: float
    off_line_mm: float

    @property
    def coverage_mm(self) -> float:
        """Distance along the normal between the centres of the first and the last slice."""
        return float(self.offsets_mm[-1] - self.offsets_mm[0])

    @property
    def duplicate_count(self) -> int:
        """How many inputs share their position with another one, beyond the first of each."""
        return sum(len(group) - 1 for group in self.groups)

    @property
    def largest_gap_mm(self) -> float | None:
        """The largest distance between neighbouring positions; None for a single position."""
        return float(np.diff(self.offsets_mm).max()) if len(self.offsets_mm) > 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class GridPlan:
    """How to fill a regular grid from slices at given offsets.

    Plane k is `(1 - weight[k]) * source[lower[k]] + weight[k] * source[lower[k] + 1]`; a weight of exactly 0 is a
    source slice as it is. `nearest[k]` is the source slice closest to plane k.
    """

    lower: NDArray[np.intp]
    weight: NDArray[np.float64]
    nearest: NDArray[np.intp]

    @property
    def is_identity(self) -> bool:
        """Every source slice is one plane, and every plane one source slice."""
        return not self.weight.any() and np.array_equal(self.lower, np.arange(len(self.lower)))


def analyse_stack(positions: ArrayLike, orientations: ArrayLike) -> StackGeometry:
    """The facts of a stack from Image Position [n, 3] and Image Orientation [n, 6] (or one [6] for all).

    Raises ValueError for no slices or for an orientation whose two directions do not span a plane.
    """
    places = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    if not len(places):
        raise ValueError("a stack needs at least one position")
    cosines = np.broadcast_to(np.asarray(orientations, dtype=np.float64), (len(places), 6))
    direction = stack_direction(cosines[0])
    projected = places @ direction
    groups = _group_by_place(projected)
    offsets = np.array([projected[list(group)].mean() for group in groups])
    spacing = _typical_spacing(offsets)
    along, off_line = _line_through(places[[group[0] for group in groups]], direction)
    return StackGeometry(
        direction=direction,
        orientation=orientation_name(direction),
        angle_deg=_angle_deg(np.abs(direction[2])),
        orientation_spread_deg=_spread_deg(cosines),
        groups=groups,
        offsets_mm=offsets,
        spacing_mm=spacing,
        gaps=_gaps(offsets, spacing),
        is_uneven=spacing is not None and not plan_grid(offsets, spacing).is_identity,
        tilt_deg=_angle_deg(float(along @ direction)),
        off_line_mm=off_line,
    )


def slice_normal(orientation: ArrayLike) -> NDArray[np.float64]:
    """Unit normal of a slice: row direction cross column direction.

    Raises ValueError where the two are parallel or zero.
    """
    cosines = np.asarray(orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    if not length > 0.1:
        raise ValueError(f"Image Orientation {cosines.tolist()} spans no plane")
    return normal / length


def stack_direction(orientation: ArrayLike) -> NDArray[np.float64]:
    """The slice normal, turned towards the positive side of the patient axis it is nearest to."""
    normal = slice_normal(orientation)
    return normal if normal[np.argmax(np.abs(normal))] > 0 else -normal


def orientation_name(normal: NDArray[np.float64]) -> str:
    """axial, sagittal, coronal, or oblique where the normal is over OBLIQUE_DEG off every patient axis."""
    nearest = int(np.argmax(np.abs(normal)))
    if _angle_deg(float(np.abs(normal[nearest]))) > OBLIQUE_DEG:
        return "oblique"
    return ("sagittal", "coronal", "axial")[nearest]


def plan_grid(offsets_mm: NDArray[np.float64], spacing_mm: float) -> GridPlan:
    """A regular grid from the first to the last offset with a spacing as near as possible to the given one.

    A plane within tolerance of a source slice is that slice; between slices it is interpolated. Offsets ascend.
    """
    span = float(offsets_mm[-1] - offsets_mm[0])
    planes = round(span / spacing_mm) + 1
    step = span / (planes - 1)
    tolerance = grid_tolerance_mm(step)
    wanted = offsets_mm[0] + step * np.arange(planes)
    lower = np.clip(np.searchsorted(offsets_mm, wanted, side="right") - 1, 0, len(offsets_mm) - 2)
    below, above = offsets_mm[lower], offsets_mm[lower + 1]
    weight = (wanted - below) / (above - below)
    nearest = np.where(weight > 0.5, lower + 1, lower)
    snapped = np.abs(wanted - offsets_mm[nearest]) <= tolerance
    return GridPlan(
        lower=np.where(snapped, nearest, lower),
        weight=np.where(snapped, 0.0, weight),
        nearest=nearest,
    )


def grid_tolerance_mm(step_mm: float) -> float:
    """How far a slice may stand from a plane of the grid and still be that plane."""
    return float(np.clip(GRID_TOLERANCE * step_mm, *GRID_TOLERANCE_MM))


def affine_lps(
    *,
    orientation: Sequence[float],
    pixel_spacing_mm: Sequence[float],
    first_position: ArrayLike,
    last_position: ArrayLike,
    planes: int,
) -> NDArray[np.float64]:
    """The 4 x 4 map from voxel centre index (column, row, slice, 1) to LPS mm (PS3.3 C.7.6.2.1.1).

    Pixel Spacing is (between rows, between columns): its second value scales the column index.
    """
    first, last = np.asarray(first_position, float), np.asarray(last_position, float)
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(orientation[:3], float) * pixel_spacing_mm[1]
    affine[:3, 1] = np.asarray(orientation[3:], float) * pixel_spacing_mm[0]
    affine[:3, 2] = (last - first) / (planes - 1)
    affine[:3, 3] = first
    return affine


def _group_by_place(projected: NDArray[np.float64]) -> tuple[tuple[int, ...], ...]:
    """Input indices by distinct place, ascending; a stable sort, so that ties keep their given order."""
    order = np.argsort(projected, kind="stable")
    steps = np.diff(projected[order])
    apart = steps[steps > _SAME_PLACE_MM]
    limit = max(_SAME_PLACE_MM, DUPLICATE_TOLERANCE * float(np.median(apart))) if len(apart) else _SAME_PLACE_MM
    starts = np.flatnonzero(steps > limit) + 1
    return tuple(tuple(int(index) for index in group) for group in np.split(order, starts))


def _typical_spacing(offsets: NDArray[np.float64]) -> float | None:
    """The mean of the distances within half of their median.

    The median itself would be wrong by the rounding of the positions (0.625 mm written to one decimal has a median
    of 0.6), which over forty slices is a whole slice.
    """
    steps = np.diff(offsets)
    if not len(steps):
        return None
    median = float(np.median(steps))
    return float(steps[np.abs(steps - median) <= median / 2].mean())


def _gaps(offsets: NDArray[np.float64], spacing: float | None) -> tuple[Gap, ...]:
    if spacing is None:
        return ()
    steps = np.diff(offsets)
    return tuple(
        Gap(before=int(index), mm=float(steps[index])) for index in np.flatnonzero(steps > GAP_FACTOR * spacing)
    )


def _line_through(places: NDArray[np.float64], direction: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Unit vector from the first to the last place, and the largest distance of a place from that line,
    measured within the slice plane."""
    span = places[-1] - places[0]
    height = float(span @ direction)
    if height <= _SAME_PLACE_MM:
        return direction, 0.0
    part = ((places - places[0]) @ direction) / height
    off = np.linalg.norm(places - places[0] - part[:, None] * span, axis=1)
    return span / np.linalg.norm(span), float(off.max())


def _spread_deg(cosines: NDArray[np.float64]) -> float:
    lengths = np.linalg.norm(cosines.reshape(-1, 2, 3), axis=2, keepdims=True)
    unit = cosines.reshape(-1, 2, 3) / np.maximum(lengths, 1e-9)
    agreement = np.einsum("nij,ij->ni", unit, unit[0])
    # The arc cosine of a number near 1 loses half its digits; angles this small come out as chord lengths.
    chord = np.sqrt(np.maximum(2.0 - 2.0 * agreement, 0.0)).max()
    return float(np.degrees(2 * np.arcsin(min(chord / 2, 1.0))))


def _angle_deg(cosine: float) -> float:
    return float(np.degrees(np.arccos(min(max(cosine, -1.0), 1.0))))
