"""The CT for the viewer: the neck alone, small enough, in its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from dicom_node.analysis import viewer_volume
from dicom_node.analysis.viewer_volume import viewer_grid, write_viewer_volume
from dicom_node.app.viewing import CT, HU_A_STEP, LOWEST_HU, read_grid
from inference.volume import Volume


def made(shape: tuple[int, int, int], spacing_zyx: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    affine = np.diag([*spacing_zyx[::-1], 1.0])
    affine[:3, 3] = (-50.0, -60.0, 10.0)
    volume = Volume(hu=np.full(shape, -1000, dtype=np.int16), affine_lps=affine)
    return volume, np.zeros(shape, dtype=np.uint8)


def test_the_neck_is_cut_out_with_a_margin_and_kept_as_fine_as_it_is(tmp_path: Path):
    volume, mask = made((40, 120, 120), (3.0, 1.0, 1.0))
    mask[15:20, 60:64, 58:70] = 3
    grid = viewer_grid(volume, mask)
    assert (grid.start_zyx, grid.step_zyx, grid.shape_zyx) == ((5, 10, 8), (1, 1, 1), (25, 104, 112))
    assert np.allclose(np.array(grid.affine_lps)[:3, 3], (-50.0 + 8, -60.0 + 10, 10.0 + 15))
    assert write_viewer_volume(volume, mask, tmp_path / "viewer") == tmp_path / "viewer"
    assert read_grid(tmp_path / "viewer") == grid


def test_what_is_too_much_is_thinned_to_blocks_that_lie_in_the_middle_of_their_voxels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(viewer_volume, "MOST_VOXELS", 20_000)
    volume, mask = made((20, 81, 81), (2.0, 0.7, 0.7))
    mask[8:12, 30:50, 30:50] = 1
    volume.hu[:, :, 40:] = 240
    grid = viewer_grid(volume, mask)
    assert grid.step_zyx == (1, 3, 3)
    assert grid.shape_zyx == (20, 27, 27)
    assert np.allclose(np.array(grid.affine_lps)[:3, 3], (-50.0 + 0.7, -60.0 + 0.7, 10.0))
    write_viewer_volume(volume, mask, tmp_path)
    values = np.frombuffer(gzip.decompress((tmp_path / CT).read_bytes())[352:], dtype=np.uint8).reshape(grid.shape_zyx)
    in_hu = values * float(HU_A_STEP) + LOWEST_HU
    assert (in_hu[:, :, :13] == LOWEST_HU).all(), "below what a byte can say is its lowest"
    assert np.allclose(in_hu[:, :, 14:], 240)


def test_nothing_marked_leaves_nothing(tmp_path: Path):
    volume, mask = made((4, 8, 8), (1.0, 1.0, 1.0))
    assert write_viewer_volume(volume, mask, tmp_path / "viewer") is None
    assert not (tmp_path / "viewer").exists()


def test_a_block_shows_the_mean_of_its_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(viewer_volume, "MOST_VOXELS", 500)
    volume, mask = made((8, 30, 30), (1.0, 1.0, 1.0))
    mask[3:5, 12:18, 12:18] = 2
    volume.hu[:] = np.random.default_rng(1).integers(-1000, 3000, volume.hu.shape)
    grid = viewer_grid(volume, mask)
    assert np.prod(grid.step_zyx) > 4
    write_viewer_volume(volume, mask, tmp_path)
    values = np.frombuffer(gzip.decompress((tmp_path / CT).read_bytes())[352:], dtype=np.uint8).reshape(grid.shape_zyx)
    (z, y, x), (dz, dy, dx) = grid.start_zyx, grid.step_zyx
    for place in ((0, 0, 0), tuple(n - 1 for n in grid.shape_zyx)):
        k, j, i = (first + at * step for first, at, step in zip((z, y, x), place, (dz, dy, dx), strict=True))
        mean = volume.hu[k : k + dz, j : j + dy, i : i + dx].mean()
        assert values[place] == np.clip(np.rint((mean - LOWEST_HU) / HU_A_STEP), 0, 255)
