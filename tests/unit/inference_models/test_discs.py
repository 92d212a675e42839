import numpy as np
import torch
from numpy.typing import NDArray

from inference.discs import snap_to_discs
from inference.postprocess import Column, body_centre
from inference.preprocess import PatientGrid
from inference.shape import finer

GRID = PatientGrid(origin_lps_mm=(-40.0, -40.0, 0.0), spacing_mm_zyx=(2.0, 2.0, 2.0), shape_zyx=(76, 40, 40))
PITCH_MM, DISC_MM, TOP_MM = 17.0, 4.0, 140.0
# Front to back and side to side: a body of 20 x 20 mm in front of the middle, a thin arch behind.
BODY = (slice(8, 18), slice(15, 25))
ARCH = (slice(18, 32), slice(18, 22))


def top_of(level: int) -> float:
    return TOP_MM - PITCH_MM * (level - 1)


def column_moved_by(mm: float, levels: range = range(1, 8)) -> tuple[Column, torch.Tensor]:
    """Seven blocks that meet in the discs' middles, all `mm` too high."""
    z = np.arange(GRID.shape_zyx[0]) * 2.0
    labels = np.zeros(GRID.shape_zyx, dtype=np.uint8)
    for level in levels:
        high = top_of(level) + mm
        rows = (z < high + DISC_MM / 2) & (z >= high + DISC_MM / 2 - PITCH_MM)
        for y, x in (BODY, ARCH):
            labels[rows, y, x] = level
    near = torch.from_numpy(0.9 * np.eye(11, dtype=np.float32)[labels].transpose(3, 0, 1, 2))
    return Column(grid=GRID, labels=labels, evidence={}), near


def picture(*, discs: bool = True, fused: tuple[int, ...] = (1,)) -> tuple[torch.Tensor, PatientGrid]:
    """Bodies of 300 HU with bright endplates and dark discs between; `fused` names levels with no disc below, as
    C1 over the dens.
    """
    fine = finer(GRID)
    z = fine.to_lps_mm(np.stack([np.arange(fine.shape_zyx[0])] * 3, axis=1))[:, 2]
    hu: NDArray[np.float32] = np.full(fine.shape_zyx, 50.0, dtype=np.float32)
    for level in range(1, 8):
        low = top_of(level) - (PITCH_MM - DISC_MM)
        bone = (z <= top_of(level)) & (z > (low - DISC_MM if level in fused or not discs else low))
        hu[bone, 16:36, 30:50] = 300.0
        for end in (top_of(level), low):
            if discs and not (level in fused and end == low) and not (level - 1 in fused and end == top_of(level)):
                hu[np.abs(z - end) < 1.0, 16:36, 30:50] = 800.0
    return torch.from_numpy(hu), fine


def errors_mm(column: Column) -> NDArray[np.float64]:
    """How far C3 to C6 lie from the middles of their bodies along z."""
    middles = [top_of(level) - (PITCH_MM - DISC_MM) / 2 for level in range(3, 7)]
    return np.array([body_centre(column, level)[2] for level in range(3, 7)]) - middles


def test_borders_that_sit_too_high_or_too_low_move_into_the_discs() -> None:
    for off_mm in (-6.0, -4.0, 4.0, 6.0):
        column, near = column_moved_by(off_mm)
        assert np.abs(errors_mm(column)).max() > 3
        moved, _ = snap_to_discs(column, near, *picture())
        assert np.abs(errors_mm(moved)).max() < 1.6
        assert np.array_equal(np.unique(moved.labels), np.arange(8))


def test_probabilities_move_with_the_labels() -> None:
    column, near = column_moved_by(5.0)
    moved, soft = snap_to_discs(column, near, *picture())
    for level in range(2, 7):
        centre = (np.argwhere(moved.labels == level)).mean(axis=0)
        weight = soft[level].numpy()
        mass = (np.argwhere(weight > 0.45)).mean(axis=0)
        assert np.abs(centre - mass).max() < 0.8


def test_borders_that_lie_in_the_discs_stay() -> None:
    column, near = column_moved_by(0.0)
    moved, _ = snap_to_discs(column, near, *picture())
    assert np.abs(errors_mm(moved) - errors_mm(column)).max() < 1.2


def test_without_discs_to_see_nothing_moves() -> None:
    column, near = column_moved_by(4.0)
    moved, soft = snap_to_discs(column, near, *picture(discs=False))
    assert np.abs(errors_mm(moved) - errors_mm(column)).max() < 0.6
    assert soft.shape == near.shape


def test_the_border_of_a_fused_pair_follows_its_neighbours() -> None:
    column, near = column_moved_by(5.0)
    moved, _ = snap_to_discs(column, near, *picture(fused=(1, 4)))
    assert np.abs(errors_mm(moved)).max() < 2.5


def test_two_levels_are_too_few_to_judge_by() -> None:
    column, near = column_moved_by(5.0, range(1, 4))
    moved, soft = snap_to_discs(column, near, *picture())
    assert moved is column
    assert soft is near
