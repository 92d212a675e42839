"""Which part of a scan a prepared study keeps: a box of bounded size around the cervical spine."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.dataset.placing import grid_around, volume_bounds_lps_mm
from inference.preprocess import PatientGrid, grid_covering, sample_volume
from inference.volume import Volume

Point = NDArray[np.float64]

# A crop's margin beyond the vertebrae, x, y, z: room for augmentation, prevertebral tissue and the neighbours.
MARGIN_MM_XYZ: Final = (12.0, 12.0, 12.0)
# Where nobody knows the levels: a tall man's cervical spine with the heads of the first ribs, x, y, z.
UNKNOWN_MM_XYZ: Final = (130.0, 140.0, 230.0)
_COARSE_MM: Final = 4.0
_BODY_HU: Final = -300.0
_BONE_HU: Final = 250.0
# A bone of this area (mm2) in a slice: less is noise or a tooth.
_LEAST_BONE_MM2: Final = 150.0


def around_levels(
    bounds: tuple[Point, Point], volume: Volume, spacing_mm_zyx: tuple[float, float, float]
) -> PatientGrid:
    """The grid around the vertebrae's LPS bounds with `MARGIN_MM_XYZ`, as far as the volume reaches."""
    low, high = volume_bounds_lps_mm(volume)
    margin = np.array(MARGIN_MM_XYZ)
    return grid_around(np.maximum(bounds[0] - margin, low), np.minimum(bounds[1] + margin, high), spacing_mm_zyx)


def around_bone(volume: Volume, spacing_mm_zyx: tuple[float, float, float]) -> PatientGrid:
    """The grid of at most `UNKNOWN_MM_XYZ` around what is most likely the neck, where nobody has drawn levels.

    Along z the window in which the body is narrowest (among those with bone in every slice), across it the median of
    the slices' bone. Raises ValueError for a volume without bone.
    """
    grid = grid_covering(volume, _COARSE_MM)
    hu = sample_volume(volume, grid).numpy()
    bone = hu > _BONE_HU
    area = bone.sum(axis=(1, 2)) * _COARSE_MM**2
    first, last = _narrowest(hu > _BODY_HU, area >= _LEAST_BONE_MM2)
    middles = np.array([np.median(np.argwhere(bone[z]), axis=0) for z in range(first, last + 1) if bone[z].any()])
    y, x = np.median(middles, axis=0)
    centre = grid.to_lps_mm(np.array([(first + last) / 2, y, x]))
    low, high = volume_bounds_lps_mm(volume)
    half = np.array(UNKNOWN_MM_XYZ) / 2
    return grid_around(np.maximum(centre - half, low), np.minimum(centre + half, high), spacing_mm_zyx)


def _narrowest(body: NDArray[np.bool_], has_bone: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last slice of the window of `UNKNOWN_MM_XYZ`'s height with the smallest mean cross-section."""
    if not has_bone.any():
        raise ValueError("no bone in the volume")
    size = min(len(body), round(UNKNOWN_MM_XYZ[2] / _COARSE_MM))
    section = body.sum(axis=(1, 2)).astype(float)
    # Air above the head is narrower than any neck.
    section[~has_bone] = section.max(initial=0.0) + 1.0
    first = int(np.convolve(section, np.ones(size), mode="valid").argmin())
    return first, first + size - 1
