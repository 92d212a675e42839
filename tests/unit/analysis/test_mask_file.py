"""The mask on its way from the analysis to the results: a box on disk, the whole grid in the hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_node.analysis.mask_file import box_of, save_mask
from dicom_node.core.errors import EncodingInvalid
from dicom_node.results.seg import read_mask

AFFINE = np.array([[0.4, 0, 0, -80], [0, 0.4, 0, -90], [0, 0, 0.7, 12], [0, 0, 0, 1.0]])


def test_the_mask_comes_back_whole_and_only_its_box_lies_on_the_disk(tmp_path: Path):
    mask = np.zeros((20, 64, 48), dtype=np.uint8)
    mask[3, 10, 47], mask[17, 40, 5], mask[8:11, 20:30, 20:30] = 1, 7, 4
    read = read_mask(save_mask(mask, AFFINE, tmp_path / "mask.npz"))
    assert np.array_equal(read.labels, mask)
    assert np.array_equal(read.affine_lps, AFFINE)
    with np.load(tmp_path / "mask.npz") as arrays:
        assert arrays["mask"].shape == (15, 31, 43)


def test_a_mask_with_nothing_in_it_comes_back_as_large_as_it_was(tmp_path: Path):
    assert box_of(np.zeros((4, 5, 6), dtype=np.uint8)) == (slice(0, 0),) * 3
    read = read_mask(save_mask(np.zeros((4, 5, 6), dtype=np.uint8), AFFINE, tmp_path / "mask.npz"))
    assert read.labels.shape == (4, 5, 6)
    assert not read.labels.any()


@pytest.mark.parametrize(
    "start_and_shape", [((3, 0, 0), (4, 5, 6)), ((-1, 0, 0), (4, 5, 6)), ((0, 0), (4, 5)), ((0, 0, 0), (4, 5, 5))]
)
def test_a_box_that_is_not_on_its_grid_is_refused(tmp_path: Path, start_and_shape):
    start, shape = start_and_shape
    np.savez(
        tmp_path / "mask.npz",
        mask=np.ones((2, 5, 6), dtype=np.uint8),
        affine_lps=AFFINE,
        start_zyx=start,
        shape_zyx=shape,
    )
    with pytest.raises(EncodingInvalid, match=r"mask\.npz"):
        read_mask(tmp_path / "mask.npz")


def test_a_mask_cut_short_on_its_way_is_refused(tmp_path: Path):
    file = save_mask(np.full((4, 5, 6), 2, dtype=np.uint8), AFFINE, tmp_path / "mask.npz")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(EncodingInvalid, match=r"mask\.npz"):
        read_mask(file)
