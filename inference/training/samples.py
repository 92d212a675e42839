"""Training samples: what the generator renders, brought to the networks' grids and kept as small files.

One `.npz` per seed, written under a temporary name and renamed, so that a stopped run resumes where it was and
training may read the folder while it fills.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.preprocess import (
    LOCALISER_SPACING_MM,
    SHAPE_SPACING_MM,
    PatientGrid,
    grid_covering,
    sample_array,
    sample_volume,
)
from inference.volume import Volume

_MOST_STORED_ZYX: Final = (220, 120, 140)
_HU_STEP_WIDE: Final = 10.0
_LOOK_EVERY: Final = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledVolume:
    """A rendered study, as `inference.synthetic.Rendered` describes it; `bone` and `bone_share` are its soft truth."""

    volume: Volume
    labels: NDArray[np.uint8]
    fracture_mask: NDArray[np.uint8]
    bone: NDArray[np.uint8]
    bone_share: NDArray[np.uint8]


# Background, C1 ... C7, T1, lower vertebrae (codes 9-24), skull (25).
_CLASS_OF_BONE: Final = np.array([*range(9), *([9] * 16), 10] + [0] * 230, dtype=np.uint8)


def localiser_sample(study: LabelledVolume) -> dict[str, NDArray[np.uint8]]:
    """`hu` (10 HU a step from -1000), `classes` and `share` at 2 mm, cut to a bounded size.

    `classes`: 0 background, 1-7, 8 T1, 9 lower vertebrae, 10 skull. `share` (0-255) is how much of the voxel its bone
    fills: a soft target puts the edge between voxels.
    """
    grid = grid_covering(study.volume, LOCALISER_SPACING_MM)
    hu = sample_volume(study.volume, grid).numpy()
    classes = _CLASS_OF_BONE[nearest(study.bone, study.volume.affine_lps, grid)]
    share = _linear(study.bone_share, study.volume.affine_lps, grid)
    keep = _bounded(classes)
    return {
        "hu": np.clip((hu[keep] + 1000.0) / _HU_STEP_WIDE, 0, 255).round().astype(np.uint8),
        "classes": classes[keep],
        "share": share[keep],
    }


def shape_sample(study: LabelledVolume) -> dict[str, NDArray[np.uint8]]:
    """`hu`, `classes` and `share` as `localiser_sample`'s, but at 1 mm; a class is the bone's own number."""
    grid = grid_covering(study.volume, SHAPE_SPACING_MM)
    hu = sample_volume(study.volume, grid).numpy()
    return {
        "hu": np.clip((hu + 1000.0) / _HU_STEP_WIDE, 0, 255).round().astype(np.uint8),
        "classes": nearest(study.bone, study.volume.affine_lps, grid),
        "share": _linear(study.bone_share, study.volume.affine_lps, grid),
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredSample:
    """One stored sample, uint8 [z, y, x]; `levels` are the C1-C7 in it and `middles_zyx` [n, 3] their centroids."""

    hu: torch.Tensor
    classes: torch.Tensor
    share: torch.Tensor
    levels: tuple[int, ...]
    middles_zyx: NDArray[np.float64]


class SampleStore:
    """The samples of a folder in memory; looks for new files now and then.

    A level with fewer than `least_voxels` full voxels counts as absent.
    """

    def __init__(self, folder: Path, least_voxels: int) -> None:
        self._folder = folder
        self._least = least_voxels
        self._held: dict[str, StoredSample] = {}
        self._names: list[str] = []
        self._with_levels: list[str] = []
        self._draws = 0

    def pick(self, rng: np.random.Generator, *, with_levels: bool = False) -> StoredSample:
        """One of the samples there are, or of those that show a cervical level."""
        if self._draws % _LOOK_EVERY == 0:
            self._look()
        self._draws += 1
        names = self._with_levels if with_levels else self._names
        return self._held[names[int(rng.integers(len(names)))]]

    def _look(self) -> None:
        for file in sorted(self._folder.glob("*.npz")):
            if file.stem not in self._held:
                with np.load(file) as arrays:
                    self._held[file.stem] = self._stored(*(arrays[name] for name in ("hu", "classes", "share")))
        self._names = sorted(self._held)
        self._with_levels = [name for name in self._names if self._held[name].levels]
        if not self._with_levels:
            raise FileNotFoundError(f"no samples in {self._folder}; make some with the `samples` command first")

    def _stored(self, hu: NDArray[np.uint8], classes: NDArray[np.uint8], share: NDArray[np.uint8]) -> StoredSample:
        full = np.where(share > 127, classes, 0)
        spots = {k: np.argwhere(full == k) for k in range(1, 8)}
        levels = tuple(k for k, spot in spots.items() if len(spot) > self._least)
        return StoredSample(
            hu=torch.from_numpy(hu),
            classes=torch.from_numpy(classes),
            share=torch.from_numpy(share),
            levels=levels,
            middles_zyx=np.array([spots[k].mean(axis=0) for k in levels]).reshape(-1, 3),
        )


def wide_hu(stored: torch.Tensor) -> torch.Tensor:
    """HU of a stored localiser sample."""
    return stored.float() * _HU_STEP_WIDE - 1000.0


def nearest(array: NDArray[np.uint8], affine_lps: NDArray[np.float64], grid: PatientGrid) -> NDArray[np.uint8]:
    """Nearest-neighbour values of a label array on a patient grid; 0 outside."""
    return _on_grid(array, affine_lps, grid, "nearest")


def _linear(array: NDArray[np.uint8], affine_lps: NDArray[np.float64], grid: PatientGrid) -> NDArray[np.uint8]:
    return _on_grid(array, affine_lps, grid, "bilinear")


def _on_grid(
    array: NDArray[np.uint8], affine_lps: NDArray[np.float64], grid: PatientGrid, mode: str
) -> NDArray[np.uint8]:
    xyz = np.linalg.inv(affine_lps) @ grid.affine_lps()
    matrix, offset = xyz[:3, :3][::-1, ::-1], xyz[:3, 3][::-1]
    # Only the part of the source the grid reaches becomes float.
    corners = np.array(
        [[a, b, c] for a in (0, grid.shape_zyx[0]) for b in (0, grid.shape_zyx[1]) for c in (0, grid.shape_zyx[2])],
        dtype=float,
    )
    reach = corners @ matrix.T + offset
    low = np.clip(np.floor(reach.min(axis=0)) - 2, 0, np.array(array.shape) - 1).astype(int)
    high = np.clip(np.ceil(reach.max(axis=0)) + 3, low + 1, array.shape).astype(int)
    part = array[low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.float32)
    sampled = sample_array(torch.from_numpy(part), matrix.copy(), offset - low, grid.shape_zyx, outside=0.0, mode=mode)
    return sampled.numpy().round().astype(np.uint8)


def save_sample(path: Path, arrays: dict[str, NDArray[np.uint8]]) -> None:
    """Write one compressed sample; the name appears only when it is complete."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(part, path)


def _bounded(labels: NDArray[np.uint8]) -> tuple[slice, ...]:
    """At most `_MOST_STORED_ZYX` voxels around the cervical spine, or around the middle where there is none."""
    spot = np.argwhere((labels >= 1) & (labels <= 7))
    middle = (spot.min(axis=0) + spot.max(axis=0)) / 2 if len(spot) else np.array(labels.shape) / 2
    region = []
    for centre, n, most in zip(middle, labels.shape, _MOST_STORED_ZYX, strict=True):
        size = min(n, most)
        start = int(np.clip(round(float(centre) - size / 2), 0, n - size))
        region.append(slice(start, start + size))
    return tuple(region)
