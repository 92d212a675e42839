"""Pictures: the right pixels at the right place, in true proportions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.results import codes, drawing, pictures
from dicom_node.results.suspicion import BANDS, SuspicionMap
from dicom_node.results.views import Plane, View, read_views
from dicom_node.results.words import Words
from tests.builders.views import make_views

STRIP = drawing.STRIP_PX  # heading above and notice below the image
CAPTIONS = pictures.Captions(words=Words(), notice="a notice", positive=frozenset({"C2"}), images={12: 7})


@pytest.fixture
def views(tmp_path: Path) -> tuple[View, ...]:
    return read_views(make_views(tmp_path / "views"))


def pixels_of(view: View, found: SuspicionMap | None = None, captions: pictures.Captions = CAPTIONS) -> np.ndarray:
    """The picture between its strips."""
    return np.asarray(pictures.draw_view(view, found, captions))[STRIP:-STRIP].astype(int)


def is_coloured(pixels: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    return (pixels == rgb).all(axis=-1)


def map_around(point_mm: tuple[float, float, float]) -> SuspicionMap:
    """A 1 mm grid that falls from 0.8 at the point to nothing 8 mm away."""
    steps = np.stack(np.meshgrid(*(np.arange(21) - 10.0,) * 3, indexing="ij"))
    affine = np.eye(4)
    affine[:3, 3] = np.array(point_mm) - 10
    values = 0.8 * np.clip(1 - np.linalg.norm(steps, axis=0) / 8, 0, 1)
    return SuspicionMap(values=values.astype(np.float32), affine_lps=affine)


def test_each_view_becomes_one_png_in_order(views, tmp_path: Path):
    files = pictures.save_pictures(pictures.draw_pictures(views, {}, CAPTIONS), tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [
        "pictures/sagittal.png",
        "pictures/key_C2.png",
    ]
    assert all(Image.open(file).format == "PNG" for file in files)


def test_the_same_view_gives_the_same_pixels(views):
    for view in views:
        np.testing.assert_array_equal(pixels_of(view), pixels_of(view))


def test_anisotropic_pixels_are_drawn_in_true_proportions(tmp_path: Path):
    view, *_ = read_views(make_views(tmp_path / "views", shape=(140, 80)))
    height, width, _ = pixels_of(view).shape
    assert height / width == pytest.approx(140 * 1.0 / (80 * 0.5), rel=0.01)


def test_each_level_is_rimmed_in_its_colour_just_outside_the_mask(views):
    pixels = pixels_of(views[0])
    scale = pixels.shape[0] / 120
    for number, level in enumerate(codes.COLOURS, 1):
        rows, columns = np.nonzero(is_coloured(pixels, codes.COLOURS[level].rgb))
        middle = round((number - 0.5) * 120 / 7)
        assert rows.min() / scale == pytest.approx(middle - 5, abs=1)
        assert (rows.max() + 1) / scale == pytest.approx(middle + 6, abs=1)
        assert columns.min() / (pixels.shape[1] / 80) == pytest.approx(32, abs=1)


def test_the_names_of_levels_stand_beside_the_bone_and_overlap_nothing(views):
    plain = dataclasses.replace(views[0], labels=())
    changed = (pixels_of(views[0]) != pixels_of(plain)).any(axis=-1)
    columns = np.nonzero(changed)[1]
    scale = changed.shape[1] / 80
    assert columns.max() < 32 * scale  # the masks begin there
    written = np.flatnonzero(changed.any(axis=1))
    assert np.count_nonzero(np.diff(written) > 1) == 6  # seven names, each with rows of its own


def test_the_name_of_a_level_at_the_edge_stays_whole_in_the_picture(views):
    middle, edge = (dataclasses.replace(views[0], labels=(("C2", 30.0, column),)) for column in (79.0, 5.0))
    framed = [np.count_nonzero(is_coloured(pixels_of(view), BANDS[-1].rgb)) for view in (middle, edge)]
    assert framed[1] == framed[0] > 0


def test_only_a_suspicious_level_is_framed(views):
    none = dataclasses.replace(CAPTIONS, positive=frozenset())
    assert is_coloured(pixels_of(views[0]), BANDS[-1].rgb).any()
    assert not is_coloured(pixels_of(views[0], captions=none), BANDS[-1].rgb).any()


def test_the_bone_window_spreads_500_below_to_1300_above_water():
    grey = pictures._grey(np.array([[-1024, -500, 400, 1300, 3000]], np.int16))
    assert grey.tolist() == [[0, 0, 127, 255, 255]]


def test_without_a_map_a_ring_marks_the_point_and_leaves_it_free(views):
    pixels = pixels_of(views[1])
    scale = pixels.shape[0] / 60
    row, column = 20.5 * scale, 30.5 * scale
    radius = 7.0 / 0.4 * scale
    assert (pixels[round(row), round(column + radius) - 3 : round(column + radius) + 3].min(axis=-1) > 240).any()
    near = pixels[round(row) - 3 : round(row) + 3, round(column) - 3 : round(column) + 3]
    assert not (near.min(axis=-1) > 240).any()


def flat(view: View) -> View:
    """The key slice at z = 50 mm, its first pixel at x = y = 0."""
    plane = Plane(
        origin_mm=np.array([0.0, 0.0, 50.0]),
        row_step_mm=np.array([0.0, 0.4, 0.0]),
        column_step_mm=np.array([0.4, 0.0, 0.0]),
    )
    return dataclasses.replace(view, plane=plane, mask=np.zeros_like(view.mask))


def test_the_suspected_region_is_rimmed_where_the_map_has_it(views):
    pixels = pixels_of(flat(views[1]), map_around((12.0, 8.0, 50.0)))
    px_per_mm = pixels.shape[0] / (60 * 0.4)
    upper = pixels[: round(17.5 * px_per_mm)]  # above the legend
    for band in BANDS:
        rows, columns = np.nonzero(is_coloured(upper, band.rgb))
        radius_mm = 8 * (1 - band.from_share)
        assert (rows.min() + rows.max()) / 2 / px_per_mm == pytest.approx(8.2, abs=0.5)
        assert (columns.min() + columns.max()) / 2 / px_per_mm == pytest.approx(12.2, abs=0.5)
        assert np.ptp(columns) / 2 / px_per_mm == pytest.approx(radius_mm, abs=0.8)


def test_the_bone_of_another_level_is_not_shown_as_suspected(views):
    view = flat(views[1])
    view.mask[:, 30:] = 5
    shares = pictures.shares_on(view, map_around((12.0, 8.0, 50.0)))
    assert shares[:, 30:].max() == 0
    assert shares[:, :30].max() > 0.9


def test_a_map_that_does_not_reach_the_slice_leaves_the_ring(views):
    far = pixels_of(flat(views[1]), map_around((12.0, 8.0, 500.0)))
    np.testing.assert_array_equal(far, pixels_of(flat(views[1])))


@pytest.mark.parametrize(
    ("step", "letters"),
    [((0.5, 0, 0), ("L", "R")), ((0, -0.5, 0.1), ("A", "P")), ((0, 0, -0.3), ("I", "S")), ((-1, 0.2, 0), ("R", "L"))],
)
def test_sides_are_named_for_where_the_steps_of_a_plane_go(step, letters):
    assert pictures._directions(np.array(step)) == letters


def test_the_heading_says_level_probability_and_the_image_that_readers_count(views):
    said = pictures._heading(views[1], CAPTIONS)
    assert said == "C2, fracture probability 91.0 %, axial, image 7, bone window 400/1800 HU"
    assert pictures._heading(views[0], CAPTIONS) == "Sagittal, bone window 400/1800 HU"


def test_the_notice_stands_on_the_picture(views):
    one, other = (
        np.asarray(pictures.draw_view(views[0], None, dataclasses.replace(CAPTIONS, notice=said)))
        for said in ("Trained on synthetic data", "x")
    )
    assert (one[:-STRIP] == other[:-STRIP]).all()
    assert (one[-STRIP:] != other[-STRIP:]).any()


def test_a_notice_longer_than_the_picture_is_written_smaller(views):
    captions = dataclasses.replace(CAPTIONS, notice="AI result, not a diagnosis. " * 2)
    image = np.asarray(pictures.draw_view(views[0], None, captions))
    inked = (image[-STRIP:] != drawing.STRIP).any(axis=-1)
    assert not inked[:, -8:].any()
