"""Does a column's naming hold together? Said in notes, never mended: renumbering another's answer hides its error.

For a localiser of another make. Ours is held to the same anatomy while it decides (`inference.postprocess`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.postprocess import LEVELS, Column, body_centre

# Between the middles of neighbours, posterior elements included: reference/models.md 5.1 with room for small and large.
NEIGHBOURS_MM: Final = (7.0, 32.0)
_LEAST_DOWNWARD: Final = 0.35
# On eight phantoms the dens ends 20-26 mm above the middle of the body of C2; the other vertebrae reach 9-15 mm.
_DENS_MM: Final = 17.0
_DENS_REACH_MM: Final = 15.0
_ROOM_FOR_ONE_MM: Final = 25.0
_CUT_MM: Final = 3.0


def order_notes(column: Column, top_mm: float) -> tuple[str, ...]:
    """What is odd about the order, the count and its start; empty where all is as anatomy says.

    `top_mm` is the LPS z of the scan's uppermost slice.
    """
    found = [k for k in range(1, 8) if bool((column.labels == k).any())]
    if not found:
        return ()
    return (*_gaps(found), *_disorder(column, found), *_start(column, found, top_mm))


def _gaps(found: list[int]) -> list[str]:
    missing = [LEVELS[k - 1] for k in range(found[0], found[-1]) if k not in found]
    if not missing:
        return []
    span = f"{LEVELS[found[0] - 1]} and {LEVELS[found[-1] - 1]}"
    return [f"Levels missing between {span}: {', '.join(missing)}; the count may be off."]


def _disorder(column: Column, found: list[int]) -> list[str]:
    middles = {k: column.grid.to_lps_mm(np.argwhere(column.labels == k)).mean(axis=0) for k in found}
    odd = [
        f"{LEVELS[lower - 1]} below {LEVELS[upper - 1]}"
        for upper, lower in pairwise(found)
        if not _is_below(middles[upper], middles[lower], lower - upper)
    ]
    return [f"Vertebrae do not follow each other as their names say: {', '.join(odd)}."] if odd else []


def _is_below(upper: NDArray[np.float64], lower: NDArray[np.float64], step: int) -> bool:
    way = upper - lower
    distance = float(np.linalg.norm(way))
    nearest, farthest = (mm * step for mm in NEIGHBOURS_MM)
    return nearest <= distance <= farthest and float(way[2]) > _LEAST_DOWNWARD * distance


def _start(column: Column, found: list[int], top_mm: float) -> list[str]:
    """The count hangs on C2, the only vertebra with a dens."""
    highest = float(column.grid.to_lps_mm(np.argwhere(column.labels == found[0])[-1])[2])
    if found[0] > 2:
        if top_mm - highest > _ROOM_FOR_ONE_MM:
            return [f"The count starts at {LEVELS[found[0] - 1]} although the scan goes on above it."]
        return ["C2 is not in the scan: nothing but the localiser's word says which level is which."]
    if 2 not in found:
        return []
    voxels = column.grid.to_lps_mm(np.argwhere(column.labels == 2))
    if top_mm - float(voxels[:, 2].max()) < _CUT_MM:
        return []
    if dens_mm(column) < _DENS_MM:
        return ["The vertebra named C2 has no dens: the count may be off by one."]
    return []


def dens_mm(column: Column) -> float:
    """How far the vertebra named C2 rises above the middle of its body, within a dens' reach of it; mm."""
    middle = np.array(body_centre(column, 2))
    apart = column.grid.to_lps_mm(np.argwhere(column.labels == 2)) - middle
    near = np.hypot(apart[:, 0], apart[:, 1]) <= _DENS_REACH_MM
    return float(apart[near, 2].max()) if near.any() else 0.0
