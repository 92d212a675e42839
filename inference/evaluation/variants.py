"""The same scan as another scanner, another table height or another crop would show it.

Every function takes a volume and gives a `Variant`: the changed volume and where its points went. Nothing here is
random but the noise, and that has a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.preprocess import sample_array
from inference.volume import Volume

Axis = Literal["x", "y", "z"]

_AIR_HU: Final = -1024
_SOFT_TISSUE_HU: Final = 100.0
_BONE_HU: Final = 700.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """A changed volume, and `to_variant`, 4 x 4: LPS mm in the original to LPS mm of the same tissue in it."""

    volume: Volume
    to_variant: NDArray[np.float64]

    def moved(self, lps_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Where points [..., 3] of the original are now, LPS mm."""
        return np.asarray(lps_mm, dtype=float) @ self.to_variant[:3, :3].T + self.to_variant[:3, 3]


def unchanged(volume: Volume) -> Variant:
    """The scan as it is."""
    return Variant(volume=volume, to_variant=np.eye(4))


def cropped(volume: Volume, *, lowest_z_mm: float = -np.inf, highest_z_mm: float = np.inf) -> Variant:
    """Only the slices whose middle lies between the two heights; ValueError where fewer than two do."""
    slices, rows, columns = volume.hu.shape
    middles = np.array([[k, (rows - 1) / 2, (columns - 1) / 2] for k in range(slices)])
    heights = volume.to_lps_mm(middles)[:, 2]
    kept = np.flatnonzero((heights >= lowest_z_mm) & (heights <= highest_z_mm))
    if len(kept) < 2:
        raise ValueError(
            f"between z = {lowest_z_mm} and {highest_z_mm} mm lie {len(kept)} slices of a scan from "
            f"{heights.min():.1f} to {heights.max():.1f} mm; at least two are needed"
        )
    first, last = int(kept[0]), int(kept[-1])
    affine = volume.affine_lps.copy()
    affine[:3, 3] = volume.to_lps_mm(np.array([first, 0, 0]))
    return unchanged(_like(volume, volume.hu[first : last + 1], affine))


def rotated(volume: Volume, axis: Axis, degrees: float, about_lps_mm: NDArray[Any]) -> Variant:
    """The patient turned about an axis through a point, right-handed, and scanned on the same grid again.

    What was outside the scan is air (-1024 HU), so the scan's old borders run obliquely through the new one.
    """
    turn = _turn(axis, degrees)
    about = np.asarray(about_lps_mm, dtype=float)
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = turn, about - turn @ about
    to_source = np.linalg.inv(volume.affine_lps) @ np.linalg.inv(move) @ volume.affine_lps
    hu = _sampled(volume.hu.astype(np.float32), to_source, volume.hu.shape)
    return Variant(volume=_like(volume, hu, volume.affine_lps), to_variant=move)


def resampled(volume: Volume, spacing_mm_zyx: tuple[float, float, float]) -> Variant:
    """The same field of view with other voxels: averaged where they grow, interpolated linearly where they shrink.

    The patient, and so every point, stays where it is.
    """
    factor = np.array(spacing_mm_zyx) / np.array(volume.spacing_mm_zyx)
    shape = np.maximum(np.round(np.array(volume.hu.shape) / factor), 1).astype(int)
    source = volume.hu.astype(np.float32)
    # A Gaussian as wide as the larger voxel's average, in variances: (f^2 - 1) / 12.
    sigma = np.sqrt(np.maximum(factor**2 - 1, 0) / 12)
    if sigma.max() > 0:
        source = ndimage.gaussian_filter(source, sigma, mode="nearest")
    to_source = np.eye(4)
    to_source[[0, 1, 2], [0, 1, 2]] = factor[::-1]
    to_source[:3, 3] = (factor[::-1] - 1) / 2
    hu = _sampled(source, to_source, (int(shape[0]), int(shape[1]), int(shape[2])))
    return unchanged(_like(volume, hu, volume.affine_lps @ to_source))


def offset(volume: Volume, hu: int, *, above_hu: int = -300) -> Variant:
    """`hu` added to everything denser than `above_hu`: tissue is off, air is not."""
    return unchanged(_like(volume, _hu(np.where(volume.hu > above_hu, volume.hu.astype(np.int32) + hu, volume.hu))))


def bone_contrast(volume: Volume, hu_of_700: float) -> Variant:
    """Everything above 100 HU stretched so that 700 HU becomes `hu_of_700`; what is below stays."""
    stretch = (hu_of_700 - _SOFT_TISSUE_HU) / (_BONE_HU - _SOFT_TISSUE_HU)
    hu = volume.hu.astype(np.float32)
    return unchanged(
        _like(volume, _hu(np.where(hu > _SOFT_TISSUE_HU, _SOFT_TISSUE_HU + stretch * (hu - _SOFT_TISSUE_HU), hu)))
    )


def noisy(volume: Volume, sd_hu: float, seed: int) -> Variant:
    """White Gaussian noise on every voxel."""
    noise = np.random.default_rng(seed).standard_normal(volume.hu.shape, dtype=np.float32) * np.float32(sd_hu)
    return unchanged(_like(volume, _hu(volume.hu + noise)))


def _turn(axis: Axis, degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turn = np.eye(3)
    turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -s, s
    return turn


def _sampled(
    hu: NDArray[np.float32], to_source_xyz: NDArray[np.float64], shape_zyx: tuple[int, ...]
) -> NDArray[np.int16]:
    """`hu` at the source index of each voxel; `to_source_xyz` is 4 x 4 on (x, y, z, 1) indices."""
    matrix, shift = to_source_xyz[:3, :3][::-1, ::-1].copy(), to_source_xyz[:3, 3][::-1].copy()
    shape = (shape_zyx[0], shape_zyx[1], shape_zyx[2])
    return _hu(sample_array(torch.from_numpy(hu), matrix, shift, shape, outside=float(_AIR_HU)).numpy())


def _hu(values: NDArray[Any]) -> NDArray[np.int16]:
    return np.clip(np.round(values), _AIR_HU, 32767).astype(np.int16)


def _like(volume: Volume, hu: NDArray[np.int16], affine: NDArray[np.float64] | None = None) -> Volume:
    return Volume(
        hu=np.ascontiguousarray(hu),
        affine_lps=volume.affine_lps if affine is None else affine,
        frame_of_reference_uid=volume.frame_of_reference_uid,
        notes=volume.notes,
    )
