import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.placing import (
    PLACE_LENGTH,
    borders_of,
    coarse_borders,
    place_levels,
    trusted_centres,
    walk_through,
)
from inference.postprocess import Column, body_centre
from inference.preprocess import PLACE_SHAPE_YX, PatientGrid
from inference.training.place import place_targets
from inference.volume import Volume

GRID = PatientGrid(origin_lps_mm=(-40.0, -40.0, 0.0), spacing_mm_zyx=(2.0, 2.0, 2.0), shape_zyx=(80, 40, 40))
PITCH_MM, TOP_MM = 17.0, 140.0
# Front to back and side to side: a body of 20 x 20 mm in front of the middle, a thin arch behind.
BODY = (slice(8, 18), slice(15, 25))
ARCH = (slice(18, 32), slice(18, 22))


def column_moved_by(mm: float, levels: range = range(1, 8)) -> tuple[Column, torch.Tensor]:
    """Blocks on top of each other, C1's top at `TOP_MM`, all `mm` too high."""
    z = np.arange(GRID.shape_zyx[0]) * 2.0
    labels = np.zeros(GRID.shape_zyx, dtype=np.uint8)
    for level in levels:
        high = TOP_MM - PITCH_MM * (level - 1) + mm
        rows = (z < high) & (z >= high - PITCH_MM)
        for y, x in (BODY, ARCH):
            labels[rows, y, x] = level
    near = torch.from_numpy(0.9 * np.eye(11, dtype=np.float32)[labels].transpose(3, 0, 1, 2))
    return Column(grid=GRID, labels=labels, evidence={}), near


def volume(slices: int = 160) -> Volume:
    """A scan of 1 mm voxels whose HU is the height in mm: what a reader needs to know where it is."""
    heights = np.arange(160 - slices, 160, dtype=np.int16)
    affine = np.eye(4)
    affine[:3, 3] = (-40.0, -40.0, 160.0 - slices)
    hu = np.broadcast_to(heights[:, None, None], (slices, 80, 80)).copy()
    return Volume(hu=hu, affine_lps=affine)


def read(batch: torch.Tensor) -> torch.Tensor:
    """Logits of a reader that knows where the levels are, from the heights it sees."""
    # The bone window shows a height of h mm as h / 750 - 1.
    height = (batch[1, :, 9, 12].numpy() + 1.0) * 750.0
    level = np.clip(np.floor((TOP_MM - height) / PITCH_MM) + 1, 1, 9).astype(int)
    logits = torch.full((10, batch.shape[1]), -6.0)
    logits[torch.from_numpy(level - 1), torch.arange(batch.shape[1])] = 6.0
    to_border = np.abs((TOP_MM - height) / PITCH_MM - np.round((TOP_MM - height) / PITCH_MM)) * PITCH_MM
    logits[9] = torch.from_numpy(4.0 - 4.0 * to_border).float()
    return logits


def errors_mm(column: Column) -> NDArray[np.float64]:
    """How far C3 to C6 lie from where they belong, along z."""
    middles = [TOP_MM - PITCH_MM * (level - 0.5) for level in range(3, 7)]
    return np.array([body_centre(column, level)[2] for level in range(3, 7)]) - middles


@pytest.mark.parametrize("off_mm", [-14.0, -6.0, 6.0, 14.0])
def test_a_column_that_sits_too_high_or_too_low_moves_to_where_the_spine_is_read(off_mm: float) -> None:
    column, near = column_moved_by(off_mm)
    moved, soft = place_levels(column, near, volume(), read)
    assert np.abs(errors_mm(moved)).max() < 1.6
    assert set(range(2, 8)) <= set(np.unique(moved.labels).tolist())
    for level in range(3, 7):
        mass = np.argwhere(soft[level].numpy() > 0.45).mean(axis=0)
        assert np.abs(np.argwhere(moved.labels == level).mean(axis=0) - mass).max() < 0.8


def test_a_column_that_sits_right_stays() -> None:
    column, near = column_moved_by(0.0)
    moved, _ = place_levels(column, near, volume(), read)
    assert np.abs(errors_mm(moved)).max() < 1.0


def test_a_scan_that_ends_in_the_column_is_read_as_far_as_it_goes() -> None:
    column, near = column_moved_by(6.0)
    moved, _ = place_levels(column, near, volume(slices=95), read)
    assert np.abs(errors_mm(moved)[:2]).max() < 1.6


def test_one_vertebra_below_the_atlas_is_too_little_to_read() -> None:
    column, near = column_moved_by(5.0, range(1, 3))
    assert place_levels(column, near, volume(), read) == (column, near)


def test_a_column_with_a_gap_is_left_as_it_is() -> None:
    column, near = column_moved_by(5.0)
    column.labels[column.labels == 4] = 0
    assert place_levels(column, near, volume(), read) == (column, near)


def made_logits(heights: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Sure logits of states that last so many places each."""
    states = np.repeat([state for state, _ in heights], [n for _, n in heights])
    logits = np.full((10, len(states)), -4.0)
    logits[states, np.arange(len(states))] = 4.0
    logits[9] = -6.0
    for edge in np.flatnonzero(np.diff(states)) + 1:
        logits[9, edge - 1 : edge + 1] = 3.0
    return logits


def test_borders_lie_between_the_levels_that_are_read() -> None:
    logits = made_logits([(0, 20), (1, 35), (2, 17), (3, 16), (4, 15), (5, 16), (6, 18), (7, 20), (8, 10)])
    found = borders_of(logits)
    assert list(found) == [8, 7, 6, 5, 4, 3, 2]
    assert found[2] == pytest.approx(55, abs=0.3)
    assert found[8] == pytest.approx(157, abs=0.3)


def test_a_scan_may_begin_and_end_anywhere() -> None:
    assert sorted(borders_of(made_logits([(3, 4), (4, 16), (5, 3)]))) == [4, 5]
    assert borders_of(made_logits([(4, 12)])) == {}


def test_a_level_no_vertebra_is_low_enough_for_is_not_believed() -> None:
    # Five places named C5 in the middle of C4: vertebrae are at least 8 mm high, and come in order.
    logits = made_logits([(1, 35), (2, 17), (3, 6), (4, 5), (3, 6), (4, 17), (5, 17)])
    found = borders_of(logits)
    assert found[3] == pytest.approx(52, abs=0.3)
    assert found[5] - found[4] == pytest.approx(17, abs=1)


def test_a_disc_decides_where_names_waver() -> None:
    logits = made_logits([(1, 35), (2, 17), (3, 17)])
    logits[2:4, 44:60] = 0.0
    logits[9] = -6.0
    logits[9, 34:36], logits[9, 48:50] = 3.0, 3.0
    assert borders_of(logits)[3] == pytest.approx(49, abs=0.3)


def test_coarse_borders_are_where_one_label_gives_way_to_the_next() -> None:
    labels = np.zeros((60, *PLACE_SHAPE_YX), dtype=np.uint8)
    labels[10:25], labels[28:45], labels[45:60] = 3, 4, 5
    assert coarse_borders(labels, [3, 4, 5]) == {3: 26.5, 4: 45.0}
    assert coarse_borders(labels, [3, 5]) == {}


def test_the_line_runs_through_the_bodies_and_its_sections_face_the_patient() -> None:
    centres = np.array([[0.0, -3.0, 60.0], [1.0, 0.0, 40.0], [3.0, 4.0, 20.0], [6.0, 9.0, 0.0]])
    walk = walk_through(centres)
    for centre in centres:
        assert np.linalg.norm(walk.points - centre, axis=1).min() < 0.8
    assert np.allclose(np.linalg.norm(np.diff(walk.points, axis=0), axis=1), 1.0, atol=0.02)
    assert np.all(walk.left[:, 0] > 0.9)
    assert np.all(walk.back[:, 1] > 0.9)
    for a, b in ((walk.left, walk.back), (walk.left, walk.ways), (walk.back, walk.ways)):
        assert np.abs((a * b).sum(axis=1)).max() < 1e-6
    assert walk.across().shape == (len(walk.points), *PLACE_SHAPE_YX, 3)
    assert len(walk.points) < PLACE_LENGTH


def test_a_place_is_taught_as_its_bone_and_unknown_where_nothing_tells() -> None:
    bones = np.zeros((90, *PLACE_SHAPE_YX), dtype=np.uint8)
    bones[8:40], bones[43:57], bones[60:75] = 2, 3, 4
    seen = np.ones(90, dtype=bool)
    seen[:3] = False
    places, near = place_targets(bones, seen)
    assert places[:3].tolist() == [-1] * 3
    assert (places[4], places[20], places[50], places[70], places[80]) == (0, 1, 2, 3, -1)
    assert near[41] > 0.9
    assert near[50] < 0.01
    assert near[58] > 0.9


def test_the_line_passes_by_a_level_of_which_only_the_arch_is_in_the_scan() -> None:
    column, _ = column_moved_by(0.0, range(2, 8))
    column.labels[column.labels == 2] = 0
    column.labels[64:68, ARCH[0], ARCH[1]] = 2
    middle_y = [c[1] for c in trusted_centres(column, list(range(2, 8)))]
    assert len(middle_y) == 5
    assert max(middle_y) - min(middle_y) < 1.0


def test_the_line_passes_by_a_level_that_lies_far_off_the_others() -> None:
    column, _ = column_moved_by(0.0, range(2, 8))
    aside = np.roll(column.labels == 4, 7, axis=2)
    column.labels[column.labels == 4] = 0
    column.labels[aside] = 4
    kept = trusted_centres(column, list(range(2, 8)))
    assert len(kept) == 5
    assert np.ptp(kept[:, 0]) < 1.0


def test_two_vertebrae_are_always_trusted() -> None:
    column, _ = column_moved_by(0.0, range(2, 4))
    column.labels[::2] = 0
    assert len(trusted_centres(column, [2, 3])) == 2
