"""Label columns, volumes and small bundles for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import save_bundle
from inference.models import FractureNet, LocaliserNet, PlaceNet, ShapeNet
from inference.preprocess import PatientGrid
from inference.volume import Volume

GRID = PatientGrid(origin_lps_mm=(-75.0, -75.0, -400.0), spacing_mm_zyx=(2.5, 2.5, 2.5), shape_zyx=(80, 60, 60))


def column_probabilities(
    labels_from_top: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7), *, grid: PatientGrid = GRID, top: int = 70
) -> NDArray[np.float32]:
    """Probabilities [11, z, y, x] of a straight column of 15 x 30 x 35 mm blocks, 20 mm apart, downwards from `top`."""
    labels = np.zeros(grid.shape_zyx, dtype=int)
    for place, label in enumerate(labels_from_top):
        z = top - 8 * place
        labels[max(0, z - 3) : z + 3, 24:36, 23:37] = label
    return (0.02 + 0.8 * np.eye(11, dtype=np.float32)[labels]).transpose(3, 0, 1, 2)


def volume_on(grid: PatientGrid, hu: float = 300.0) -> Volume:
    """A uniform volume whose voxels are those of `grid`."""
    return Volume(hu=np.full(grid.shape_zyx, hu, dtype=np.int16), affine_lps=grid.affine_lps())


def write_toy_bundle(folder: Path, **changes: Any) -> Path:
    """A bundle with tiny untrained networks."""
    torch.manual_seed(0)
    channels = [8, 8, 8]
    manifest: dict[str, Any] = {
        "name": "toy",
        "version": "0",
        "architecture": {
            "localiser": {"channels": channels},
            "place": {"channels": [4, 4, 4, 8]},
            "shape": {"channels": [8, 8]},
            "classifier": {"channels": channels},
        },
        "calibration": {
            "level": {"slope": 1.0, "offset": 0.0},
            "overall": {"highest": 0.5, "noisy_or": 0.5, "offset": 0.0},
        },
        "thresholds": {**{f"C{k}": 0.5 for k in range(1, 8)}, "patient_overall": 0.5},
        **changes,
    }
    save_bundle(
        folder, LocaliserNet((8, 8, 8)), PlaceNet((4, 4, 4, 8)), ShapeNet((8, 8)), FractureNet((8, 8, 8)), manifest
    )
    return folder
