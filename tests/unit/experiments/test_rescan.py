"""Another scanner and other bone: what changes, and what must not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from inference.experiments.changes import NO_CHANGE, Window, draw_change, look
from inference.experiments.errors import SettingsError
from inference.experiments.rescan import (
    AS_IS,
    RESCANS,
    Rescan,
    averaging_matrix,
    blur_matrix,
    by_turns,
    draw_rescan,
    in_every_view,
    rescanned,
    rescanned_study,
)
from inference.experiments.settings import Augmentation, experiment_names, read_experiment
from inference.experiments.studies import Study, study_of
from tests.builders.necks_prepared import SHAPE_ZYX, SPACING_MM_ZYX, neck

SPACING = (0.8, 0.6, 0.6)
WIDE = Augmentation(rescan=1.0)
SCANNERS = {
    "kernel": Rescan(kernel_mm=0.9),
    "pixels": Rescan(pixel_mm=1.1),
    "slices": Rescan(slice_mm=2.5),
    "all three": Rescan(kernel_mm=0.5, pixel_mm=0.95, slice_mm=1.5),
    "sharp": Rescan(overshoot=0.8),
}


@pytest.fixture(scope="module")
def broken() -> Study:
    return study_of(neck(broken=(3,)))


def blocks() -> torch.Tensor:
    """Bone of 600 HU in the middle of flesh, HU [24, 40, 40]."""
    hu = torch.full((24, 40, 40), 40.0)
    hu[8:16, 12:28, 12:28] = 600.0
    return hu


def centroid(hu: torch.Tensor) -> np.ndarray:
    weight = (hu - 40.0).double()
    axes = [torch.arange(n, dtype=torch.float64) for n in hu.shape]
    sums = [weight.sum(dim=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return np.array([float((at * s).sum() / s.sum()) for at, s in zip(axes, sums, strict=True)])


@pytest.mark.parametrize("name", SCANNERS)
def test_a_scanner_keeps_the_mean_hu_and_does_not_move_what_it_shows(name: str) -> None:
    before = blocks()
    after = rescanned(before, SPACING, SCANNERS[name], seed=4)
    assert float(after.mean()) == pytest.approx(float(before.mean()), abs=2.0)
    # Large pixels fall anywhere, so an edge may lie a part of one beside where it was.
    assert np.abs(centroid(after) - centroid(before)).max() < 0.25
    assert not torch.allclose(after, before, atol=20)


@pytest.mark.parametrize("name", SCANNERS)
def test_a_scanner_leaves_what_is_even_as_it_is(name: str) -> None:
    even = torch.full((12, 20, 20), 333.0)
    assert torch.allclose(rescanned(even, SPACING, SCANNERS[name], seed=1), even, atol=1e-2)


def test_no_rescan_changes_nothing() -> None:
    assert torch.equal(rescanned(blocks(), SPACING, AS_IS, seed=1), blocks())


def test_a_kernel_is_as_wide_as_it_says_whatever_the_grid() -> None:
    for mm in (0.3, 0.45, 0.6):
        row = blur_matrix(81, mm, 0.8)[40].astype(float)
        at = (np.arange(81) - 40) * mm
        assert np.sqrt((row * at**2).sum()) == pytest.approx(0.8, rel=0.02)


def test_slices_that_are_averaged_lose_what_is_thin_and_keep_a_slope() -> None:
    line, slope = np.zeros(60), np.arange(60.0)
    line[30] = 1.0
    thick = averaging_matrix(60, 0.8, 2.4, phase=0.4)
    assert (thick @ line).max() < 0.4
    assert np.allclose((thick @ slope)[4:-4], slope[4:-4], atol=1e-4)
    assert np.allclose(averaging_matrix(5, 0.8, 50.0, phase=0.0).sum(axis=1), 1.0)


@pytest.mark.parametrize("grain_mm", [0.0, 0.3, 0.8])
def test_noise_has_the_sd_that_was_asked_for_whatever_its_grain(grain_mm: float) -> None:
    even = torch.zeros(20, 60, 60)
    noise = rescanned(even, SPACING, Rescan(noise_hu=25.0, grain_mm=grain_mm), seed=3)
    assert float(noise.std()) == pytest.approx(25.0, rel=0.06)
    beside = float((noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.square().mean())
    assert (beside > 0.15) == (grain_mm > 0.0)


def test_bone_becomes_denser_and_soft_tissue_stays() -> None:
    after = rescanned(blocks(), SPACING, Rescan(density=1.5), seed=1)
    assert float(after.max()) == pytest.approx(120 + 480 * 1.5)
    assert float(after.min()) == 40.0
    curved = rescanned(blocks(), SPACING, Rescan(curve=1.3), seed=1)
    assert 120 < float(curved.max()) < 600
    assert float(curved.min()) == 40.0


@pytest.mark.parametrize("ridges", [0.0, 1.0, -1.0, 0.4])
def test_a_texture_is_in_bone_alone_and_as_strong_as_it_was_asked_for(ridges: float) -> None:
    bone = torch.full((24, 40, 40), 600.0)
    bone[:, :20] = 40.0
    seen = rescanned(bone, SPACING, Rescan(texture_hu=100.0, lump_mm=2.0, ridges=ridges), seed=1)
    assert float(seen[:, 20:].std()) == pytest.approx(100.0, rel=0.15)
    assert torch.equal(seen[:, :20], bone[:, :20])


def test_sheets_are_thin_and_bright_or_dark() -> None:
    bone = torch.full((24, 40, 40), 600.0)
    for ridges in (1.0, -1.0):
        apart = rescanned(bone, SPACING, Rescan(texture_hu=100.0, lump_mm=4.0, ridges=ridges), seed=1) - 600.0
        # Few voxels lie far to one side, many a little to the other.
        assert float(apart.median()) * ridges < -20
        assert float(((apart / 100.0) ** 3).mean()) * ridges > 0.5


def test_the_same_seed_gives_the_same_scan_and_another_seed_or_part_another() -> None:
    rescan = Rescan(texture_hu=80.0, pixel_mm=1.0, noise_hu=20.0)
    first = rescanned(blocks(), SPACING, rescan, seed=7, part=2)
    assert torch.equal(first, rescanned(blocks(), SPACING, rescan, seed=7, part=2))
    assert not torch.equal(first, rescanned(blocks(), SPACING, rescan, seed=7, part=3))
    assert not torch.equal(first, rescanned(blocks(), SPACING, rescan, seed=8, part=2))


def test_the_same_draw_is_the_same_rescan_and_stays_within_its_bounds() -> None:
    drawn = [draw_rescan(WIDE, np.random.default_rng(seed)) for seed in range(200)]
    assert drawn[5] == draw_rescan(WIDE, np.random.default_rng(5))
    assert all(WIDE.density[0] <= r.density <= WIDE.density[1] for r in drawn)
    assert all(r.kernel_mm == 0.0 or r.overshoot == 0.0 for r in drawn)
    assert all(1.0 <= r.lump_mm <= 7.0 for r in drawn)
    for name, most in (("kernel_mm", 0.9), ("pixel_mm", 1.1), ("slice_mm", 2.5), ("texture_hu", 150.0)):
        values = [getattr(r, name) for r in drawn]
        assert 0.8 * most < max(values) <= most, name
        assert 10 < values.count(0.0) < 190, name


def test_bounds_of_nothing_change_nothing_but_the_lumps_size() -> None:
    nothing = Augmentation(
        rescan=1.0, kernel_mm=0.0, overshoot=0.0, pixel_mm=0.0, slice_mm=0.0, grain_hu=0.0, texture_hu=0.0,
        density=(1.0, 1.0), curve=0.0,
    )  # fmt: skip
    for seed in range(20):
        drawn = draw_rescan(nothing, np.random.default_rng(seed))
        assert dataclasses.replace(drawn, lump_mm=4.0, ridges=0.0, grain_mm=0.0) == AS_IS


def test_some_studies_are_rescanned_and_the_others_look_as_they_did(broken: Study) -> None:
    some = dataclasses.replace(WIDE, rescan=0.6, blur=0.3, noise_hu=60.0, thick=2.0, marrow_hu=80.0)
    changes = [draw_change(broken, some, np.random.default_rng(seed)) for seed in range(300)]
    assert 0.5 < np.mean([c.rescan is not None for c in changes]) < 0.7
    assert all(c.noise_hu == c.marrow_hu == c.blur == 0.0 and c.thick == 1.0 for c in changes if c.rescan)
    before = dataclasses.replace(some, rescan=0.0)
    for seed, change in enumerate(changes[:20]):
        plain = draw_change(broken, before, np.random.default_rng(seed))
        assert np.array_equal(plain.frame, change.frame)
        assert plain.seed == change.seed
        assert change.rescan is not None or plain.noise_hu == change.noise_hu


def test_masks_and_zones_stay_where_they_were_and_the_cleft_lies_in_its_zone(broken: Study) -> None:
    window = Window(
        centre_zyx=(np.array(SHAPE_ZYX) - 1) / 2, spacing_mm_zyx=SPACING_MM_ZYX, shape_zyx=SHAPE_ZYX
    )  # fmt: skip
    plain = look(broken, window, NO_CHANGE)
    for rescan in (*RESCANS.values(), *(draw_rescan(WIDE, np.random.default_rng(seed)) for seed in range(8))):
        view = look(broken, window, dataclasses.replace(NO_CHANGE, rescan=rescan, seed=3))
        assert torch.equal(view.levels, plain.levels)
        assert torch.equal(view.zone, plain.zone)
        bone = view.hu[(view.levels > 0) & (view.zone == 0)]
        assert float(view.hu[view.zone > 0].median()) < float(bone.median()) - 100


def test_a_rescanned_study_has_other_voxels_and_the_same_truth(broken: Study) -> None:
    seen = rescanned_study(broken, RESCANS["coarse"], seed=1)
    assert seen.hu.dtype == torch.uint8
    assert not torch.equal(seen.hu, broken.hu)
    assert seen.levels is broken.levels
    assert seen.zone is broken.zone
    assert seen.truth is broken.truth
    assert rescanned_study(broken, AS_IS) is broken


def test_rescans_take_turns_over_the_studies_in_an_order_of_their_own(broken: Study) -> None:
    uids = [f"1.2.{k}" for k in range(40)]
    see = by_turns(["as-is", "soft"], uids)
    plain = [torch.equal(see(dataclasses.replace(broken, uid=uid)).hu, broken.hu) for uid in uids]
    assert sum(plain) == 20
    assert plain != [k % 2 == 0 for k in range(40)]
    assert see(dataclasses.replace(broken, uid="other")).hu is broken.hu
    assert by_turns([], uids)(broken) is broken


def test_in_every_view_each_study_is_seen_by_each_scanner_and_asked_about_once_each(broken: Study) -> None:
    asked: list[Study] = []

    def predict(see: Callable[[Study], Study]) -> np.ndarray:
        asked.append(see(broken))
        return np.full((1, 8), float(asked[-1].hu.float().std()))

    plain, soft, again = in_every_view(["as-is", "soft", "as-is"], predict)
    assert asked[0] is broken
    assert len(asked) == 2
    assert again is plain
    assert soft[0, 0] < plain[0, 0]
    assert len(in_every_view([], predict)) == 1
    assert asked[-1] is broken


def test_a_rescan_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="no rescan hard; there are as-is, soft, coarse"):
        by_turns(["hard"], ["1.2.3"])


def test_every_experiment_names_rescans_that_there_are() -> None:
    for name in experiment_names():
        training = read_experiment(name).training
        by_turns(() if training is None else training.validate_as, ["1.2.3"])


def test_half_of_the_studies_that_validate_vertebra_crop_are_as_they_are() -> None:
    training = read_experiment("vertebra-crop").training
    assert training is not None
    assert training.validate_as.count("as-is") * 2 == len(training.validate_as)
