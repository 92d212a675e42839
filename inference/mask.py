"""The vertebra mask on the scanner's own grid, drawn to the edge of the bone."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.postprocess import Column
from inference.preprocess import PatientGrid, sample_array
from inference.volume import Volume

# Chosen on phantoms of three resolutions: with a lower bone threshold the blurred edge counts as bone and the mask
# grows by up to a third; with a higher one the thin cortex of coarse scans is lost.
_BONE_HU: Final = 450.0
_MARROW_HU: Final = 150.0
_NEAR: Final = 0.4
_INSIDE: Final = 0.8


def fine_mask(volume: Volume, column: Column, foreground: torch.Tensor) -> NDArray[np.uint8]:
    """uint8 [z, y, x] on the source grid: 1-7 = C1-C7.

    `foreground` is the cervical probability on the column's grid. A voxel belongs to the vertebra with the
    strongest trilinear score there, provided it is bone where the score is weak (the edge follows the
    cortex) or at least not fat or air where it is strong (marrow may be as dark as muscle). Levels are
    drawn one box at a time, so memory stays at one box of floats beside the mask.
    """
    mask = np.zeros(volume.hu.shape, dtype=np.uint8)
    strongest = np.zeros(0, dtype=np.float16)
    bounds = _source_box(volume, column.grid, column.labels > 0)
    strongest = np.zeros([b - a for a, b in bounds], dtype=np.float16)
    start = [a for a, _ in bounds]
    for level in range(1, 8):
        own = column.labels == level
        if not own.any():
            continue
        box = _source_box(volume, column.grid, own)
        where = tuple(slice(a, b) for a, b in box)
        score = _score_on_source(volume, column, own, foreground, box)
        hu = ndimage.uniform_filter(volume.hu[where].astype(np.float32), size=(1, 3, 3))
        belongs = ((score > _NEAR) & (hu > _BONE_HU)) | ((score > _INSIDE) & (hu > _MARROW_HU))
        held = strongest[tuple(slice(a - s, b - s) for (a, b), s in zip(box, start, strict=True))]
        belongs &= score > held
        mask[where][belongs] = level
        held[belongs] = score[belongs]
    return mask


def _score_on_source(
    volume: Volume,
    column: Column,
    own: NDArray[np.bool_],
    foreground: torch.Tensor,
    box: list[tuple[int, int]],
) -> NDArray[np.float32]:
    """Half the level's indicator, half the network's foreground near it, trilinear on the source box."""
    near = ndimage.binary_dilation(own, iterations=1) & ((column.labels == 0) | own)
    coarse = 0.5 * torch.from_numpy(own.astype(np.float32)) + 0.5 * foreground * torch.from_numpy(near)
    to_grid = np.linalg.inv(column.grid.affine_lps()) @ volume.affine_lps
    matrix = to_grid[:3, :3][::-1, ::-1].copy()
    offset = to_grid[:3, 3][::-1] + matrix @ np.array([a for a, _ in box], dtype=float)
    shape = (box[0][1] - box[0][0], box[1][1] - box[1][0], box[2][1] - box[2][0])
    return sample_array(coarse, matrix, offset, shape, outside=0.0).numpy()


def _source_box(volume: Volume, grid: PatientGrid, mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open source index bounds of a coarse mask with one coarse voxel around it, per axis."""
    zyx = np.argwhere(mask)
    low, high = zyx.min(axis=0) - 1.0, zyx.max(axis=0) + 1.0
    ends = np.array([[a, b, c] for a in (low[0], high[0]) for b in (low[1], high[1]) for c in (low[2], high[2])])
    index = volume.to_index_zyx(grid.to_lps_mm(ends))
    first = np.clip(np.floor(index.min(axis=0)), 0, np.array(volume.hu.shape) - 1).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 1, first + 1, volume.hu.shape).astype(int)
    return [(int(a), int(b)) for a, b in zip(first, last, strict=True)]
