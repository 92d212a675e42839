"""Every fracture and every decoy in voxels."""

import dataclasses

import numpy as np
import pytest

from inference.synthetic import DECOYS, FRACTURE_KINDS, LEVELS, Fracture, Grid, render
from inference.synthetic.gallery import FRACTURE_VIEWS
from inference.synthetic.site import is_hairline
from tests.unit.synthetic.necks import neck, picture, window

SEED = 6


def broken_and_whole(kind, level, severity, seed=SEED, spacing_mm=1.1):
    """Pictures of a fracture, and of the same posture without its lines and fragments."""
    anatomy = neck(seed, (Fracture(level=level, kind=kind, severity=severity),))
    size = (86.0, 76.0, 46.0) if level in ("C1", "C2", "C7") else (58.0, 70.0, 42.0)
    options = {"size_mm": size, "spacing_mm": spacing_mm, "behind_mm": 14.0 if level != "C1" else 2.0}
    return picture(anatomy, level, **options), picture(dataclasses.replace(anatomy, breaks={}), level, **options)


@pytest.mark.parametrize("kind", sorted(FRACTURE_KINDS))
def test_a_fracture_changes_its_own_vertebra_where_its_mask_says(kind):
    level = FRACTURE_VIEWS[kind].level
    number = LEVELS.index(level) + 1
    broken, whole = broken_and_whole(kind, level, 0.6)
    assert set(np.unique(broken.fracture_mask)) == {0, number}
    difference = np.abs(broken.hu.astype(float) - whole.hu)
    marked = broken.fracture_mask > 0
    own = (whole.labels == number) | (broken.labels == number)
    others = (whole.labels > 0) & ~own
    hairline = is_hairline(neck(SEED).spec, Fracture(level=level, kind=kind, severity=0.6))
    assert difference[marked].mean() > (50 if hairline else 150)
    # In a burst ring every piece moves, so that much of the bone changes.
    assert difference[marked].mean() > (1.4 if kind == "jefferson" else 2) * difference[own & ~marked].mean()
    assert difference[others].mean() < 12


@pytest.mark.parametrize("kind", sorted(FRACTURE_KINDS))
def test_every_fracture_leaves_a_mask_at_every_level_subtle_and_gross(kind):
    levels = FRACTURE_KINDS[kind]
    for level in levels:
        for severity in (0.05, 1.0) if level == levels[-1] else (0.05,):
            anatomy = neck(SEED + 1, (Fracture(level=level, kind=kind, severity=severity),))
            size = (86.0, 76.0, 50.0) if level in ("C1", "C2", "C7") else (62.0, 76.0, 46.0)
            grid = window(anatomy, level, size_mm=size, spacing_mm=1.8, behind_mm=14.0 if level != "C1" else 2.0)
            mask = render(anatomy, grid, ideal=True).fracture_mask
            assert (mask == LEVELS.index(level) + 1).sum() * 1.8**3 > 10.0
            assert set(np.unique(mask)) <= {0, LEVELS.index(level) + 1}


def test_a_gap_stays_dark_between_fragments():
    anatomy = neck(SEED, (Fracture(level="C7", kind="spinous", severity=0.9),))
    whole, broken = (
        picture(a, "C7", spacing_mm=0.8, size_mm=(20, 40, 36), behind_mm=34)
        for a in (dataclasses.replace(anatomy, breaks={}), anatomy)
    )
    gap = (broken.fracture_mask > 0) & (whole.labels == 7)
    assert np.percentile(broken.hu[gap], 20) < 100
    assert np.percentile(whole.hu[gap], 20) > 150


@pytest.mark.parametrize("kind", sorted(set(DECOYS) - {"motion"}))
def test_a_decoy_shows_where_its_truth_says_and_is_not_marked(kind):
    for seed in range(SEED, SEED + 4):
        anatomy = neck(seed, (), (kind,))
        if anatomy.decoys:
            break
    decoy = anatomy.decoys[0]
    assert decoy.kind == kind
    grid = Grid.around(decoy.centre_lps_mm, 36.0, 0.8)
    with_it = render(anatomy, grid, ideal=True)
    plain = render(neck(seed, (), ()), grid, ideal=True)
    assert not with_it.fracture_mask.any()
    changed = np.argwhere(np.abs(with_it.hu.astype(int) - plain.hu) > 80)
    assert len(changed) > 5
    mm = changed[:, ::-1] @ grid.affine_lps[:3, :3].T + grid.affine_lps[:3, 3]
    assert np.linalg.norm(mm - np.array(decoy.centre_lps_mm), axis=1).min() < 8.0
