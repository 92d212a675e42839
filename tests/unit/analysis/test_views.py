"""Views lie where they say they lie."""

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_node.analysis.views import write_views
from dicom_node.core.finding import Finding, LevelStatus
from inference.volume import Volume

# A volume whose HU tell where a voxel is: 10 a millimetre, along the axis that a test asks for.
SHAPE = (40, 60, 50)
SPACING = (3.0, 2.0, 2.0)  # z, y, x


def volume_along(axis: int) -> Volume:
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = (-50.0, -60.0, 100.0)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)[..., ::-1]
    points = grid @ affine[:3, :3].T + affine[:3, 3]
    return Volume(hu=np.round(10 * points[..., axis]).astype(np.int16), affine_lps=affine)


MASK = np.zeros(SHAPE, np.uint8)
MASK[18:24, 25:35, 20:30] = 2
FINDINGS = (
    Finding(
        level="C2",
        status=LevelStatus.ASSESSED,
        threshold=0.5,
        probability=0.9,
        location_mm_lps=(2.0, 4.0, 160.0),
        key_index_zyx=(21, 31, 24),
    ),
    Finding(
        level="C3",
        status=LevelStatus.ASSESSED,
        threshold=0.5,
        probability=0.1,
        location_mm_lps=(2.0, 4.0, 140.0),
        key_index_zyx=(13, 31, 24),
    ),
    Finding(level="C7", status=LevelStatus.NOT_ASSESSED, threshold=0.5),
)
KEY_MM = (-2.0, 2.0, 163.0)


def written(folder: Path, axis: int = 2) -> dict[str, dict]:
    """Entries of views.json by name, with their arrays."""
    assert write_views(volume_along(axis), MASK, FINDINGS, folder) == folder
    entries = json.loads((folder / "views.json").read_text())["views"]
    return {entry["name"]: entry | {"pixels": np.load(folder / entry["hu"])} for entry in entries}


def test_overviews_come_first_then_two_looks_at_each_positive_level(tmp_path: Path):
    assert list(written(tmp_path)) == ["sagittal", "coronal", "key_C2", "key_C2_sagittal"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["key_C2", "key_C2_sagittal"])
def test_a_flat_view_shows_what_lies_on_its_plane(tmp_path: Path, name, axis):
    view = written(tmp_path, axis)[name]
    plane = {key: np.array(value) for key, value in view["plane"].items()}
    for row, column in ((30, 20), (40, 25), np.round(view["point"]).astype(int)):
        point = plane["origin_mm_lps"] + row * plane["row_step_mm_lps"] + column * plane["column_step_mm_lps"]
        assert view["pixels"][row, column] == pytest.approx(10 * point[axis], abs=2)


@pytest.mark.parametrize("name", ["key_C2", "key_C2_sagittal"])
def test_the_point_of_a_close_look_is_the_key_voxel(tmp_path: Path, name):
    view = written(tmp_path)[name]
    plane = {key: np.array(value) for key, value in view["plane"].items()}
    row, column = view["point"]
    point = plane["origin_mm_lps"] + row * plane["row_step_mm_lps"] + column * plane["column_step_mm_lps"]
    np.testing.assert_allclose(point, KEY_MM, atol=0.2)


@pytest.mark.parametrize(("name", "axis", "at_c2"), [("sagittal", 1, 4.0), ("coronal", 0, 2.0)])
def test_an_overview_has_each_level_at_the_height_and_place_of_its_centre(tmp_path: Path, name, axis, at_c2):
    heights, across = written(tmp_path / "z")[name], written(tmp_path / "other", axis)[name]
    for label, z_mm in zip(heights["labels"], (160.0, 140.0), strict=True):
        row, column = round(label["row"]), round(label["column"])
        assert heights["pixels"][row, column] == pytest.approx(10 * z_mm, abs=6)
        assert across["pixels"][row, column] == pytest.approx(10 * at_c2, abs=6)
    assert heights["pixels"][0, 50] > heights["pixels"][-1, 50]  # superior is up
    inside = across["pixels"][40]
    assert inside[60] < inside[80]  # towards posterior, towards the left of the patient


def test_without_a_placed_level_there_is_no_view(tmp_path: Path):
    assert write_views(volume_along(0), MASK, FINDINGS[2:], tmp_path / "none") is None
    assert not (tmp_path / "none").exists()
