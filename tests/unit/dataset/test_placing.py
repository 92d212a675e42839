"""However an array is stored, its affine says where it lies."""

import gzip
import itertools
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from inference.dataset.errors import StudyUnusable
from inference.dataset.placing import (
    bounds_lps_mm,
    boxes_on_grid,
    carried,
    grid_around,
    mask_boxes,
    on_grid,
    smooth_on_grid,
)
from inference.dataset.rsna_study import read_segmentation
from inference.dataset.rsna_tables import PixelBox
from inference.preprocess import PatientGrid
from inference.synthetic.nifti import read_nifti, write_nifti
from inference.volume import Volume

AFFINE = np.array([[0.5, 0, 0, -3.0], [0, 0.5, 0, 7.0], [0, 0, 1.0, 100.0], [0, 0, 0, 1]])


def truth():
    """Every voxel of a corner blob differs from its mirror images: labels [z, y, x] on AFFINE."""
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[0, 1, 2], labels[3, 4, 5], labels[4, 0, 0] = 1, 7, 12
    return labels


def stored_as(order, flips):
    """The same labels with array axes in another order and direction, and their affine."""
    labels, affine = truth(), AFFINE.copy()
    for axis in range(3):
        if flips[axis]:
            labels = np.flip(labels, axis)
            column = 2 - axis
            affine[:3, 3] += affine[:3, column] * (labels.shape[axis] - 1)
            affine[:3, column] *= -1
    columns = [2 - axis for axis in order][::-1]
    return np.transpose(labels, order), affine[:, [*columns, 3]]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_a_mask_lies_the_same_in_all_48_ways_of_storing_it(tmp_path, order, flips):
    labels, affine = stored_as(order, flips)
    write_nifti(tmp_path / "m.nii", labels, affine)
    read = read_segmentation(tmp_path / "m.nii", "1.2")
    back = carried(read.labels, read.affine_lps, AFFINE, (5, 6, 7))
    assert np.array_equal(back, np.minimum(truth(), 8))


def test_a_sagittal_file_written_by_another_library_lies_on_the_slices(tmp_path):
    image = sitk.GetImageFromArray(truth())
    image.SetSpacing((0.5, 0.5, 1.0))
    image.SetOrigin((-3.0, 7.0, 100.0))
    sitk.WriteImage(sitk.DICOMOrient(image, "PIR"), str(tmp_path / "s.nii.gz"))
    stored, _ = read_nifti(tmp_path / "s.nii.gz")
    assert stored.shape == (7, 5, 6)
    read = read_segmentation(tmp_path / "s.nii.gz", "1.2")
    assert np.array_equal(carried(read.labels, read.affine_lps, AFFINE, (5, 6, 7)), np.minimum(truth(), 8))


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "PIR", "ASL", "SRP"])
def test_a_file_with_a_qform_alone_lies_where_its_sform_said(tmp_path, orientation):
    image = sitk.GetImageFromArray(truth())
    image.SetSpacing((0.5, 0.4, 1.0))
    image.SetOrigin((-3.0, 7.0, 100.0))
    image.SetDirection((0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1))
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(tmp_path / "s.nii"))
    by_sform = read_nifti(tmp_path / "s.nii")[1]
    raw = bytearray((tmp_path / "s.nii").read_bytes())
    assert struct.unpack_from("<hh", raw, 252)[0] > 0
    struct.pack_into("<h", raw, 254, 0)
    (tmp_path / "q.nii").write_bytes(raw)
    assert np.allclose(read_nifti(tmp_path / "q.nii")[1], by_sform, atol=1e-4)
    struct.pack_into("<h", raw, 252, 0)
    (tmp_path / "n.nii").write_bytes(raw)
    with pytest.raises(ValueError, match="neither sform nor qform"):
        read_nifti(tmp_path / "n.nii")


# Names of their own: a gzip stream holds the time, and two test workers must collect the same tests.
@pytest.mark.parametrize(
    "content",
    [b"", b"no" * 300, gzip.compress(b"no" * 300)[:-9]],
    ids=["empty", "no gzip", "cut off"],
)
def test_a_damaged_segmentation_is_the_studys_problem(tmp_path, content):
    path = tmp_path / ("m.nii.gz" if content[:2] == b"\x1f\x8b" else "m.nii")
    path.write_bytes(content)
    with pytest.raises(StudyUnusable, match=r"1\.2: the segmentation cannot be used"):
        read_segmentation(path, "1.2")


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_mask_of_doubles_is_read_and_one_with_values_that_are_no_labels_refused(tmp_path, value):
    labels = truth().astype(float)
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "d.nii"))
    assert np.array_equal(read_segmentation(tmp_path / "d.nii", "1.2").labels, np.minimum(truth(), 8))
    labels[1, 1, 1] = value
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "d.nii"))
    with pytest.raises(StudyUnusable, match="no labels"):
        read_segmentation(tmp_path / "d.nii", "1.2")


def test_labels_outside_their_source_are_background():
    grid = PatientGrid(origin_lps_mm=(-30.0, -70.0, 100.0), spacing_mm_zyx=(1.0, 1.0, 1.0), shape_zyx=(2, 2, 2))
    assert not on_grid(np.full((5, 6, 7), 3, np.uint8), AFFINE, grid).any()


def test_a_coarse_ball_comes_smooth_onto_a_fine_grid_and_touching_labels_leave_no_gap():
    def ball(affine, shape):
        index = np.moveaxis(np.indices(shape), 0, -1)[..., ::-1]
        points = index @ affine[:3, :3].T + affine[:3, 3]
        inside = np.linalg.norm(points, axis=-1) <= 8.0
        return np.where(inside, np.where(points[..., 0] < 0.1, 3, 4), 0).astype(np.uint8)

    coarse = np.diag([-1.0, 1.0, 1.0, 1.0])
    coarse[:3, 3] = (12.0, -12.0, -12.0)
    grid = PatientGrid(origin_lps_mm=(-10.0, -10.0, -10.0), spacing_mm_zyx=(0.4,) * 3, shape_zyx=(51, 51, 51))
    drawn = ball(coarse, (25, 25, 25))
    true = ball(grid.affine_lps(), grid.shape_zyx)
    smooth, blocky = smooth_on_grid(drawn, coarse, grid), on_grid(drawn, coarse, grid)
    assert (smooth != true).mean() < 0.8 * (blocky != true).mean()
    assert np.array_equal(np.unique(smooth), [0, 3, 4])
    assert (smooth[20:31, 20:31, 15:36] > 0).all()


def test_a_smooth_mask_beyond_the_grid_is_background():
    grid = PatientGrid(origin_lps_mm=(900.0, 0.0, 0.0), spacing_mm_zyx=(1.0, 1.0, 1.0), shape_zyx=(2, 2, 2))
    assert not smooth_on_grid(truth(), AFFINE, grid).any()


def test_the_bounds_of_a_mask_are_tight_under_a_gantrys_tilt():
    affine = AFFINE.copy()
    affine[1, 2] = 0.4
    where = truth() > 0
    centres = np.argwhere(where)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    low, high = bounds_lps_mm(where, affine)
    assert low == pytest.approx(centres.min(axis=0))
    assert high == pytest.approx(centres.max(axis=0))
    assert bounds_lps_mm(where & False, affine) is None


def volume(spacing_z=1.0, planes=5):
    affine = AFFINE.copy()
    affine[2, 2] = spacing_z
    return Volume(hu=np.zeros((planes, 40, 40), np.int16), affine_lps=affine)


def box(**changes):
    return PixelBox(**({"slice_number": 1, "x": 10.0, "y": 4.0, "width": 8.0, "height": 2.0} | changes))


def test_a_box_has_its_top_left_corner_where_the_table_says():
    grid = PatientGrid(origin_lps_mm=(-3.0, 7.0, 100.0), spacing_mm_zyx=(1.0, 0.25, 0.25), shape_zyx=(5, 80, 80))
    (found,) = boxes_on_grid([(3, box())], volume(), grid)
    # Pixels 10 to 17 across and 4 to 5 down: 5 mm to 9 mm, and 2 mm to 3 mm, from the first pixel's outer corner.
    assert found.z == 3
    assert ((found.x_low + 0.5) * 0.25 - 0.125 + 0.25, found.x_high - found.x_low) == pytest.approx((5.0, 16.0))
    assert ((found.y_low + 0.5) * 0.25 - 0.125 + 0.25, found.y_high - found.y_low) == pytest.approx((2.0, 4.0))


def test_a_box_of_a_thick_slice_stands_in_every_plane_that_the_slice_covers():
    grid = PatientGrid(origin_lps_mm=(-3.0, 7.0, 100.0), spacing_mm_zyx=(0.8, 0.5, 0.5), shape_zyx=(9, 40, 40))
    found = boxes_on_grid([(2, box())], volume(spacing_z=2.5, planes=3), grid)
    assert [b.z for b in found] == [5, 6, 7]


def test_boxes_of_thin_slices_that_share_a_plane_become_their_hull_and_none_is_lost():
    grid = PatientGrid(origin_lps_mm=(-3.0, 7.0, 100.0), spacing_mm_zyx=(0.8, 0.5, 0.5), shape_zyx=(4, 40, 40))
    thin = volume(spacing_z=0.4, planes=8)
    found = boxes_on_grid([(2, box()), (3, box(x=20.0))], thin, grid)
    assert {b.z for b in found} == {1, 2}
    assert next(b for b in found if b.z == 2).x_high == pytest.approx(27.5)
    assert [b.z for b in boxes_on_grid([(1, box())], thin, grid)] in ([0], [1], [0, 1])


def test_a_box_beyond_the_grid_is_cut_off_or_gone():
    grid = PatientGrid(origin_lps_mm=(-3.0, 7.0, 100.0), spacing_mm_zyx=(1.0, 0.5, 0.5), shape_zyx=(3, 40, 14))
    (found,) = boxes_on_grid([(1, box())], volume(), grid)
    assert (found.x_low, found.x_high) == (9.5, 13.5)
    assert boxes_on_grid([(1, box(x=30.0)), (4, box())], volume(), grid) == ()


def test_boxes_around_a_mask_hold_it_with_the_margin_in_each_plane():
    grid = PatientGrid(origin_lps_mm=(0.0, 0.0, 0.0), spacing_mm_zyx=(1.0, 0.5, 0.25), shape_zyx=(3, 20, 40))
    mask = np.zeros(grid.shape_zyx, bool)
    mask[1, 5:8, 20:25] = True
    (found,) = mask_boxes(mask, grid, 1.0)
    assert (found.z, found.y_low, found.y_high, found.x_low, found.x_high) == (1, 2.5, 9.5, 15.5, 28.5)


def test_a_grid_covers_its_box_and_refuses_one_without_extent():
    grid = grid_around(np.array([0.0, 0.0, 0.0]), np.array([4.5, 9.0, 8.0]), (0.8, 0.45, 0.45))
    assert grid.shape_zyx == (11, 21, 11)
    with pytest.raises(ValueError, match="holds nothing"):
        grid_around(np.zeros(3), np.array([1.0, 0.0, 1.0]), (1.0, 1.0, 1.0))
