import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from inference.synthetic import COVERAGES, LEVELS, build_anatomy, default_grid, draw_spec
from inference.synthetic.anatomy import SKULL_LABEL
from tests.unit.synthetic.necks import neck, picture

SPACING = 1.0
SEEDS = (1, 2)
# mm: mid-sagittal depth of the body, depth of the canal, front of the body to the spinous tip (mean of the literature)
SIZES = {"C4": (14.4, 15.5, 41.5), "C6": (15.4, 14.7, 48.5)}


def midline(seed, level):
    """Runs of bone and gap from front to back along the body's mid-plane, in mm: (body, canal, whole length)."""
    out = picture(neck(seed), level, size_mm=(8, 80, 16), spacing_mm=SPACING, behind_mm=14)
    bone = out.labels == LEVELS.index(level) + 1
    depth = np.flatnonzero(bone[8, :, 4])
    body = int(np.argmax(np.diff(depth) > 1)) + 1
    behind = np.flatnonzero(bone.any(axis=(0, 2)))
    rear = np.flatnonzero(bone[4:12, :, 4].any(axis=0))
    canal = rear[rear > depth[body - 1] + 5][0] - depth[body - 1] - 1
    return body * SPACING, canal * SPACING, (behind[-1] - behind[0] + 1) * SPACING


@pytest.mark.parametrize("level", sorted(SIZES))
def test_bodies_canals_and_processes_have_published_sizes(level):
    measured = np.mean([midline(seed, level) for seed in SEEDS], axis=0)
    assert measured == pytest.approx(SIZES[level], rel=0.14)


def test_vertebrae_never_touch():
    out = picture(
        neck(4, neck_turn_deg=12.0, head_turn_deg=25.0, lordosis_deg=30.0), "C3", size_mm=(56, 60, 84), spacing_mm=1.0
    )
    present = [n for n in range(1, 8) if (out.labels == n).sum() > 200]
    assert len(present) >= 5
    for n in present:
        around = binary_dilation(out.labels == n) & (out.labels != n)
        assert not np.any(out.labels[around]), f"C{n} touches {np.unique(out.labels[around])}"


def test_levels_descend_and_the_skull_is_no_vertebra():
    centres = neck(2).centres_lps_mm
    assert np.all(np.diff([centres[lv][2] for lv in (*LEVELS, "T1")]) < -9)
    assert {b.name: b.label for b in neck(2).bones}["skull"] == SKULL_LABEL


@pytest.mark.parametrize("coverage", COVERAGES)
def test_a_coverage_contains_what_it_claims(coverage):
    spec = draw_spec(8, coverage=coverage, cut_top=0.6, cut_bottom=0.6)
    anatomy = build_anatomy(spec)
    grid = default_grid(spec, anatomy)
    low = grid.affine_lps[2, 3]
    high = low + (grid.shape_zyx[0] - 1) * spec.scanner.spacing_mm
    inside = {lv for lv in LEVELS if low <= anatomy.centres_lps_mm[lv][2] <= high}
    none, top = set(), {"C1", "C2"}
    assert inside == {"chest": none, "abdomen": none}.get(coverage, inside)
    assert (top if coverage == "head" else set(LEVELS) if coverage not in ("chest", "abdomen") else none) <= inside
