"""Stacks of slices through a vertebra, and where what they show lies in the patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inference.experiments.changes import NO_CHANGE
from inference.experiments.crops import StackShape, level_stack
from inference.experiments.studies import Study, study_of
from inference.experiments.vertebra_crop import _shown, _suspicion, from_the_front
from inference.models.vertebra_net import VertebraLogits
from tests.builders.necks_prepared import neck

SHAPE = StackShape(slices=5, neighbours=3, size_yx=(80, 96), pixel_mm=0.5, near_mm=0.8, margin_mm=0.0)


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of(neck(broken=(3,)))


def middle_mm(mask: torch.Tensor, grid) -> np.ndarray:
    """Mean place (x, y, z) of a mask's weight in LPS mm."""
    points = grid.to_lps_mm(torch.nonzero(mask).double().numpy())
    return np.average(points, axis=0, weights=mask[mask > 0].numpy())


def test_a_stack_spans_its_vertebra_and_shows_nothing_of_the_others(study: Study) -> None:
    stack = level_stack(study, 3, study.boxes[3], SHAPE, NO_CHANGE)
    assert stack.hu.shape == (5, 3, 80, 96)
    assert stack.own.flatten(1).any(dim=1).all()
    low, high = (study.grid.to_lps_mm(end)[2] for end in study.boxes[3])
    assert stack.z_mm[[0, -1]] == pytest.approx([low, high], abs=0.8)
    assert np.allclose(np.diff(stack.z_mm), stack.grid.spacing_mm_zyx[0])


def test_what_a_stack_shows_lies_where_the_study_has_it(study: Study) -> None:
    stack = level_stack(study, 3, study.boxes[3], SHAPE, NO_CHANGE)
    there = middle_mm((study.levels == 3).float(), study.grid)
    assert middle_mm(stack.own, stack.grid) == pytest.approx(there, abs=0.6)
    zone = middle_mm((study.zone == 3).float(), study.grid)
    assert middle_mm(stack.zone, stack.grid) == pytest.approx(zone, abs=0.6)


@pytest.mark.parametrize("pixels", [2, 8])
def test_a_map_points_to_the_place_it_was_made_from(study: Study, pixels: int) -> None:
    stack = level_stack(study, 3, study.boxes[3], SHAPE, NO_CHANGE)
    cells = F.avg_pool2d(stack.zone[:, None], pixels)[:, 0]
    suspicion = _suspicion(stack, cells.numpy())
    zone = middle_mm((study.zone == 3).float(), study.grid)
    assert middle_mm(torch.from_numpy(suspicion.values), suspicion.grid) == pytest.approx(zone, abs=0.6)


def test_the_map_that_is_shown_is_the_fine_one_with_its_mirrored_view_laid_back() -> None:
    maps, fine = torch.full((2, 7, 3, 2, 2), -9.0), torch.full((2, 7, 3, 8, 8), -9.0)
    maps[0, 2, 1, 1, 1] = maps[1, 2, 1, 1, 0] = 9.0  # the second view is mirrored
    fine[0, 2, 1, 6, 6] = fine[1, 2, 1, 6, 1] = 9.0
    fine[0, 2, 1, 0, 3] = 9.0
    nothing = torch.zeros(2, 7)
    out = VertebraLogits(levels=nothing, slices=nothing, maps=maps, overall=nothing, fine=fine)
    shown = _shown(out)
    assert shown.shape == (7, 3, 8, 8)
    assert float(shown[2, 1, 6, 6]) > 0.99
    assert float(shown[2, 1, 0, 3]) == pytest.approx(0.5, abs=0.01), "one view of two"
    assert int((shown > 0.4).sum()) == 2
    coarse = _shown(VertebraLogits(levels=nothing, slices=nothing, maps=maps, overall=nothing))
    assert np.unravel_index(int(coarse.argmax()), coarse.shape) == (2, 1, 1, 1)


CORONAL = StackShape(**{**vars(SHAPE), "coronal_slices": 17, "coronal_rows": 40, "coronal_every": 4})


def test_coronal_slices_leave_the_axial_ones_where_they_were(study: Study) -> None:
    alone, beside = (level_stack(study, 3, study.boxes[3], shape, NO_CHANGE) for shape in (SHAPE, CORONAL))
    assert alone.coronal is None
    assert torch.allclose(alone.hu, beside.hu, atol=1e-2)
    assert torch.equal(alone.zone, beside.zone)
    assert alone.z_mm == pytest.approx(beside.z_mm)
    assert alone.grid.origin_lps_mm == pytest.approx(beside.grid.origin_lps_mm)


def test_what_coronal_slices_show_lies_where_the_study_has_it(study: Study) -> None:
    coronal = level_stack(study, 3, study.boxes[3], CORONAL, NO_CHANGE).coronal
    assert coronal is not None
    assert coronal.hu.shape == (17, 3, 40, 96)
    assert coronal.own.shape == coronal.zone.shape == (17, 40, 96)
    assert coronal.grid.shape_zyx == (40, 17, 96)
    there = middle_mm((study.levels == 3).float(), study.grid)
    assert middle_mm(coronal.own.transpose(0, 1), coronal.grid) == pytest.approx(there, abs=0.8)
    zone = middle_mm((study.zone == 3).float(), study.grid)
    assert middle_mm(coronal.zone.transpose(0, 1), coronal.grid) == pytest.approx(zone, abs=0.8)


def test_a_coronal_slice_shows_what_the_axial_ones_do_in_their_rows(study: Study) -> None:
    shape = StackShape(**{**vars(CORONAL), "slices": 18, "neighbours": 1})
    stack = level_stack(study, 3, study.boxes[3], shape, NO_CHANGE)
    assert stack.coronal is not None
    z = round((stack.grid.origin_lps_mm[2] - stack.coronal.grid.origin_lps_mm[2]) / 0.8)
    y = round((stack.coronal.grid.origin_lps_mm[1] - stack.grid.origin_lps_mm[1]) / 0.5)
    for neighbour, off in ((0, -2), (1, 0), (2, 2)):
        assert torch.equal(stack.coronal.hu[5, neighbour, z], stack.hu[0, 0, y + 5 * 4 + off])


def test_a_coronal_map_points_to_its_place_in_the_axial_one(study: Study) -> None:
    shape = StackShape(**{**vars(CORONAL), "slices": 12})
    stack = level_stack(study, 3, study.boxes[3], shape, NO_CHANGE)
    assert stack.coronal is not None
    front = F.avg_pool2d(stack.coronal.zone[:, None], 2)[:, 0].numpy()
    seen = from_the_front(stack, front, (40, 48))
    assert seen.shape == (12, 40, 48)
    axial = F.avg_pool2d(stack.zone[:, None], 2)[:, 0].numpy()
    overlap = 2 * np.minimum(seen, axial).sum() / (seen.sum() + axial.sum())
    assert overlap > 0.85
    places = [_suspicion(stack, values) for values in (seen, axial)]
    one, other = (middle_mm(torch.from_numpy(place.values), place.grid) for place in places)
    assert one == pytest.approx(other, abs=1.0)  # coronal slices are 2 mm apart
    assert seen[:, :2].max() == 0.0, "no coronal slice lies there"


def test_a_slice_has_its_neighbours_beside_it(study: Study) -> None:
    stack = level_stack(study, 3, study.boxes[3], StackShape(**{**vars(SHAPE), "slices": 18}), NO_CHANGE)
    # Slices one step apart: each is the upper neighbour of the one below.
    assert torch.equal(stack.hu[3, 1], stack.hu[2, 2])
    assert torch.equal(stack.hu[3, 0], stack.hu[2, 1])


def test_another_level_has_no_fracture_in_its_stack(study: Study) -> None:
    assert not level_stack(study, 4, study.boxes[4], SHAPE, NO_CHANGE).zone.any()
