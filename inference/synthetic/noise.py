"""Smooth random fields that are functions of position, so that any grid sees the same bone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Array = NDArray[Any]
_SIZE = 48
_TABLES = 24


@lru_cache(maxsize=64)
def _table(seed: int, dims: int) -> Array:
    return np.random.default_rng([seed, 7919]).standard_normal((_SIZE,) * dims).astype(np.float32)


def value_noise(seed: int, coordinates: tuple[Array, ...], cell_mm: float) -> Array:
    """Interpolated lattice noise, SD about 0.5, of coordinates in mm; repeats after 48 cells."""
    shape = np.broadcast_shapes(*(c.shape for c in coordinates))
    shift = np.float32(seed * 7.31 % _SIZE)
    at = np.stack([np.broadcast_to(c, shape) * np.float32(1 / cell_mm) + shift for c in coordinates])
    return map_coordinates(_table(seed % _TABLES, len(coordinates)), at, order=1, mode="grid-wrap", output=np.float32)


def fractal_noise(seed: int, coordinates: tuple[Array, ...], cell_mm: float, octaves: int, hurst: float = 0.7) -> Array:
    """Octaves of value noise whose amplitude falls with 2 ** -hurst each: a jagged surface for hurst 0.7."""
    out = np.zeros(np.broadcast_shapes(*(c.shape for c in coordinates)), dtype=np.float32)
    for octave in range(octaves):
        out += np.float32(2.0 ** (-hurst * octave)) * value_noise(seed + octave, coordinates, cell_mm / 2**octave)
    return out
