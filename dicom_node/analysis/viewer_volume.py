"""The CT for the study page's viewer: cropped to the neck and thinned (see `dicom_node.app.viewing`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.analysis.mask_file import box_of
from dicom_node.app.viewing import CT, HU_A_STEP, LOWEST_HU, Triple, ViewerGrid, write_grid, write_volume
from inference.volume import Volume

MARGIN_MM_ZYX = (30.0, 50.0, 50.0)
MOST_VOXELS = 10_000_000
FINEST_MM = 0.45  # finer than a screen shows of a whole neck


def write_viewer_volume(volume: Volume, mask: NDArray[np.uint8], folder: Path) -> Path | None:
    """`folder` with the CT around what `mask` [z, y, x] marks and its grid; None where it marks nothing.

    Raises OSError.
    """
    if not mask.any():
        return None
    grid = viewer_grid(volume, mask)
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / CT, grid, _planes(volume.hu, grid), slope=HU_A_STEP, first=LOWEST_HU)
    write_grid(folder, grid)
    return folder


def viewer_grid(volume: Volume, mask: NDArray[np.uint8]) -> ViewerGrid:
    """The box of `mask` with a margin, in whole blocks of which there are at most `MOST_VOXELS`."""
    box = box_of(mask)
    low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
    spacing = np.array(volume.spacing_mm_zyx)
    margin = np.ceil(np.array(MARGIN_MM_ZYX) / spacing).astype(int)
    start = np.maximum(low - margin, 0)
    size = np.minimum(high + margin, volume.hu.shape) - start
    step = _steps(size, spacing)
    shape = size // step
    middle = start + (step - 1) / 2
    affine = volume.affine_lps.copy()
    affine[:3, :3] = volume.affine_lps[:3, :3] * step[::-1]
    affine[:3, 3] = volume.to_lps_mm(middle)
    return ViewerGrid(
        start_zyx=_triple(start),
        step_zyx=_triple(step),
        shape_zyx=_triple(shape),
        affine_lps=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine),
    )


def _steps(size: NDArray[np.int64], spacing_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Voxels a block along each axis; the finest axis is thinned first."""
    step = np.ones(3, dtype=np.int64)
    while np.prod(size // step) > MOST_VOXELS or (step * spacing_mm * 2 <= FINEST_MM).any():
        # Rows and columns together, so that pixels stay square.
        if step[0] * spacing_mm[0] < step[1] * spacing_mm[1]:
            step[0] += 1
        else:
            step[1:] += 1
    return np.minimum(step, size)


def _planes(hu: NDArray[np.int16], grid: ViewerGrid) -> Iterator[bytes]:
    """Each plane of `grid` as bytes: the mean of every block."""
    (z, y, x), (dz, dy, dx), (count, rows, columns) = grid.start_zyx, grid.step_zyx, grid.shape_zyx
    for k in range(count):
        slab = hu[z + k * dz : z + (k + 1) * dz, y : y + rows * dy, x : x + columns * dx]
        # A block's voxels one after the other: numpy's mean over three axes at once takes five times as long.
        total = np.zeros((rows, columns), dtype=np.int32)
        for i, j, n in np.ndindex(dz, dy, dx):
            total += slab[i, j::dy, n::dx]
        steps = (total.astype(np.float32) / np.float32(dz * dy * dx) - LOWEST_HU) / HU_A_STEP
        yield np.clip(np.rint(steps), 0, 255).astype(np.uint8).tobytes()


def _triple(values: NDArray[np.int64]) -> Triple:
    z, y, x = values.tolist()
    return z, y, x
