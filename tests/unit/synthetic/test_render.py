import sys

import numpy as np
import pytest
import scipy.fft

from inference.synthetic import Grid, build_anatomy, draw_spec, make_phantom, render
from inference.synthetic.scanner import _noise_filter
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


def test_slabs_and_threads_do_not_show(monkeypatch):
    anatomy = neck(3)
    grid = window(anatomy, "C4", size_mm=(40, 40, 24), spacing_mm=1.0)
    whole = render(anatomy, grid)
    monkeypatch.setattr(sys.modules["inference.synthetic.render"], "_SLAB_VOXELS", 40 * 40 * 5)
    slabs = render(anatomy, grid, workers=2)
    assert np.mean(np.abs(whole.hu.astype(int) - slabs.hu) > 3) < 0.02
    assert np.mean(whole.labels != slabs.labels) < 1e-4


def test_a_coarse_grid_is_the_average_of_a_fine_one():
    anatomy = neck(3)
    fine = render(anatomy, window(anatomy, "C5", size_mm=32, spacing_mm=0.8), ideal=True).hu.astype(float)
    coarse = render(anatomy, window(anatomy, "C5", size_mm=32, spacing_mm=1.6), ideal=True).hu
    averaged = fine.reshape(20, 2, 20, 2, 20, 2).mean(axis=(1, 3, 5))
    assert np.median(np.abs(averaged - coarse)) < 25
    assert abs(averaged.mean() - coarse.mean()) < 25


@pytest.mark.parametrize(
    ("kernel", "pixel_mm", "lags"), [("bone", 0.314, (0.46, -0.14, -0.10)), ("soft", 0.287, (0.81, 0.45, 0.11))]
)
def test_noise_has_the_measured_texture(kernel, pixel_mm, lags):
    white = np.random.default_rng(1).standard_normal((256, 256))
    noise = scipy.fft.irfft2(scipy.fft.rfft2(white) * _noise_filter(kernel, pixel_mm, 256, 256, pixel_mm, pixel_mm))
    noise -= noise.mean()
    correlation = [float((noise[:, :-k] * noise[:, k:]).mean() / noise.var()) for k in (1, 2, 3)]
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert correlation == pytest.approx(lags, abs=0.06)


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
