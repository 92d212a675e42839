"""From class probabilities to a consistent column of vertebrae.

The network labels voxels; anatomy says the rest: one connected piece per level, C1 above C2 above ... C7,
centres a plausible distance apart. `find_column` picks, by dynamic programming over the connected pieces,
the chain with the most evidence that obeys this.

Margins. A level is `assessed` when it lies at least one slice and 3.75 mm inside the scan, does not touch
the edge of the matrix nor padding (blank slices, the reconstruction circle), and has at least 45 % of the
expected volume; `partly_in_field_of_view` when it breaks one of these but has at least 10 % of the volume;
else `not_assessed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.preprocess import PatientGrid
from inference.volume import Volume

LEVELS: Final = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
ASSESSED: Final = "assessed"
PARTLY: Final = "partly_in_field_of_view"
NOT_ASSESSED: Final = "not_assessed"

# Bone volume of each level in cm3: reference/models.md 5.1 (UMTRI means); people vary by about a third.
_EXPECTED_CM3: Final = (9.7, 12.5, 8.2, 8.7, 9.0, 9.5, 11.3)
_LEAST_PIECE_CM3: Final = 0.3
_MOST_PIECES: Final = 5
_LEAST_SHARE_PARTLY: Final = 0.10
_LEAST_SHARE_ASSESSED: Final = 0.45
_GAP_MM: Final = (7.0, 32.0)
_ENOUGH_CM3: Final = 6.0
_ENOUGH_WITHOUT_TOP: Final = 5
_ROOM_FOR_ONE_MM: Final = 25.0
# Short false columns in abdomens had 0.72 to 0.73, scans of three cervical vertebrae 0.72 to 0.84, whole necks 0.82 on.
_SURE: Final = 0.75
_SOLID: Final = 0.6
_ENOUGH_UNSURE: Final = 4
_MISSING_PENALTY: Final = 1.0
_ATTACH_MM: Final = 6.0
_ROOM_VOXELS: Final = 3
# One and a half of the localiser's voxels: on phantoms cut at random heights 1.25 mm let 6 of 46 cut levels pass as
# whole, 2.5 mm 5, and 3.75 mm none (2 more of 150 whole ones then count as partly seen).
_EDGE_MM: Final = 3.75
# Darker than any tissue but lung; over a fingernail's area.
_NOTHING_HU: Final = -900
_NOTHING_MM2: Final = 60.0
_NEAR_MM: Final = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """The cervical column: `labels` uint8 [z, y, x] 1-7 on `grid`, one connected piece per level.

    `evidence` is the mean probability (0-1) of each level found. `named_by` tells which class of the localiser became
    which level where that differs, and is empty where every level kept its name.
    """

    grid: PatientGrid
    labels: NDArray[np.uint8]
    evidence: dict[int, float]
    notes: tuple[str, ...] = ()
    named_by: dict[int, int] = field(default_factory=dict)

    @property
    def levels(self) -> list[int]:
        """The levels that occur, the highest first."""
        return [level for level, box in enumerate(self._boxes, start=1) if box is not None]

    def voxels(self, level: int) -> NDArray[np.int64]:
        """Indices [n, 3] (z, y, x) of the level's voxels, in the order of the array."""
        mask, start = self.cropped(level)
        return np.argwhere(mask) + start

    def cropped(self, level: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """The level in the smallest box that holds it, and where on the grid (z, y, x) that begins; maybe empty."""
        box = self._boxes[level - 1]
        if box is None:
            return np.zeros((0, 0, 0), dtype=bool), np.zeros(3, dtype=np.int64)
        return self.labels[box] == level, np.array([side.start for side in box], dtype=np.int64)

    @cached_property
    def _boxes(self) -> list[tuple[slice, slice, slice] | None]:
        # Seven levels are asked for many times, and each time the whole neck would be looked through.
        return ndimage.find_objects(self.labels, max_label=len(LEVELS))  # type: ignore[no-any-return]

    @cached_property
    def _thickest(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    voxels: tuple[NDArray[np.intp], ...]
    centroid_mm: NDArray[np.float64]
    volume_cm3: float
    label: int
    mean_probability: NDArray[np.float64]

    @property
    def cervical(self) -> float:
        """The mean probability of any cervical level: names may waver where there is no doubt of the kind."""
        return float(self.mean_probability[1:8].sum())


def find_column(probabilities: NDArray[np.float32], grid: PatientGrid) -> Column | None:
    """The most plausible chain of vertebrae, or None where there is no cervical spine.

    `probabilities` is [classes, z, y, x]: background, C1 ... C7, then others. The column lies on the part of `grid`
    that holds it. A chain needs two levels with more than a fragment each; a lone blob with a cervical label is a
    false find in a chest or an abdomen. So is a short chain from C3 or lower down whose upper neighbours would lie in
    the scan and are not there, and a column of a few pieces that are unsure of themselves.
    """
    whole = grid
    winner = probabilities.argmax(axis=0).astype(np.uint8)
    winner[winner > 7] = 0
    region = _region(winner)
    if region is None:
        return None
    winner, probabilities, grid = winner[region], probabilities[(slice(None), *region)], grid.part(region)
    pieces = _pieces(winner, probabilities, grid)
    chain = _best_chain(pieces)
    solid = [p for _, p in chain if p.volume_cm3 >= 1.5 and p.cervical >= _SOLID]
    plausible = chain and _starts_plausibly(*chain[0], grid, whole) and _sure(chain)
    needed = 2 if plausible else _ENOUGH_WITHOUT_TOP
    if len(solid) < needed:
        return None
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    for level, piece in chain:
        labels[piece.voxels] = level
    _attach_rest(labels, winner, grid)
    labels = keep_largest(labels)
    renamed = [f"C{p.label} relabelled C{level}" for level, p in chain if p.label != level]
    notes = (f"Vertebra order was corrected: {', '.join(renamed)}.",) if renamed else ()
    evidence = {level: float(p.mean_probability[p.label]) for level, p in chain}
    named_by = {level: p.label for level, p in chain if p.label != level}
    return Column(grid=grid, labels=labels, evidence=evidence, notes=notes, named_by=named_by)


def keep_largest(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels with all but the largest connected piece (corners count as contact) of each level taken out."""
    kept = np.zeros_like(labels)
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = labels[box] == index
        parts, count = ndimage.label(own, structure=np.ones((3, 3, 3)))
        if count > 1:
            own = parts == np.bincount(parts[parts > 0]).argmax()
        kept[box][own] = index
    return kept


def level_status(column: Column, volume: Volume, level: int) -> str:
    """Which of the three statuses level 1-7 has; the rule stands at the top of this module."""
    voxels = column.voxels(level)
    share = share_of_expected(column, level)
    if share < _LEAST_SHARE_PARTLY:
        return NOT_ASSESSED
    index = volume.to_index_zyx(column.grid.to_lps_mm(voxels))
    spacing = np.array(volume.spacing_mm_zyx)
    margin = np.maximum(1.0, _EDGE_MM / spacing)
    last = np.array(volume.hu.shape) - 1
    # The extreme half percent of voxels may be stray; a vertebra cut by the border has many there.
    low, high = np.percentile(index, [0.5, 99.5], axis=0)
    cut = np.any(low < margin) or np.any(high > last - margin) or _meets_nothing(column, volume, level)
    return PARTLY if cut or share < _LEAST_SHARE_ASSESSED else ASSESSED


def share_of_expected(column: Column, level: int) -> float:
    """The level's bone as a share of what a mean person's has."""
    return int(column.cropped(level)[0].sum()) * _voxel_cm3(column.grid) / _EXPECTED_CM3[level - 1]


def _meets_nothing(column: Column, volume: Volume, level: int) -> bool:
    """True where the level ends at voxels as dark as air: blank slices, the circle's padding, a tilted scan's corner.

    No bone borders on air above, below, beside or behind it; in front only a thin wall parts it from the pharynx, so
    that side does not count.
    """
    voxel_mm = float(column.grid.spacing_mm_zyx[0])
    reach = max(1, round(_NEAR_MM / voxel_mm))
    mask, start = column.cropped(level)
    own = np.pad(mask, reach)
    near = np.zeros_like(own)
    for axis, ways in ((0, (-1, 1)), (1, (1,)), (2, (-1, 1))):
        for way in ways:
            for step in range(1, reach + 1):
                near |= np.roll(own, way * step, axis=axis)
    points = np.argwhere(near & ~own) + start - reach
    index = np.round(volume.to_index_zyx(column.grid.to_lps_mm(points))).astype(int)
    inside = np.all((index >= 0) & (index < volume.hu.shape), axis=1)
    index = index[inside]
    dark = int((volume.hu[index[:, 0], index[:, 1], index[:, 2]] < _NOTHING_HU).sum()) + int((~inside).sum())
    return dark * voxel_mm**2 / reach > _NOTHING_MM2


def body_centre(column: Column, level: int) -> tuple[float, float, float]:
    """The middle of the level's thickest part near the midline, in front, LPS mm; finer than a voxel.

    For C3-C7 that is the vertebral body, for C1 the anterior arch or lateral mass. The body of C2 is the lower
    half of it: the dens and its tip (33 mm from tip to lower endplate, reference/models.md 5.1) do not count.
    """
    _, target = _thickest(column, level)
    x, y, z = column.grid.to_lps_mm(target)
    return float(x), float(y), float(z)


def representative_point(column: Column, level: int) -> tuple[float, float, float]:
    """The level's voxel nearest to `body_centre`, LPS mm: a point inside the bone."""
    zyx, target = _thickest(column, level)
    nearest = zyx[np.argmin(((zyx - target) ** 2).sum(axis=1))]
    x, y, z = column.grid.to_lps_mm(nearest)
    return float(x), float(y), float(z)


def _thickest(column: Column, level: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The level's voxels [n, 3] and the weighted middle of its body, both as indices (z, y, x) of the grid."""
    known = column._thickest
    if level not in known:
        known[level] = _body(column, level)
    return known[level]


def _body(column: Column, level: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    mask, start = column.cropped(level)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    zyx = np.argwhere(mask)
    middle = zyx.mean(axis=0)
    spacing = column.grid.spacing_mm_zyx[0]
    sideways_mm = np.abs(zyx[:, 2] - middle[2]) * spacing
    front = zyx[:, 1] <= middle[1]
    if level == 2:
        front &= zyx[:, 0] <= (mask.shape[0] - 1) / 2
    weight = depth[mask] ** 3 * np.exp(-0.5 * (sideways_mm / 7.0) ** 2) * np.where(front, 1.0, 0.1)
    return zyx + start, (zyx * weight[:, None]).sum(axis=0) / weight.sum() + start


def _region(winner: NDArray[np.uint8]) -> tuple[slice, slice, slice] | None:
    """Where any level is, with some room; None where there is none."""
    sides = [np.flatnonzero(winner.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not len(sides[0]):
        return None
    z, y, x = (
        slice(max(0, int(s[0]) - _ROOM_VOXELS), min(n, int(s[-1]) + 1 + _ROOM_VOXELS))
        for s, n in zip(sides, winner.shape, strict=True)
    )
    return z, y, x


def _pieces(winner: NDArray[np.uint8], probabilities: NDArray[np.float32], grid: PatientGrid) -> list[_Piece]:
    pieces: list[_Piece] = []
    for label in range(1, 8):
        parts, count = ndimage.label(winner == label)
        kept = len(pieces)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            if sizes[number] * _voxel_cm3(grid) < _LEAST_PIECE_CM3:
                continue
            local = np.nonzero(parts[box] == number)
            voxels = tuple(axis + s.start for axis, s in zip(local, box, strict=True))
            pieces.append(
                _Piece(
                    voxels=voxels,
                    centroid_mm=grid.to_lps_mm(np.stack(voxels, axis=-1)).mean(axis=0),
                    volume_cm3=float(sizes[number] * _voxel_cm3(grid)),
                    label=label,
                    mean_probability=probabilities[(slice(None), *voxels)].mean(axis=1, dtype=np.float64),
                )
            )
        pieces[kept:] = sorted(pieces[kept:], key=lambda p: -p.volume_cm3)[:_MOST_PIECES]
    return pieces


def _best_chain(pieces: list[_Piece]) -> list[tuple[int, _Piece]]:
    """The chain [(level, piece)], C1 first, with the highest score: a longest path over (level, piece).

    A piece may take its own label or, at a price, a neighbouring one: a column labelled C3 C4 C4 C6 comes
    out as C3 C4 C5 C6.
    """
    states = [
        (level, piece, _score(piece, level))
        for level in range(1, 8)
        for piece in pieces
        if abs(piece.label - level) <= 1
    ]
    best = [score for _, _, score in states]
    before: list[int | None] = [None] * len(states)
    for i, (level, piece, score) in enumerate(states):
        for j, (above_level, above, _) in enumerate(states[:i]):
            step = level - above_level
            if step < 1 or not _plausible(above, piece, step):
                continue
            candidate = best[j] + score - _MISSING_PENALTY * (step - 1)
            if candidate > best[i]:
                best[i], before[i] = candidate, j
    chain: list[tuple[int, _Piece]] = []
    at: int | None = int(np.argmax(best)) if states else None
    while at is not None:
        chain.append(states[at][:2])
        at = before[at]
    return chain[::-1]


def _starts_plausibly(level: int, piece: _Piece, grid: PatientGrid, whole: PatientGrid) -> bool:
    """True where the column starts with C1 or C2, or the scan ends before the next vertebra up could be seen."""
    top_mm = float(grid.to_lps_mm(np.array([piece.voxels[0].max(), 0, 0]))[2])
    end_mm = float(whole.to_lps_mm(np.array([whole.shape_zyx[0] - 1, 0, 0]))[2])
    return level <= 2 or end_mm - top_mm < _ROOM_FOR_ONE_MM


def _sure(chain: list[tuple[int, _Piece]]) -> bool:
    """False for a few pieces that are unsure of themselves, as a sacrum taken for a neck is."""
    return len(chain) >= _ENOUGH_UNSURE or float(np.mean([p.cervical for _, p in chain])) >= _SURE


def _score(piece: _Piece, level: int) -> float:
    solid = min(piece.volume_cm3, _ENOUGH_CM3)
    if piece.label == level:
        return float(solid * piece.mean_probability[level])
    return float(solid * (0.15 + 0.5 * piece.mean_probability[level]) - 0.3)


def _plausible(above: _Piece, below: _Piece, step: int) -> bool:
    if above is below:
        return False
    way = above.centroid_mm - below.centroid_mm
    distance = float(np.linalg.norm(way))
    return _GAP_MM[0] * step <= distance <= _GAP_MM[1] * step and way[2] > 0.35 * distance


def _attach_rest(labels: NDArray[np.uint8], winner: NDArray[np.uint8], grid: PatientGrid) -> None:
    """Give cervical voxels outside the chain to the nearest vertebra of it, where that is close."""
    rest = (winner > 0) & (labels == 0)
    if not rest.any():
        return
    distance, nearest = ndimage.distance_transform_edt(labels == 0, sampling=grid.spacing_mm_zyx, return_indices=True)
    rest &= distance <= _ATTACH_MM
    labels[rest] = labels[tuple(axis[rest] for axis in nearest)]


def _voxel_cm3(grid: PatientGrid) -> float:
    return float(np.prod(grid.spacing_mm_zyx)) / 1000.0
