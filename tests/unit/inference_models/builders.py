"""Label columns, volumes and small bundles for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import save_bundle
from inference.evaluation.operating import fit_operating_points
from inference.experiments.bundle import Member
from inference.experiments.bundle import save_bundle as save_experiment
from inference.experiments.families import build
from inference.experiments.settings import read_experiment
from inference.models import LocaliserNet, PlaceNet, ShapeNet
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
        },
        **changes,
    }
    fractures = write_toy_experiment(folder.with_name(f"{folder.name}-fractures"))
    nets = LocaliserNet((8, 8, 8)), PlaceNet((4, 4, 4, 8)), ShapeNet((8, 8))
    save_bundle(folder, *nets, fractures=fractures, manifest=manifest)
    return folder


def write_toy_experiment(folder: Path, name: str = "vertebra-crop") -> Path:
    """The bundle of a tiny untrained experiment whose thresholds are all 0.5."""
    model = build(read_experiment(name, tiny=True))
    points = fit_operating_points(np.zeros((8, 8)), np.full((8, 8), 0.5))
    save_experiment(folder, [Member(model=model)], points, {"name": name, "version": "0"})
    return folder
