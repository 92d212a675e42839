import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.preprocess import (
    AIR_HU,
    PatientGrid,
    grid_covering,
    localiser_input,
    sample_grid,
    sample_volume,
    shape_input,
)
from inference.volume import Volume

_GRADIENT = np.array([2.0, -1.0, 1.5])


def _around(centre_lps_mm: tuple[float, float, float], side: int, spacing_mm: float) -> PatientGrid:
    """A cube of `side` voxels about a point."""
    x, y, z = (float(c) - (side - 1) / 2 * spacing_mm for c in centre_lps_mm)
    return PatientGrid(origin_lps_mm=(x, y, z), spacing_mm_zyx=(spacing_mm,) * 3, shape_zyx=(side,) * 3)


def _tilted(tilt: float, spacing: tuple[float, float, float], shape: tuple[int, int, int] = (40, 60, 50)) -> Volume:
    """A volume with HU = 100 + gradient . LPS mm, on a grid whose columns lean by the tangent `tilt` in y."""
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    affine[1, 2] = tilt * spacing[0]
    affine[:3, 3] = (-12.0, -15.0, -20.0)
    blank = Volume(hu=np.zeros(shape, dtype=np.int16), affine_lps=affine)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    hu = 100 + blank.to_lps_mm(index) @ _GRADIENT
    return Volume(hu=np.round(hu).astype(np.int16), affine_lps=affine)


@settings(max_examples=15)
@given(
    tilt=st.floats(-0.3, 0.3),
    spacing=st.tuples(st.floats(0.5, 3.0), st.floats(0.3, 0.9), st.floats(0.3, 0.9)),
)
def test_resampling_keeps_every_point_where_it_is_in_the_patient(
    tilt: float, spacing: tuple[float, float, float]
) -> None:
    volume = _tilted(tilt, spacing)
    middle = volume.to_lps_mm((np.array(volume.hu.shape) - 1) / 2)
    size = float((np.array(volume.hu.shape) * volume.spacing_mm_zyx).min()) * 0.3
    grid = _around(middle, 5, size / 5)
    index = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1)
    expected = 100 + grid.to_lps_mm(index) @ _GRADIENT
    assert np.abs(sample_volume(volume, grid).numpy() - expected).max() < 0.8


def test_beyond_the_volume_there_is_air() -> None:
    volume = _tilted(0.0, (1.0, 0.5, 0.5))
    assert float(sample_volume(volume, _around((500.0, 0.0, 0.0), 4, 1.0)).max()) == AIR_HU


def test_the_covering_grid_reaches_within_one_voxel_of_every_corner() -> None:
    volume = _tilted(0.2, (1.0, 0.5, 0.5))
    grid = grid_covering(volume, 2.5)
    corners = np.array([[k, j, i] for k in (0, 39) for j in (0, 59) for i in (0, 49)], dtype=float)
    index = grid.to_index_zyx(volume.to_lps_mm(corners))
    assert index.min() > -0.51
    assert (index - (np.array(grid.shape_zyx) - 1)).max() < 0.51


def test_a_fine_slice_stripe_is_averaged_away_and_not_aliased() -> None:
    hu = np.zeros((64, 64, 64), dtype=np.int16)
    hu[:, :, ::2] = 1000
    volume = Volume(hu=hu, affine_lps=np.diag([0.5, 0.5, 0.5, 1.0]))
    sampled = sample_volume(volume, _around((16.0, 16.0, 16.0), 6, 2.0))
    assert float((sampled - 500).abs().max()) < 1.0


def test_one_patient_grid_seen_on_another_shows_the_same_place() -> None:
    source, target = _around((0.0, 0.0, 0.0), 9, 2.0), _around((2.0, 4.0, 0.0), 3, 1.0)
    array = torch.zeros(9, 9, 9)
    array[4, 6, 5] = 1.0  # 4 mm posterior, 2 mm left of the centre
    assert float(sample_grid(array, source, target)[1, 1, 1]) == pytest.approx(1.0, abs=1e-5)


def test_inputs_are_bounded_whatever_the_metal() -> None:
    hu = torch.tensor([-1024.0, 0.0, 32767.0]).reshape(1, 1, 3)
    assert localiser_input(hu).flatten().tolist() == [-1.0, 0.0, 1.5]
    channels = shape_input(hu, torch.zeros_like(hu), torch.ones_like(hu))
    assert channels.shape == (4, 1, 1, 3)
    assert float(channels.abs().max()) == 1.0
