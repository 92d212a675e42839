"""What is left for the viewer is read by others as it was meant."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from dicom_node.app.viewing import (
    CT,
    STUDY,
    LevelPlace,
    ViewerGrid,
    Viewing,
    read_grid,
    read_viewing,
    viewer_folder,
    write_grid,
    write_viewing,
    write_volume,
)

GRID = ViewerGrid(
    start_zyx=(3, 4, 5),
    step_zyx=(1, 2, 2),
    shape_zyx=(2, 3, 4),
    affine_lps=((0.9, 0.0, 0.0, -40.0), (0.0, 0.64, -0.9, -30.0), (0.0, 0.48, 1.2, 120.0), (0.0, 0.0, 0.0, 1.0)),
)
VIEWING = Viewing(
    grid=GRID,
    levels=(LevelPlace(level="C2", point_mm_lps=(1.0, 2.0, 3.0), slice_index=4, image_number=9),),
    curve=(0.0, 0.5, 1.0),
    axis_mm_lps=((0.0, 0.0, 0.0), (0.0, 0.0, 4.5)),
    level_colours={"C2": (1, 2, 3)},
    band_colours={"high": (4, 5, 6)},
    has_suspicion=True,
)


def test_a_volume_lies_where_its_grid_says_and_has_the_values_that_its_bytes_stand_for(tmp_path: Path):
    values = np.arange(24, dtype=np.uint8).reshape(GRID.shape_zyx)
    write_volume(tmp_path / CT, GRID, (plane.tobytes() for plane in values), slope=8, first=-400)
    image = SimpleITK.ReadImage(str(tmp_path / CT))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), values * 8.0 - 400)
    for zyx in ((0, 0, 0), (1, 2, 3)):
        expected = np.array(GRID.affine_lps) @ (*zyx[::-1], 1)
        assert np.allclose(image.TransformIndexToPhysicalPoint(zyx[::-1]), expected[:3], atol=1e-2)


def test_planes_that_do_not_fill_the_grid_are_refused_and_leave_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="23 voxels for a grid of 24"):
        write_volume(tmp_path / CT, GRID, [bytes(23)])
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_comes_back_equal(tmp_path: Path):
    write_grid(tmp_path, GRID)
    write_viewing(tmp_path, VIEWING)
    assert read_grid(tmp_path) == GRID
    assert read_viewing(tmp_path) == VIEWING


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"grid": 3}', '{"grid": {"start_zyx": [1]}}', "null"])
def test_what_this_version_did_not_write_is_no_viewing(tmp_path: Path, text: str):
    (tmp_path / STUDY).write_text(text)
    assert read_viewing(tmp_path) is None
    assert read_viewing(tmp_path / "nowhere") is None


def test_the_latest_complete_folder_of_a_job_is_shown(tmp_path: Path):
    assert viewer_folder(tmp_path) is None
    for attempt in (1, 2, 3):
        folder = tmp_path / f"attempt-{attempt}" / "viewer"
        folder.mkdir(parents=True)
        if attempt < 3:
            write_viewing(folder, replace(VIEWING, curve=(attempt / 10,)))
            os.utime(folder / STUDY, (attempt, attempt))
    assert viewer_folder(tmp_path) == tmp_path / "attempt-2" / "viewer"
