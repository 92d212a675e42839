"""Levels that the truth names and the localiser draws: what a model sees in use, for a third of the time.

A mask of the truth ends at a fracture's edges: it has gaps where the bone is broken, and a model that learns from it
reads the gaps and not the scan. In use there is no such mask. Naming the levels of a phantom asks for its whole field
of view to be rendered; drawing them does not, and the truth knows the names.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from inference.dataset.placing import Affine
from inference.dataset.prepared import OTHER_VERTEBRA
from inference.postprocess import Column, keep_largest
from inference.preprocess import LOCALISER_SPACING_MM, PatientGrid, grid_covering, sample_volume
from inference.volume import Volume

_CLASSES: Final = 11
_HALF: Final = 0.5
_FULL: Final = 1000  # a voxel of bone in the whole numbers that a volume holds


class DrawsLevels(Protocol):
    """The localiser's last step."""

    def draw(self, volume: Volume, column: Column, near: torch.Tensor) -> tuple[Column, NDArray[np.uint8]]:
        """The column at 1 mm and its mask on the volume's grid; see `NetworkLocaliser.draw`."""
        ...


def drawn_levels(volume: Volume, truth: NDArray[np.uint8], localiser: DrawsLevels) -> NDArray[np.uint8]:
    """uint8 [z, y, x] on the volume's grid: C1 to C7 of `truth` as the localiser draws them, its other vertebrae as is.

    `truth` uint8 on the same grid, 1-7 = C1-C7 and OTHER_VERTEBRA. The localiser is told where each level is by the
    truth on its own 2 mm grid, as shares of its voxels, in the place of what its first network would have answered.
    """
    grid = grid_covering(volume, LOCALISER_SPACING_MM)
    near = torch.zeros(_CLASSES, *grid.shape_zyx)
    for label in range(1, OTHER_VERTEBRA + 1):
        near[label] = _share(truth == label, volume.affine_lps, grid)
    near[0] = (1.0 - near[1:].sum(dim=0)).clamp_(min=0.0)
    labels = near[:OTHER_VERTEBRA].argmax(dim=0).numpy().astype(np.uint8)
    labels[near[0].numpy() > _HALF] = 0
    column = Column(grid=grid, labels=keep_largest(labels), evidence={})
    _, mask = localiser.draw(volume, column, near)
    mask[(mask == 0) & (truth == OTHER_VERTEBRA)] = OTHER_VERTEBRA
    return mask


def _share(where: NDArray[np.bool_], affine_lps: Affine, grid: PatientGrid) -> torch.Tensor:
    """How much of each voxel of the grid is true."""
    marked = Volume(hu=where.astype(np.int16) * np.int16(_FULL), affine_lps=affine_lps)
    return sample_volume(marked, grid).clamp_(min=0.0) / _FULL
