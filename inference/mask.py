"""The vertebra mask on the scanner's own grid."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.preprocess import PatientGrid, sample_array
from inference.shape import Shape
from inference.volume import Volume

_HALF: Final = 0.5
# Nothing of a vertebra is darker than fatty marrow; what is, is fat, air or gas beside it.
_DARKEST_HU: Final = -250.0


def smooth_mask(volume: Volume, shapes: dict[int, Shape]) -> NDArray[np.uint8]:
    """uint8 [z, y, x] on the source grid: 1-7 = C1-C7, one connected piece each.

    A shape tells how much of a 1 mm voxel the bone fills: the surface where its trilinear share is one half lies
    between those voxels, and the mask is smooth on any grid. Levels are drawn one box at a time: memory stays at one
    box of floats beside the mask and a score for each of its voxels near the spine.
    """
    mask = np.zeros(volume.hu.shape, dtype=np.uint8)
    shapes = {level: _tight(shape) for level, shape in shapes.items() if bool((shape.share > _HALF).any())}
    boxes = {level: source_box(volume, shape.grid) for level, shape in shapes.items()}
    start = [min((box[axis].start for box in boxes.values()), default=0) for axis in range(3)]
    stop = [max((box[axis].stop for box in boxes.values()), default=0) for axis in range(3)]
    strongest = np.full(np.subtract(stop, start), _HALF, dtype=np.float16)
    for level, shape in shapes.items():
        where = boxes[level]
        held = strongest[tuple(slice(s.start - o, s.stop - o) for s, o in zip(where, start, strict=True))]
        score = _on_source(volume, shape, where)
        belongs = (score > held) & (volume.hu[where] > _DARKEST_HU)
        mask[where][belongs] = level
        held[belongs] = score[belongs]
    for level, box in boxes.items():
        _keep_one_piece(mask[box], level)
    return mask


def _tight(shape: Shape) -> Shape:
    """The part of a shape that holds its bone, and one voxel around it."""
    bone = np.nonzero(shape.share.numpy() > _HALF)
    z, y, x = (
        slice(max(0, int(index.min()) - 1), min(n, int(index.max()) + 2))
        for index, n in zip(bone, shape.share.shape, strict=True)
    )
    return Shape(grid=shape.grid.part((z, y, x)), share=shape.share[z, y, x])


def _on_source(volume: Volume, shape: Shape, where: tuple[slice, ...]) -> NDArray[np.float32]:
    """The level's share, trilinear on the source box."""
    to_grid = np.linalg.inv(shape.grid.affine_lps()) @ volume.affine_lps
    matrix = to_grid[:3, :3][::-1, ::-1].copy()
    matrix[np.abs(matrix) < 1e-9 * np.abs(matrix).max()] = 0.0
    offset = to_grid[:3, 3][::-1] + matrix @ np.array([s.start for s in where], dtype=float)
    size = (where[0].stop - where[0].start, where[1].stop - where[1].start, where[2].stop - where[2].start)
    return sample_array(shape.share, matrix, offset, size, outside=0.0).numpy()


def _keep_one_piece(part: NDArray[np.uint8], level: int) -> None:
    """Wipe all but the largest connected piece of the level."""
    own = part == level
    pieces, count = ndimage.label(own)
    if count > 1:
        largest = np.bincount(pieces.ravel())[1:].argmax() + 1
        part[own & (pieces != largest)] = 0


def source_box(volume: Volume, grid: PatientGrid) -> tuple[slice, ...]:
    """The source voxels [z, y, x] that a patient grid covers."""
    high = np.array(grid.shape_zyx) - 1
    ends = np.array([[a, b, c] for a in (0, high[0]) for b in (0, high[1]) for c in (0, high[2])], dtype=float)
    index = volume.to_index_zyx(grid.to_lps_mm(ends))
    first = np.clip(np.floor(index.min(axis=0)), 0, np.array(volume.hu.shape) - 1).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 1, first + 1, volume.hu.shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
