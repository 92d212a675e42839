"""Pictures: the right pixels at the right place, in true proportions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.core.errors import EncodingInvalid
from dicom_node.results import codes, pictures
from tests.builders.views import make_views

STRIP = 34  # heading above and notice below the image


def test_each_view_becomes_one_png_in_order(tmp_path: Path):
    files = pictures.write_pictures(make_views(tmp_path / "views"), tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [
        "pictures/sagittal.png",
        "pictures/key_C2.png",
    ]
    assert all(Image.open(file).format == "PNG" for file in files)


def test_anisotropic_pixels_are_drawn_in_true_proportions(tmp_path: Path):
    (file, *_) = pictures.write_pictures(make_views(tmp_path / "views", shape=(140, 80)), tmp_path)
    width, height = Image.open(file).size
    assert (height - 2 * STRIP) / width == pytest.approx(140 * 1.0 / (80 * 0.5), rel=0.01)


def test_each_level_is_rimmed_in_its_colour_just_outside_the_mask(tmp_path: Path):
    (file, *_) = pictures.write_pictures(make_views(tmp_path / "views"), tmp_path)
    pixels = np.asarray(Image.open(file).convert("RGB"))[STRIP:-STRIP]
    scale = pixels.shape[0] / 120
    for number, level in enumerate(codes.COLOURS, 1):
        rows, columns = np.nonzero((pixels == codes.COLOURS[level].rgb).all(axis=-1))
        middle = round((number - 0.5) * 120 / 7)
        assert rows.min() / scale == pytest.approx(middle - 5, abs=1)
        assert (rows.max() + 1) / scale == pytest.approx(middle + 6, abs=1)
        assert columns.min() / (pixels.shape[1] / 80) == pytest.approx(32, abs=1)


def test_the_bone_window_spreads_500_below_to_1300_above_water():
    grey = pictures._grey(np.array([[-1024, -500, 400, 1300, 3000]], np.int16))
    assert grey.tolist() == [[0, 0, 127, 255, 255]]


def test_the_marker_rings_the_point_and_leaves_it_free(tmp_path: Path):
    (_, file) = pictures.write_pictures(make_views(tmp_path / "views"), tmp_path)
    pixels = np.asarray(Image.open(file).convert("RGB"))[STRIP:-STRIP].astype(int)
    scale = pixels.shape[0] / 60
    row, column = 20.5 * scale, 30.5 * scale
    radius = 7.0 / 0.4 * scale
    assert (pixels[round(row), round(column + radius) - 3 : round(column + radius) + 3].min(axis=-1) > 240).any()
    near = pixels[round(row) - 3 : round(row) + 3, round(column) - 3 : round(column) + 3]
    assert not (near.min(axis=-1) > 240).any()


def test_the_notice_stands_on_the_picture(tmp_path: Path):
    (view, *_) = pictures.read_views(make_views(tmp_path / "views"))
    one, other = (
        np.asarray(pictures.draw_view(view, notice=codes.notice(trained_on))) for trained_on in ("synthetic data", "x")
    )
    assert (one[:-STRIP] == other[:-STRIP]).all()
    assert (one[-STRIP:] != other[-STRIP:]).any()


@pytest.mark.parametrize(
    "change",
    [{"name": "../escape"}, {"hu": "missing.npy"}, {"spacing_mm": []}, {"mask": "key_C2_mask.npy"}],
)
def test_views_that_are_not_as_agreed_are_refused(tmp_path: Path, change: dict):
    folder = make_views(tmp_path / "views")
    entries = json.loads((folder / "views.json").read_text())
    entries["views"][0] |= change
    (folder / "views.json").write_text(json.dumps(entries))
    with pytest.raises(EncodingInvalid, match="views of the analysis"):
        pictures.write_pictures(folder, tmp_path)
