"""Set a leaning neck upright for the network's eyes.

The network counts best on necks that stand as most patients lie. Where the first answer shows a column that leans far
to a side, forwards or backwards, the scan is turned upright and looked at again; the answer is turned back. Either look
may lose what the other has, a thin arch above all: where they agree on the names, their mean is better than either.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.postprocess import Column, body_centre
from inference.preprocess import AIR_HU, sample_array

Array = NDArray[np.float64]

# From C7 to C2, LPS: the mean of the generator's people (pitch SD 10 degrees, roll SD 3).
_USUAL_PITCH_DEG: Final = -15.7
_LEAN_DEG: Final = 13.0
_FEWEST_LEVELS: Final = 3
_MOST_ZYX: Final = (192, 160, 160)
# Half a vertebra and its disc: names that are one level off lie further apart.
_SAME_LEVEL_MM: Final = 8.0


def turn_upright(column: Column) -> Array | None:
    """The 3 x 3 rotation (z, y, x) that sets the column as most are, or None where it stands well enough."""
    levels = [k for k in column.levels if k > 1]
    if len(levels) < _FEWEST_LEVELS:
        return None
    centres = np.array([body_centre(column, k) for k in levels])
    way = np.linalg.svd(centres - centres.mean(axis=0))[2][0][::-1]
    way = way * np.sign(way[0])
    pitch = np.radians(_USUAL_PITCH_DEG)
    usual = np.array([np.cos(pitch), np.sin(pitch), 0.0])
    if way @ usual > np.cos(np.radians(_LEAN_DEG)):
        return None
    return _rotation_between(way, usual)


def named_alike(a: Column, b: Column) -> bool:
    """True where most levels that both columns have lie in the same places."""
    common = set(a.levels) & set(b.levels)
    apart = [np.linalg.norm(np.subtract(body_centre(a, k), body_centre(b, k))) for k in common]
    return bool(apart) and float(np.median(apart)) < _SAME_LEVEL_MM


def turned(hu: torch.Tensor, rotation: Array) -> tuple[torch.Tensor, tuple[Array, Array]]:
    """HU [z, y, x] on an isotropic grid after a rotation about its middle, and what `turned_back` needs."""
    size = np.array(hu.shape, dtype=float)
    reach = np.abs(rotation) @ size
    shape = np.minimum(np.ceil(reach), _MOST_ZYX).astype(int)
    back = rotation.T
    offset = (size - 1) / 2 - back @ ((shape - 1) / 2)
    out = sample_array(hu, back.copy(), offset, (int(shape[0]), int(shape[1]), int(shape[2])), outside=AIR_HU)
    return out, (back, offset)


def turned_back(probabilities: torch.Tensor, placed: tuple[Array, Array], shape: tuple[int, int, int]) -> torch.Tensor:
    """Probabilities [classes, z, y, x] of a turned grid on the one it came from; background where it did not reach."""
    back, offset = placed
    forth = back.T
    out = sample_array(probabilities, forth.copy(), -forth @ offset, shape, outside=0.0)
    out[0] += (1.0 - out.sum(dim=0)).clamp(min=0.0)
    return out


def _rotation_between(a: Array, b: Array) -> Array:
    """The smallest rotation that takes unit vector `a` to `b`."""
    axis = np.cross(a, b)
    cross: Any = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation: Array = np.eye(3) + cross + cross @ cross / (1.0 + float(a @ b))
    return rotation
