"""Streaks: what metal and broad shoulders do to a slice.

Metal is projected and the error of its projections (hardening of the beam, few photons) is filtered and projected
back, as the scanner itself would: dark bands between pieces of metal, bright and dark rays away from them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from inference.synthetic.ct_noise import stretched
from inference.synthetic.noise import value_noise

Array = NDArray[Any]
METAL_HU = 3200.0
_VIEWS = 180
_DETECTOR_MM = 0.8
_HARDENING = 0.15
_WITH_BONE = 0.12
_STARVED = 1.2
_MOST_POINTS = 4000


def has_metal(plane: Array, outside_mm: Array) -> bool:
    """Whether a slice [y, x] in HU has metal in it, or beside it (`outside_mm`, see `metal_streaks`)."""
    return bool(len(outside_mm)) or bool(plane.max() > METAL_HU)


def metal_streaks(plane: Array, sy: float, sx: float, outside_mm: Array, strength: float, white: Array) -> Array:
    """HU that metal adds to a slice, float32 [y, x].

    `plane` is the slice without noise, in HU and not clipped. `outside_mm` [n, 2] are (x, y) of metal beyond the
    picture, mm from its first pixel. `white` is unit noise of at least `noise_shape(plane.shape, sy, sx)`.
    """
    ny, nx = plane.shape
    middle = np.array([(nx - 1) * sx, (ny - 1) * sy], np.float32) / 2
    reach = float(np.hypot(*middle)) + 30.0
    metal, area = _points(plane, sy, sx, METAL_HU)
    thickness = np.clip((plane[metal] - METAL_HU) / 2500 + 0.3, 0, 1.2) * area
    points = np.stack([metal[1] * sx, metal[0] * sy], axis=1).astype(np.float32) - middle
    if len(outside_mm):
        beyond = outside_mm.astype(np.float32) - middle
        beyond = beyond[np.hypot(beyond[:, 0], beyond[:, 1]) < reach - 2]
        points = np.concatenate([points, beyond])
        thickness = np.concatenate([thickness, np.full(len(beyond), np.float32(18.0))])
    if not len(points):
        return np.zeros_like(plane)
    bone, bone_area = _points(plane, sy, sx, 500.0)
    of_bone = np.stack([bone[1] * sx, bone[0] * sy], axis=1).astype(np.float32) - middle
    through_metal = _sinogram(points, thickness, reach)
    through_bone = _sinogram(of_bone, np.full(len(of_bone), np.float32(bone_area)), reach)
    error = -_HARDENING * through_metal**2 - _HARDENING * _WITH_BONE * 2 * through_metal * through_bone
    grains = white.ravel()[: error.size].reshape(error.shape)
    error += _STARVED * np.sqrt(np.expm1(np.minimum(through_metal * 0.4, 2.8))) * grains
    step = max(1.0, max(nx * sx, ny * sy) / 190)
    picture = _back_projected(error, reach, middle, step)
    out = stretched(picture, ny, nx, sy / step, sx / step) * np.float32(1000 * strength)
    # Metal itself stays off the scale.
    return np.where(plane > METAL_HU, np.maximum(out, 0), out)


def noise_size(ny: int, nx: int, sy: float, sx: float) -> int:
    """How many noise values `metal_streaks` needs for a slice of this shape and pixel size."""
    reach = float(np.hypot((nx - 1) * sx / 2, (ny - 1) * sy / 2)) + 30.0
    return _VIEWS * _detectors(reach)


def _detectors(reach_mm: float) -> int:
    return int(2 * reach_mm / _DETECTOR_MM) + 2


def _points(plane: Array, sy: float, sx: float, above_hu: float) -> tuple[tuple[Array, Array], float]:
    """Rows and columns of dense pixels, thinned to a bearable number, and the area (mm2) that each stands for."""
    y, x = np.nonzero(plane > above_hu)
    every = max(1, len(y) // _MOST_POINTS)
    return (y[::every], x[::every]), sy * sx * every


@lru_cache(maxsize=2)
def _directions() -> tuple[Array, Array]:
    angle = (np.arange(_VIEWS) * (np.pi / _VIEWS)).astype(np.float32)
    return np.cos(angle), np.sin(angle)


def _sinogram(points: Array, weights: Array, reach: float) -> Array:
    """Path lengths in mm [view, detector] through points (x, y) that each stand for an area in mm2."""
    count = _detectors(reach)
    out = np.zeros((_VIEWS, count))
    if len(points):
        for view, (c, s) in enumerate(zip(*_directions(), strict=True)):
            at = (points[:, 0] * c + points[:, 1] * s + np.float32(reach)) * np.float32(1 / _DETECTOR_MM)
            low = at.astype(np.intp)
            share = (at - low) * weights
            out[view] = np.bincount(low, weights - share, count)[:count]
            out[view] += np.bincount(low + 1, share, count)[:count]
    return (out / _DETECTOR_MM).astype(np.float32)


def _back_projected(error: Array, reach: float, middle: Array, step: float) -> Array:
    """Filtered back-projection of an error sinogram on a grid of `step` mm from the picture's first pixel."""
    count = error.shape[1]
    padded = scipy.fft.next_fast_len(2 * count, real=True)
    f = np.fft.rfftfreq(padded, _DETECTOR_MM)
    ramp = (f * (0.5 + 0.5 * np.cos(np.pi * f / f[-1]))).astype(np.float32)
    filtered = scipy.fft.irfft(scipy.fft.rfft(error, padded, axis=1) * ramp, padded, axis=1)[:, :count]
    nx, ny = (int(2 * m / step) + 2 for m in middle)
    x = np.arange(nx, dtype=np.float32) * np.float32(step) - middle[0]
    y = np.arange(ny, dtype=np.float32)[:, None] * np.float32(step) - middle[1]
    out = np.zeros((ny, nx), np.float32)
    for row, c, s in zip(filtered, *_directions(), strict=True):
        at = (x * c + (y * s + np.float32(reach))) * np.float32(1 / _DETECTOR_MM)
        low = np.minimum(at.astype(np.intp), count - 2)
        here = row[low]
        out += here + (row[low + 1] - here) * (at - low)
    return out * np.float32(np.pi / _VIEWS)


def shoulder_bands(seed: int, z_mm: float, y_mm: Array, depth_hu: float) -> Array:
    """Broad dark and bright bands from shoulder to shoulder: HU at each `y_mm`; the same on every grid."""
    y = y_mm.astype(np.float32)
    band = value_noise(seed + 77, (y, np.full_like(y, z_mm / 3)), 5.0)
    fine = value_noise(seed + 78, (y, np.full_like(y, z_mm)), 2.2)
    return np.float32(depth_hu) * (band - np.float32(0.35) + np.float32(0.6) * fine)
