"""The one type in which CT voxels travel through the project."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A CT series as Hounsfield units in patient space.

    `hu` is int16, shape [z, y, x]: z runs along the slice normal so that, for an axial series, index 0 is
    the most inferior slice. Values lie in [-1024, 32767]; padding has been clamped to -1024.

    `affine_lps` is float64 4 x 4 and maps the homogeneous *voxel centre index* `(x, y, z, 1)` (column, row,
    slice; note the order) to DICOM patient coordinates in millimetres: +x to the patient's left, +y to
    posterior, +z to superior. Gantry tilt and oblique orientation live in its columns, which therefore need
    not be orthogonal.

    `frame_of_reference_uid` is the series' own, or the empty string where the header has none.
    """

    hu: NDArray[np.int16]
    affine_lps: NDArray[np.float64]
    frame_of_reference_uid: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype != np.int16:
            raise ValueError(f"hu must be int16 [z, y, x], not {self.hu.dtype} of shape {self.hu.shape}")
        if self.affine_lps.shape != (4, 4):
            raise ValueError(f"affine_lps must be 4 x 4, not {self.affine_lps.shape}")

    @property
    def spacing_mm_zyx(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each array axis, in mm.

        With gantry tilt the z distance is along the table (the third column of the affine), not along the normal.
        """
        x, y, z = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def to_lps_mm(self, zyx: NDArray[Any]) -> NDArray[np.float64]:
        """Map array indices [..., (z, y, x)] to LPS millimetres [..., (x, y, z)]."""
        index = np.asarray(zyx, dtype=np.float64)[..., ::-1]
        return index @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def to_index_zyx(self, lps_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Map LPS millimetres [..., (x, y, z)] to fractional array indices [..., (z, y, x)]."""
        inverse = np.linalg.inv(self.affine_lps[:3, :3])
        index = (np.asarray(lps_mm, dtype=np.float64) - self.affine_lps[:3, 3]) @ inverse.T
        return index[..., ::-1]
