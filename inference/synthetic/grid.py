"""Where the voxels are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A picture's voxels: `shape_zyx`, and `affine_lps` 4 x 4 mapping (x, y, z, 1) indices to LPS mm (centres)."""

    shape_zyx: tuple[int, int, int]
    affine_lps: Array

    @classmethod
    def around(cls, centre_lps_mm: Any, size_mm_xyz: Any, spacing_mm_xyz: Any, turn: Array | None = None) -> Grid:
        """A grid centred on a point; the columns of the 3 x 3 `turn` are its axes (default: LPS's)."""
        spacing = np.broadcast_to(np.asarray(spacing_mm_xyz, float), 3)
        shape = np.maximum(np.round(np.broadcast_to(np.asarray(size_mm_xyz, float), 3) / spacing).astype(int), 1)
        axes = np.eye(3) if turn is None else np.asarray(turn, float)
        affine = np.eye(4)
        affine[:3, :3] = axes * spacing
        affine[:3, 3] = np.asarray(centre_lps_mm, float) - affine[:3, :3] @ ((shape - 1) / 2)
        return cls(shape_zyx=(int(shape[2]), int(shape[1]), int(shape[0])), affine_lps=affine)

    @property
    def spacing_mm_xyz(self) -> Array:
        """Voxel sizes along x, y, z."""
        return np.linalg.norm(self.affine_lps[:3, :3], axis=0)
