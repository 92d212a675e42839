"""The same seed gives the same study on every machine: a phantom beside the means of its blocks, made elsewhere.

Where the anatomy or the scanner changes on purpose: `python -m tests.integration.test_phantom_fingerprint` writes the
file again.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from inference.synthetic import Fracture, Grid, build_anatomy, draw_spec, render

FINGERPRINT = Path(__file__).with_name("phantom_fingerprint.json")
BLOCK = 8


def blocks() -> dict[str, list[float]]:
    """Mean HU of blocks of 8 x 8 x 8 voxels, and voxels of each label, of a small broken neck."""
    fractures = (Fracture(level="C4", kind="burst", severity=0.7), Fracture(level="C6", kind="lamina", severity=0.5))
    scanner = {"tilt_deg": 0.0, "spacing_mm": 1.5, "slice_mm": 1.5}
    spec = draw_spec(4, coverage="cspine", fractures=fractures, kernel="bone", collar="hard", scanner=scanner)
    anatomy = build_anatomy(spec)
    grid = Grid.around(anatomy.centres_lps_mm["C5"], (120, 120, 84), 1.5)
    out = render(anatomy, grid)
    nz, ny, nx = (n // BLOCK for n in out.hu.shape)
    cut = out.hu[: nz * BLOCK, : ny * BLOCK, : nx * BLOCK].astype(float)
    means = cut.reshape(nz, BLOCK, ny, BLOCK, nx, BLOCK).mean(axis=(1, 3, 5))
    return {
        "mean_hu": [round(float(v), 2) for v in means.ravel()],
        "labels": [int(n) for n in np.bincount(out.labels.ravel(), minlength=26)],
        "fractures": [int(n) for n in np.bincount(out.fracture_mask.ravel(), minlength=8)],
    }


def test_a_seed_gives_the_study_that_it_gave_on_another_machine():
    made, kept = blocks(), json.loads(FINGERPRINT.read_text())
    assert np.abs(np.array(made["mean_hu"]) - kept["mean_hu"]).max() <= 1.0
    for voxels in ("labels", "fractures"):
        assert made[voxels] == pytest.approx(kept[voxels], rel=0.002, abs=2)


if __name__ == "__main__":
    FINGERPRINT.write_text(json.dumps(blocks()) + "\n")
