"""Crops hold the neck, stay bounded, and end where the scan ends."""

import numpy as np
import pytest

from inference.dataset.crop import MARGIN_MM_XYZ, UNKNOWN_MM_XYZ, around_bone, around_levels
from inference.volume import Volume

SPACING = (4.0, 4.0, 4.0)


def person(*, bone=True):
    """Head, neck, chest at 4 mm, feet first: the neck is narrow and its spine lies behind and left of the middle."""
    hu = np.full((120, 60, 60), -1000, np.int16)
    hu[:50, 5:55, 2:58] = 30
    hu[50:80, 20:45, 20:45] = 30
    hu[80:110, 10:50, 10:50] = 30
    if bone:
        hu[:100, 36:42, 30:36] = 600
        hu[90:108, 12:48, 12:14] = 900
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-100.0, -120.0, 1000.0)
    return Volume(hu=hu, affine_lps=affine)


def test_the_crop_around_bone_is_bounded_and_holds_the_neck_and_its_spine():
    grid = around_bone(person(), SPACING)
    low, high = grid.to_lps_mm(np.zeros(3)), grid.to_lps_mm(np.array(grid.shape_zyx) - 1)
    assert np.all(high - low <= UNKNOWN_MM_XYZ)
    assert low[2] <= 1000 + 52 * 4
    assert high[2] >= 1000 + 78 * 4
    assert low[0] < -100 + 30 * 4 < -100 + 36 * 4 < high[0]
    assert low[1] < -120 + 36 * 4 < -120 + 42 * 4 < high[1]


def test_a_volume_without_bone_has_no_crop():
    with pytest.raises(ValueError, match="no bone"):
        around_bone(person(bone=False), SPACING)


def test_the_crop_around_levels_has_its_margin_and_ends_with_the_scan():
    volume = person()
    low, high = np.array([0.0, 20.0, 1100.0]), np.array([40.0, 60.0, 1474.0])
    grid = around_levels((low, high), volume, (1.0, 1.0, 1.0))
    assert grid.origin_lps_mm == pytest.approx(low - MARGIN_MM_XYZ)
    last = grid.to_lps_mm(np.array(grid.shape_zyx) - 1)
    assert last == pytest.approx([52.0, 72.0, 1476.0])


def test_levels_outside_the_scan_have_no_crop():
    with pytest.raises(ValueError, match="holds nothing"):
        around_levels((np.full(3, 5000.0), np.full(3, 5050.0)), person(), SPACING)
