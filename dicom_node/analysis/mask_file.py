"""The mask of the vertebrae as a file: only the box that holds them, a tenth of a scan's voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def box_of(mask: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """The smallest box (z, y, x) that holds all that is marked; empty where nothing is."""
    z = _from_first_to_last(np.asarray(mask.any(axis=(1, 2))))
    flat: NDArray[np.bool_] = np.asarray(mask[z].any(axis=0))
    return z, _from_first_to_last(np.asarray(flat.any(axis=1))), _from_first_to_last(np.asarray(flat.any(axis=0)))


def save_mask(mask: NDArray[np.uint8], affine_lps: NDArray[np.float64], file: Path) -> Path:
    """`file` as `AnalysisResult.mask_path` promises. Raises OSError."""
    box = box_of(mask)
    start = [part.start for part in box]
    np.savez_compressed(file, mask=mask[box], affine_lps=affine_lps, start_zyx=start, shape_zyx=mask.shape)
    return file


def _from_first_to_last(marked: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(marked)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)
