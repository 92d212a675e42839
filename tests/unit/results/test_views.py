"""What the analysis left for pictures is read back as agreed, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core.errors import EncodingInvalid
from dicom_node.results.views import Plane, read_views
from tests.builders.views import make_views


def test_the_points_of_a_plane_lie_where_its_steps_lead():
    plane = Plane(
        origin_mm=np.array([1.0, 2.0, 3.0]),
        row_step_mm=np.array([0.0, 0.0, -0.5]),
        column_step_mm=np.array([0.0, 0.4, 0.0]),
    )
    points = plane.points_mm((3, 4))
    assert points.shape == (3, 4, 3)
    np.testing.assert_allclose(points[2, 3], [1.0, 3.2, 2.0])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../escape"},
        {"hu": "missing.npy"},
        {"spacing_mm": []},
        {"mask": "key_C2_mask.npy"},
        {"plane": {"origin_mm_lps": [0, 0, 0], "row_step_mm_lps": [0, 1], "column_step_mm_lps": [1, 0, 0]}},
        {"plane": {"origin_mm_lps": [0, 0, 0]}},
    ],
)
def test_views_that_are_not_as_agreed_are_refused(tmp_path: Path, change: dict):
    folder = make_views(tmp_path / "views")
    entries = json.loads((folder / "views.json").read_text())
    entries["views"][0] |= change
    (folder / "views.json").write_text(json.dumps(entries))
    with pytest.raises(EncodingInvalid, match="views of the analysis"):
        read_views(folder)


def test_a_folder_without_views_is_refused(tmp_path: Path):
    with pytest.raises(EncodingInvalid, match="views of the analysis"):
        read_views(tmp_path)
