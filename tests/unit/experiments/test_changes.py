"""Windows and changes: what moves with the voxels, and what has a side."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from inference.dataset.prepared import HU_LOW, PreparedStudy
from inference.experiments.changes import (
    NO_CHANGE,
    Change,
    Window,
    _blurred,
    _nearest,
    _resliced,
    draw_change,
    look,
    sampled_at_once,
    targets,
    windowed,
)
from inference.experiments.settings import Augmentation
from inference.experiments.studies import Study, study_of
from inference.preprocess import sample_array
from tests.builders.necks_prepared import SHAPE_ZYX, SPACING_MM_ZYX, neck

MIRROR = dataclasses.replace(NO_CHANGE, frame=np.diag([1.0, 1.0, -1.0]))
STRONG = Augmentation(
    turn_deg=10.0, scale=0.1, shift_mm=3.0, mirror=0.5, gain=0.05, offset_hu=30.0, contrast=0.3, noise_hu=60.0,
    thick=2.0, blur=0.5, cut_level=0.0,
)  # fmt: skip


def everything(study: Study, change: Change = NO_CHANGE, spacing: tuple[float, float, float] = SPACING_MM_ZYX):
    shape = tuple(round(n * a / b) for n, a, b in zip(SHAPE_ZYX, SPACING_MM_ZYX, spacing, strict=True))
    window = Window(centre_zyx=(np.array(SHAPE_ZYX) - 1) / 2, spacing_mm_zyx=spacing, shape_zyx=shape)  # type: ignore[arg-type]
    return look(study, window, change)


@pytest.fixture(scope="module")
def broken() -> Study:
    return study_of(neck(broken=(3,)))


def test_a_window_over_the_whole_study_is_the_study(broken: Study) -> None:
    view = everything(broken)
    assert torch.equal(view.levels, broken.levels.float())
    assert torch.equal(view.zone, broken.zone.float())
    assert torch.allclose(view.hu, broken.hu.float() * 8.0 - 512.0, atol=0.01)


def test_a_flip_mirrors_x_and_nothing_else(broken: Study) -> None:
    plain, flipped = everything(broken), everything(broken, MIRROR)
    assert torch.allclose(flipped.hu, plain.hu.flip(-1), atol=0.01)
    assert torch.equal(flipped.levels, plain.levels.flip(-1))
    assert torch.equal(flipped.zone, plain.zone.flip(-1))
    assert not torch.allclose(flipped.hu, plain.hu, atol=50)
    truth, known = targets(broken, MIRROR)
    assert truth.tolist() == [1, 0, 0, 1, 0, 0, 0, 0]
    assert known.all()


def test_no_change_that_is_drawn_turns_the_neck_upside_down_or_front_to_back(broken: Study) -> None:
    frames = [draw_change(broken, STRONG, np.random.default_rng(seed)).frame for seed in range(60)]
    assert all(frame[0, 0] > 0.8 and frame[1, 1] > 0.8 for frame in frames)
    sides = [frame[2, 2] > 0 for frame in frames]
    assert 15 < sum(sides) < 45


def test_labels_follow_the_voxels_whatever_is_turned_and_stretched(broken: Study) -> None:
    for seed in range(4):
        change = draw_change(broken, dataclasses.replace(STRONG, noise_hu=0.0, thick=1.0, blur=0.0), _rng(seed))
        view = everything(broken, change)
        assert float(view.hu[(view.levels > 0) & (view.zone == 0)].median()) > 400
        assert float(view.hu[view.zone > 0].median()) < 150
        assert float(view.hu[view.levels == 0].median()) < 150


def test_boxes_follow_too() -> None:
    voxels, boxes = study_of(neck(broken=(3,))), study_of(neck(broken=(3,), zones=False, boxes=True))
    assert boxes.zone_known
    assert torch.equal(voxels.zone, boxes.zone)
    change = draw_change(voxels, STRONG, _rng(5))
    assert torch.equal(everything(voxels, change).zone, everything(boxes, change).zone)


def test_the_same_draw_changes_the_same_way_and_another_part_has_other_noise(broken: Study) -> None:
    change = draw_change(broken, STRONG, _rng(1))
    assert torch.equal(everything(broken, change).hu, everything(broken, change).hu)
    window = Window(centre_zyx=np.array([30.0, 18.0, 20.0]), spacing_mm_zyx=SPACING_MM_ZYX, shape_zyx=(3, 8, 8))
    noisy = dataclasses.replace(change, noise_hu=50.0)
    assert not torch.equal(look(broken, window, noisy, part=1).hu, look(broken, window, noisy, part=2).hu)


def test_without_a_generator_nothing_changes(broken: Study) -> None:
    assert draw_change(broken, STRONG, None) is NO_CHANGE


def test_a_removed_level_is_flesh_without_a_label_and_is_not_asked_for(broken: Study) -> None:
    change = dataclasses.replace(NO_CHANGE, removed=(5,))
    view = everything(broken, change)
    was = everything(broken).levels == 5
    assert not (view.levels == 5).any()
    assert float(view.hu[was].median()) == pytest.approx(45.0)
    truth, known = targets(broken, change)
    assert known.tolist() == [1, 1, 1, 1, 1, 0, 1, 1]
    assert truth[0] == 1


def test_removing_the_only_fracture_leaves_the_patient_unknown(broken: Study) -> None:
    _, known = targets(broken, dataclasses.replace(NO_CHANGE, removed=(3,)))
    assert known.tolist() == [0, 1, 1, 0, 1, 1, 1, 1]
    two = study_of(neck(broken=(3, 4)))
    assert targets(two, dataclasses.replace(NO_CHANGE, removed=(3,)))[1].tolist() == [1, 1, 1, 0, 1, 1, 1, 1]


def test_a_study_without_truth_has_nothing_to_be_asked_for() -> None:
    assert not targets(study_of(neck(truth=False)), NO_CHANGE)[1].any()


def test_outside_the_study_is_air_without_bone(broken: Study) -> None:
    window = Window(centre_zyx=np.array([500.0, 0, 0]), spacing_mm_zyx=SPACING_MM_ZYX, shape_zyx=(3, 8, 8))
    view = look(broken, window, NO_CHANGE)
    assert set(view.hu.unique().tolist()) == {HU_LOW}
    assert not view.levels.any()


def test_a_coarser_window_averages_what_it_cannot_show() -> None:
    fine = study_of(_noisy(neck(), 300.0))
    coarse = everything(fine, NO_CHANGE, (4.8, 3.2, 3.2))
    inside = coarse.hu[:, 6:12, 6:14][coarse.levels[:, 6:12, 6:14] > 0]
    # Eight voxels of noise in one.
    assert float(inside.std()) < 180


def test_a_blur_keeps_what_is_even_and_spreads_a_point_over_its_plane() -> None:
    view = torch.zeros(3, 9, 9)
    view[1, 4, 4] = 100.0
    soft = _blurred(view, 0.7)
    assert float(soft.sum()) == pytest.approx(100.0, abs=1e-3)
    assert not soft[0].any()
    assert not soft[2].any()
    assert float(soft[1, 4, 5]) == pytest.approx(float(soft[1, 5, 4]))
    assert float(soft[1, 4, 4]) > float(soft[1, 4, 5]) > float(soft[1, 4, 6]) > 0
    assert torch.allclose(_blurred(torch.full((2, 6, 6), 7.0), 0.7), torch.full((2, 6, 6), 7.0), atol=1e-5)


def test_thicker_slices_keep_a_slope_and_lose_what_is_thin() -> None:
    slope = torch.arange(12.0)[:, None, None].expand(12, 4, 4)
    back = _resliced(_resliced(slope, 6), 12)
    assert torch.allclose(back[2:-2], slope[2:-2], atol=1e-5)
    line = torch.zeros(12, 4, 4)
    line[6] = 100.0
    assert float(_resliced(_resliced(line, 6), 12).max()) < 60


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_gpus_way_of_sampling_gives_what_the_cpus_does(mode: str, broken: Study) -> None:
    source = broken.hu[20:40].float()
    for frame in (np.eye(3), np.diag([1.0, 1.1, -0.8]), draw_change(broken, STRONG, _rng(2)).frame):
        where = (frame, np.array([-1.3, 2.2, 36.1 if frame[2, 2] < 0 else 1.7]), (18, 30, 33))
        one = sample_array(source, *where, outside=-7.0, mode=mode)
        other = sampled_at_once(source, *where, outside=-7.0, mode=mode)
        assert (one - other).abs().quantile(0.99) < 0.02


def test_windows_go_from_minus_one_to_one() -> None:
    hu = torch.tensor([-2000.0, 0.0, 500.0, 1000.0, 3000.0])
    seen = windowed(hu, [(0.0, 1000.0), (-1000.0, 1000.0)])
    assert torch.allclose(seen, torch.tensor([[-1, -1, 0, 1, 1], [-1, 0, 0.5, 1, 1]]), atol=1e-6)


def _noisy(study: PreparedStudy, sd: float) -> PreparedStudy:
    noise = np.random.default_rng(0).normal(0, sd / 8.0, study.hu.shape)
    return dataclasses.replace(study, hu=np.clip(study.hu + noise, 0, 255).astype(np.uint8))


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_lumps_are_in_bone_alone_and_the_same_for_the_same_draw(broken: Study) -> None:
    change = dataclasses.replace(NO_CHANGE, marrow_hu=100.0, seed=3)
    plain, lumpy = everything(broken), everything(broken, change)
    apart = (lumpy.hu - plain.hu).abs()
    assert float(apart[plain.hu > 300].mean()) > 30
    assert float(apart[plain.hu < 120].max()) == 0.0
    assert torch.equal(lumpy.hu, everything(broken, change).hu)


def test_the_nearest_value_is_the_one_a_grid_of_places_finds(broken: Study) -> None:
    change = draw_change(broken, STRONG, _rng(2))
    shape = (20, 24, 28)
    matrix = change.frame * 1.3
    offset = (np.array(SHAPE_ZYX) - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)
    found = _nearest(broken.levels, matrix, offset, shape)
    expected = sample_array(broken.levels.float(), matrix, offset, shape, outside=0.0, mode="nearest")
    # Places halfway between two voxels may fall to either.
    assert float((found.float() != expected).float().mean()) < 1e-3
    assert found.any()
