"""The vertebra mask on the scanner's own grid."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.postprocess import Column
from inference.preprocess import PatientGrid, sample_array
from inference.volume import Volume

_HALF: Final = 0.5
# Nothing of a vertebra is darker than fatty marrow; what is, is fat, air or gas beside it.
_DARKEST_HU: Final = -250.0
_LAST_CERVICAL: Final = 8


def smooth_mask(volume: Volume, column: Column, probabilities: torch.Tensor, grid: PatientGrid) -> NDArray[np.uint8]:
    """uint8 [z, y, x] on the source grid: 1-7 = C1-C7, one connected piece each.

    `probabilities` [classes, z, y, x] lie on `grid`, of which the column's grid is a part. The network was trained on
    how much of a voxel the bone fills, so the surface where its trilinear probability is one half lies between the
    coarse voxels, and the mask is smooth on any grid. Levels are drawn one box at a time: memory stays at one box of
    floats beside the mask.
    """
    mask = np.zeros(volume.hu.shape, dtype=np.uint8)
    near = _on_column(probabilities, grid, column.grid)
    cervical = near[1:_LAST_CERVICAL].sum(dim=0)
    bounds = _source_box(volume, column.grid, column.labels > 0)
    strongest = np.zeros([b - a for a, b in bounds], dtype=np.float16)
    start = [a for a, _ in bounds]
    for level in np.unique(column.labels[column.labels > 0]).tolist():
        own = column.labels == level
        box = _source_box(volume, column.grid, own)
        where = tuple(slice(a, b) for a, b in box)
        soft = _soft(column, level, near, cervical)
        score = _score_on_source(volume, column.grid, soft, box)
        belongs = (score > _HALF) & (volume.hu[where] > _DARKEST_HU)
        held = strongest[tuple(slice(a - s, b - s) for (a, b), s in zip(box, start, strict=True))]
        belongs &= score > held
        mask[where][belongs] = level
        held[belongs] = score[belongs]
    _keep_one_piece(mask, volume, column)
    return mask


def _on_column(probabilities: torch.Tensor, grid: PatientGrid, part: PatientGrid) -> torch.Tensor:
    """The probabilities on the column's part of their grid, which shares its voxels."""
    z, y, x = (round(float(i)) for i in grid.to_index_zyx(np.array(part.origin_lps_mm)))
    nz, ny, nx = part.shape_zyx
    return probabilities[:, z : z + nz, y : y + ny, x : x + nx]


def _soft(column: Column, level: int, near: torch.Tensor, cervical: torch.Tensor) -> torch.Tensor:
    """How much of each coarse voxel is the level's: all that is cervical inside its piece, its own class around it.

    Inside the piece the network may waver between two names; what the piece is called was decided for all of it.
    """
    own = torch.from_numpy(column.labels == level)
    free = torch.from_numpy(column.labels == 0)
    rim = near[column.named_by.get(level, level)] * free
    return torch.where(own, cervical, rim)


def _score_on_source(
    volume: Volume, grid: PatientGrid, soft: torch.Tensor, box: list[tuple[int, int]]
) -> NDArray[np.float32]:
    """The level's share, trilinear on the source box."""
    to_grid = np.linalg.inv(grid.affine_lps()) @ volume.affine_lps
    matrix = to_grid[:3, :3][::-1, ::-1].copy()
    matrix[np.abs(matrix) < 1e-9 * np.abs(matrix).max()] = 0.0
    offset = to_grid[:3, 3][::-1] + matrix @ np.array([a for a, _ in box], dtype=float)
    shape = (box[0][1] - box[0][0], box[1][1] - box[1][0], box[2][1] - box[2][0])
    return sample_array(soft, matrix, offset, shape, outside=0.0).numpy()


def _keep_one_piece(mask: NDArray[np.uint8], volume: Volume, column: Column) -> None:
    """Wipe all but the largest connected piece of each level."""
    for level in np.unique(column.labels[column.labels > 0]).tolist():
        where = tuple(slice(a, b) for a, b in _source_box(volume, column.grid, column.labels == level))
        own = mask[where] == level
        parts, count = ndimage.label(own)
        if count > 1:
            largest = np.bincount(parts.ravel())[1:].argmax() + 1
            mask[where][own & (parts != largest)] = 0


def _source_box(volume: Volume, grid: PatientGrid, mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open source index bounds of a coarse mask with two coarse voxels around it, per axis."""
    zyx = np.argwhere(mask)
    low, high = zyx.min(axis=0) - 2.0, zyx.max(axis=0) + 2.0
    ends = np.array([[a, b, c] for a in (low[0], high[0]) for b in (low[1], high[1]) for c in (low[2], high[2])])
    index = volume.to_index_zyx(grid.to_lps_mm(ends))
    first = np.clip(np.floor(index.min(axis=0)), 0, np.array(volume.hu.shape) - 1).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 1, first + 1, volume.hu.shape).astype(int)
    return [(int(a), int(b)) for a, b in zip(first, last, strict=True)]
