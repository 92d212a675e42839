import sys

import numpy as np
import pytest
import scipy.fft

from inference.synthetic import Grid, build_anatomy, draw_spec, make_phantom, render
from inference.synthetic.ct_noise import KERNEL_SPECTRA, noise_filter, slice_taps
from inference.synthetic.slices import slice_profile
from tests.unit.synthetic.necks import neck, window


def test_the_same_seed_gives_the_same_voxels():
    one, two = (render(build_anatomy(draw_spec(9, coverage="cspine")), Grid.around((0, 0, 0), 1, 1)) for _ in range(2))
    assert np.array_equal(one.hu, two.hu)
    anatomy = neck(9)
    grid = window(anatomy, "C3", size_mm=40, spacing_mm=2.0)
    again = render(build_anatomy(anatomy.spec), grid)
    first = render(anatomy, grid)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)


@pytest.mark.parametrize("spacing_zyx", [(1.0, 1.0, 1.0), (2.0, 0.9, 0.9)])
def test_slabs_and_threads_do_not_show(monkeypatch, spacing_zyx):
    anatomy = neck(3)
    nz, ny, nx = (round(n / s) for n, s in zip((24, 36, 36), spacing_zyx, strict=True))
    affine = np.diag([*spacing_zyx[::-1], 1.0])
    affine[:3, 3] = np.array(anatomy.centres_lps_mm["C4"]) - 0.5 * affine[:3, :3] @ np.array([nx, ny, nz])
    grid = Grid(shape_zyx=(nz, ny, nx), affine_lps=affine)
    whole = render(anatomy, grid)
    monkeypatch.setattr(sys.modules["inference.synthetic.render"], "_SLAB_VOXELS", ny * nx * 8)
    slabs = render(anatomy, grid, workers=2)
    # A voxel or two lie on a crease of a distance field, where the last bit of a float decides.
    assert np.mean(np.abs(whole.hu.astype(int) - slabs.hu) > 1) < 1e-4
    assert np.mean(whole.labels != slabs.labels) < 1e-4
    assert np.mean(np.abs(whole.bone_share.astype(int) - slabs.bone_share) > 1) < 1e-4


def test_a_coarse_grid_is_the_average_of_a_fine_one():
    anatomy = neck(3)
    fine = render(anatomy, window(anatomy, "C5", size_mm=32, spacing_mm=0.8), ideal=True).hu.astype(float)
    coarse = render(anatomy, window(anatomy, "C5", size_mm=32, spacing_mm=1.6), ideal=True).hu
    averaged = fine.reshape(20, 2, 20, 2, 20, 2).mean(axis=(1, 3, 5))
    assert np.median(np.abs(averaged - coarse)) < 25
    assert abs(averaged.mean() - coarse.mean()) < 25


@pytest.mark.parametrize(
    ("texture", "pixel_mm", "lags"),
    [
        ("bone", 0.314, (0.46, -0.14, -0.10, 0.04)),
        ("bone-flat", 0.355, (0.35, -0.12, -0.05, -0.07)),
        ("bone-sharp", 0.332, (0.42, -0.22, -0.21, -0.05)),
        ("bone-smooth", 0.301, (0.66, 0.18, -0.07, -0.18)),
        ("soft", 0.287, (0.81, 0.45, 0.11, -0.08)),
    ],
)
def test_each_kernels_noise_has_the_texture_measured_on_a_public_slice(texture, pixel_mm, lags):
    white = np.random.default_rng(1).standard_normal((256, 256))
    shape = noise_filter(*KERNEL_SPECTRA[texture], pixel_mm, 256, 256, pixel_mm, pixel_mm)
    noise = scipy.fft.irfft2(scipy.fft.rfft2(white) * shape)
    noise -= noise.mean()
    correlation = [float((noise[:, :-k] * noise[:, k:]).mean() / noise.var()) for k in (1, 2, 3, 4)]
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert correlation == pytest.approx(lags, abs=0.09)


@pytest.mark.parametrize(
    ("thickness_mm", "spacing_mm", "first_two_lags"),
    [(0.6, 1.2, (0, 0)), (0.6, 0.4, (0.37, 0.0)), (1.0, 0.5, (0.556, 0.056)), (3.0, 1.0, (0.741, 0.370))],
)
def test_slices_share_noise_as_far_as_they_overlap(thickness_mm, spacing_mm, first_two_lags):
    taps = np.array([*slice_taps(thickness_mm, spacing_mm), 0, 0])
    assert (taps**2).sum() == pytest.approx(1)
    assert [(taps[k:] * taps[:-k]).sum() for k in (1, 2)] == pytest.approx(first_two_lags, abs=0.01)


@pytest.mark.parametrize(
    ("spacing_mm", "thickness_mm", "thin_slices"), [(0.7, 0.7, 1), (0.5, 1.0, 1), (3.0, 3.0, 4), (1.5, 3.0, 2)]
)
def test_a_slice_weighs_what_lies_within_its_thickness(spacing_mm, thickness_mm, thin_slices):
    profile = slice_profile(np.array([spacing_mm, 0.35, 0.35]), thickness_mm)
    weights = np.array(profile.weights)
    assert profile.per_slice == thin_slices
    assert weights.sum() == pytest.approx(1)
    assert weights == pytest.approx(weights[::-1])
    assert len(weights) * spacing_mm / thin_slices >= thickness_mm - 1e-6


def test_a_thick_slice_is_the_average_of_the_thin_ones_it_holds():
    anatomy = neck(3)
    frame = np.diag([0.7, 0.7, 3.0, 1.0])
    frame[:3, 3] = np.array(anatomy.centres_lps_mm["C5"]) - (12, 8, 0)
    thick = render(anatomy, Grid(shape_zyx=(1, 34, 34), affine_lps=frame), ideal=True)
    thin = frame.copy()
    thin[2, 2], thin[2, 3] = 0.5, frame[2, 3] - 1.25
    fine = render(anatomy, Grid(shape_zyx=(6, 34, 34), affine_lps=thin), ideal=True)
    gap = np.abs(fine.hu.mean(axis=0) - thick.hu[0])
    assert np.median(gap) < 12
    assert gap.mean() < 30
    centre_alone = np.abs(fine.hu[2:4].mean(axis=0) - thick.hu[0])
    assert gap.mean() < 0.7 * centre_alone.mean()
    assert np.mean(np.abs(fine.bone_share.mean(axis=0) - thick.bone_share[0]) > 60) < 0.03


def test_truth_names_level_kind_place_and_presence():
    from inference.synthetic import Fracture

    spec = draw_spec(
        2, fractures=(Fracture(level="C4", kind="burst", severity=0.7),), decoys=(), coverage="cspine", slices=20
    )
    anatomy = build_anatomy(spec)
    centre = anatomy.centres_lps_mm["C4"]
    phantom = make_phantom(spec, grid=Grid.around(centre, (60, 70, 44), 2.0))
    by_level = {v["level"]: v for v in phantom.truth["levels"]}
    assert by_level["C4"]["fractured"]
    assert by_level["C4"]["fractures"] == [{"kind": "burst", "severity": 0.7}]
    low, high = by_level["C4"]["fracture_box"]["lps_mm"]
    assert np.all(np.array(low) <= np.array(centre) + 6)
    assert np.all(np.array(high) >= np.array(centre) - 6)
    assert by_level["C1"]["status"] == "absent"
    assert phantom.truth["any_fracture"]


def test_a_level_that_the_reconstruction_circle_cuts_is_not_complete():
    found = {}
    for circle in (True, False):
        spec = draw_spec(3, fractures=(), decoys=(), coverage="cspine", scanner={"circle": circle, "motion_mm": 0.0})
        # The square holds all of the vertebra, the circle inside it does not hold the spinous process.
        x, y, z = neck(3).centres_lps_mm["C4"]
        phantom = make_phantom(spec, grid=Grid.around((x + 33, y - 21, z), (126, 126, 70), 2.0))
        found[circle] = phantom.truth["levels"][3]["status"]
    assert found == {True: "partial", False: "complete"}
