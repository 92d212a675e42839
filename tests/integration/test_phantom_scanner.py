"""Noise and streaks of rendered studies beside what was measured on public CT slices, with the same blocks."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from inference.synthetic import Grid, build_anatomy, draw_spec, render

BLOCK = 9
WINDOW = 17
KERNELS = {
    # noise_sd, f0, power, pixel mm; as public slices 13203 (bone), 5482 (smoother bone) and a B30s.
    "bone": (92.0, 1.01, 3.27, 0.314),
    "bone-smooth": (36.0, 0.60, 1.94, 0.301),
    "soft": (14.0, 0.43, 1.62, 0.287),
    # The slice at the shoulders, 21684, has a kernel and pixels of its own.
    "shoulders": (85.0, 0.97, 2.84, 0.371),
}


def neck_slices(texture, *, level="C4", pixel_mm=None, slices=6, spacing_mm=0.6, slice_mm=0.6, **scanner):
    """Slices about a level with the scanner's noise, and the same without."""
    sd, f0, power, pixel = KERNELS[texture]
    kernel = "soft" if texture == "soft" else "bone"
    settings = {
        "kernel": kernel,
        "noise_sd": sd,
        "noise_f0_per_mm": f0,
        "noise_power": power,
        "pixel_mm": pixel,
        "slice_mm": slice_mm,
        "spacing_mm": spacing_mm,
        "overshoot": 0.5 if kernel == "bone" else 0.0,
        "psf_mm": 0.28 if kernel == "bone" else 0.5,
        "shoulder_streaks": 1.0,
        "motion_mm": 0.0,
        "cupping_hu": 10.0,
        "tilt_deg": 0.0,
    }
    spec = draw_spec(
        5, coverage="neck", fractures=(), decoys=(), collar="", tube="", metal_teeth=0, scanner=settings | scanner
    )
    anatomy = build_anatomy(spec)
    size = (300 * pixel, 300 * pixel, slices * spacing_mm)
    behind = np.add(anatomy.centres_lps_mm[level], (0, 12, 0))
    grid = Grid.around(behind, size, (pixel, pixel, spacing_mm))
    return render(anatomy, grid, workers=2).hu.astype(float), render(anatomy, grid, ideal=True).hu.astype(float)


def flat_windows(ideal, size):
    """Corners (z, y, x) of windows that hold nothing but muscle, far from an edge."""
    soft = (ideal > 15) & (ideal < 95)
    out = []
    for k, plane in enumerate(soft):
        inner = binary_erosion(plane, np.ones((3, 3)))
        out += [
            (k, y, x)
            for y in range(0, plane.shape[0] - size, size)
            for x in range(0, plane.shape[1] - size, size)
            if inner[y : y + size, x : x + size].all()
        ]
    return out


def block_sd(hu, ideal):
    """Median SD of 9 x 9 blocks in muscle, HU."""
    where = flat_windows(ideal, BLOCK)
    assert len(where) > 60
    return float(np.median([hu[k, y : y + BLOCK, x : x + BLOCK].std() for k, y, x in where]))


def autocorrelation(hu, ideal, axis, lags=4):
    """Of the noise in muscle along x (axis 1) or y (axis 0), lags 1 to 4 in pixels."""
    where = flat_windows(ideal, WINDOW)
    assert len(where) > 15
    products, power = np.zeros(lags), 0.0
    for k, y, x in where:
        noise = hu[k, y : y + WINDOW, x : x + WINDOW] - ideal[k, y : y + WINDOW, x : x + WINDOW]
        noise = noise - noise.mean()
        noise = noise if axis else noise.T
        power += float((noise**2).mean())
        products += [float((noise[:, lag:] * noise[:, :-lag]).mean()) for lag in range(1, lags + 1)]
    return products / power


@pytest.fixture(scope="module")
def bone():
    return neck_slices("bone")


def test_bone_kernel_noise_is_as_on_public_slices(bone):
    hu, ideal = bone
    assert 79 <= block_sd(hu, ideal) <= 142
    lag = autocorrelation(hu, ideal, 1)
    assert 0.35 - 0.08 <= lag[0] <= 0.46 + 0.08
    assert -0.22 - 0.08 <= lag[1] <= -0.12 + 0.08
    assert -0.21 - 0.08 <= lag[2] <= -0.05 + 0.08
    assert autocorrelation(hu, ideal, 0)[:2] == pytest.approx(lag[:2], abs=0.12)


def test_smooth_bone_and_soft_kernels_noise_are_as_on_public_slices():
    hu, ideal = neck_slices("bone-smooth")
    assert 26 <= block_sd(hu, ideal) <= 42
    assert autocorrelation(hu, ideal, 1)[:2] == pytest.approx([0.66, 0.18], abs=0.1)
    hu, ideal = neck_slices("soft")
    assert 8 <= block_sd(hu, ideal) <= 15
    assert autocorrelation(hu, ideal, 1) == pytest.approx([0.81, 0.45, 0.11, -0.08], abs=0.1)


def test_between_the_shoulders_noise_is_stronger_and_lies_along_the_horizontal():
    hu, ideal = neck_slices("shoulders", level="T1")
    assert 1.4 <= block_sd(hu, ideal) / block_sd(*neck_slices("shoulders")) <= 2.0
    along, across = autocorrelation(hu, ideal, 1), autocorrelation(hu, ideal, 0)
    assert along == pytest.approx([0.60, 0.20, 0.16, 0.15], abs=0.1)
    assert across[:2] == pytest.approx([0.09, -0.32], abs=0.13)


@pytest.mark.parametrize(("slice_mm", "spacing_mm", "shared"), [(0.6, 0.6, 0.056), (1.0, 0.5, 0.556)])
def test_neighbouring_slices_share_noise_only_where_they_overlap(slice_mm, spacing_mm, shared):
    hu, ideal = neck_slices("bone", slice_mm=slice_mm, spacing_mm=spacing_mm)
    muscle = binary_erosion(np.all((ideal > 15) & (ideal < 95), axis=0), np.ones((9, 9)))
    pairs = [np.corrcoef(hu[k][muscle] - ideal[k][muscle], hu[k + 1][muscle] - ideal[k + 1][muscle]) for k in range(5)]
    assert np.mean([p[0, 1] for p in pairs]) == pytest.approx(shared, abs=0.1)


def test_thicker_slices_are_less_noisy():
    thin = neck_slices("bone", slices=4)
    thick = neck_slices("bone", slices=4, spacing_mm=1.2)
    assert block_sd(*thick) / block_sd(*thin) == pytest.approx(np.sqrt(0.5), abs=0.12)


def person(**overrides):
    """The anatomy of one person in a field of view of 200 mm."""
    return build_anatomy(
        draw_spec(5, coverage="cspine", fractures=(), decoys=(), fov_mm=200.0, matrix=160, **overrides)
    )


def slice_through(anatomy, z_mm, *, ideal):
    """HU [y, x] of one slice of 200 mm about the neck."""
    x, y, _ = anatomy.curve.frames["C4"][:3, 3]
    grid = Grid.around((x, y - 15, z_mm), (200.0, 200.0, 0.8), (1.25, 1.25, 0.8))
    return render(anatomy, grid, ideal=ideal).hu[0].astype(float)


def test_metal_throws_dark_and_bright_streaks_across_its_own_slices_only():
    scanner = {"noise_sd": 0.5, "shoulder_streaks": 0.0, "cupping_hu": 0.0, "dental_streaks": 1.0, "overshoot": 0.0}
    scanner |= {"psf_mm": 0.01, "motion_mm": 0.0, "slice_mm": 0.8}
    anatomy = person(metal_teeth=4, missing_teeth=0.0, scanner=scanner)
    z = float(np.median(anatomy.metal_lps_mm[:, 2]))
    ideal = slice_through(anatomy, z, ideal=True)
    change = (slice_through(anatomy, z, ideal=False) - ideal)[(ideal > -200) & (ideal < 300)]
    assert np.percentile(change, 1) < -80
    assert np.percentile(change, 99) > 80
    away = z - 40
    ideal = slice_through(anatomy, away, ideal=True)
    change = (slice_through(anatomy, away, ideal=False) - ideal)[(ideal > 20) & (ideal < 90)]
    assert np.percentile(np.abs(change), 99) < 15


@pytest.mark.parametrize(("collar", "low_hu", "high_hu"), [("hard", 0, 150), ("soft", -900, -800)])
def test_a_collar_stands_about_the_neck_off_its_skin(collar, low_hu, high_hu):
    bare = person(collar="", tube="")
    worn = person(collar=collar, tube="")
    z = worn.centres_lps_mm["C5"][2]
    without, with_it = (slice_through(a, z, ideal=True) for a in (bare, worn))
    added = with_it - without > 60
    assert np.all(without[added] < -400)
    inside = added & (with_it > low_hu) & (with_it < high_hu)
    assert inside.sum() > 300
    rows, columns = np.nonzero(inside)
    assert np.ptp(rows) > 60
    assert np.ptp(columns) > 60


def test_a_wedge_of_the_shoulders_spares_the_upper_neck():
    settings = {"shoulder_streaks": 1.4, "motion_mm": 0.0}
    anatomy = person(metal_teeth=0, kernel="bone", scanner=settings)
    ratio = []
    for level in ("C2", "T1"):
        z = anatomy.centres_lps_mm[level][2]
        ideal = slice_through(anatomy, z, ideal=True)
        noise = slice_through(anatomy, z, ideal=False) - ideal
        soft = binary_erosion((ideal > 15) & (ideal < 95), np.ones((3, 3)))
        along = noise[:, 1:] - noise[:, :-1]
        across = noise[1:] - noise[:-1]
        ratio.append(across[:, 1:][soft[1:, 1:]].std() / along[1:][soft[1:, 1:]].std())
    assert ratio[0] == pytest.approx(1.0, abs=0.12)
    assert ratio[1] > 1.25
