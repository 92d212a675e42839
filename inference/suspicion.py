"""Where a level looks fractured to a model: what every classifier hands on beside its probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.preprocess import PatientGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class SuspicionMap:
    """Where a level looks fractured: `values` float32 [z, y, x] in 0-1 on `grid`, higher is more suspicious.

    An explanation, not a measurement: values of one map compare with each other, not with the level's probability.
    """

    values: NDArray[np.float32]
    grid: PatientGrid

    def peak_lps_mm(self) -> tuple[float, float, float]:
        """The centre of the most suspicious voxel, LPS mm."""
        at = np.array(np.unravel_index(int(self.values.argmax()), self.values.shape), dtype=float)
        x, y, z = self.grid.to_lps_mm(at)
        return float(x), float(y), float(z)
