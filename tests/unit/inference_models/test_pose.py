import numpy as np
import pytest
import torch

from inference.pose import named_alike, turn_upright, turned, turned_back
from inference.postprocess import Column
from inference.preprocess import PatientGrid

GRID = PatientGrid(origin_lps_mm=(-60.0, -60.0, 0.0), spacing_mm_zyx=(2.0, 2.0, 2.0), shape_zyx=(80, 60, 60))


def column_leaning(forwards_deg: float, left_deg: float = 0.0, named_lower: int = 0) -> Column:
    """Balls along a straight line that leans this far forwards (towards -y) and to the left."""
    way = np.array([1.0, -np.tan(np.radians(forwards_deg)), np.tan(np.radians(left_deg))])
    way /= np.linalg.norm(way)
    zyx = np.stack(np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij"), axis=-1)
    labels = np.zeros(GRID.shape_zyx, dtype=np.uint8)
    for level in range(2, 8):
        middle = np.array([40.0, 30.0, 30.0]) + way * 8.5 * (4.5 - level)
        labels[((zyx - middle) ** 2).sum(axis=-1) < 9] = min(level + named_lower, 7)
    return Column(grid=GRID, labels=labels, evidence={})


def test_a_neck_that_stands_as_most_do_is_left_alone() -> None:
    assert turn_upright(column_leaning(16)) is None
    assert turn_upright(column_leaning(8, 4)) is None


@pytest.mark.parametrize(("forwards_deg", "left_deg"), [(35, 0), (-5, 0), (16, 18), (10, -20)])
def test_a_leaning_neck_is_set_as_most_stand(forwards_deg: float, left_deg: float) -> None:
    rotation = turn_upright(column_leaning(forwards_deg, left_deg))
    assert rotation is not None
    way = np.array([1.0, -np.tan(np.radians(forwards_deg)), np.tan(np.radians(left_deg))])
    stood = rotation @ way / np.linalg.norm(way)
    assert np.degrees(np.arctan2(-stood[1], stood[0])) == pytest.approx(15.7, abs=3)
    assert abs(stood[2]) < 0.05
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_turning_there_and_back_leaves_what_was_there() -> None:
    rotation = turn_upright(column_leaning(35, 10))
    assert rotation is not None
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in GRID.shape_zyx), indexing="ij")
    ball = torch.exp(-4 * (z**2 + y**2 + x**2))
    stood, placed = turned(ball * 1000 - 1000, rotation)
    again = turned_back(torch.stack([torch.zeros_like(stood), (stood + 1000) / 1000]), placed, GRID.shape_zyx)
    assert torch.abs(again[1] - ball)[20:60, 15:45, 15:45].max() < 0.02
    assert torch.allclose(again.sum(dim=0), torch.ones(GRID.shape_zyx), atol=0.02)


def test_columns_that_put_the_same_levels_in_the_same_places_are_named_alike() -> None:
    assert named_alike(column_leaning(16), column_leaning(20))
    assert not named_alike(column_leaning(16), column_leaning(16, named_lower=1))


def test_columns_without_a_common_level_are_not_named_alike() -> None:
    upper, lower = column_leaning(16), column_leaning(16)
    upper.labels[upper.labels > 4] = 0
    lower.labels[lower.labels < 5] = 0
    assert not named_alike(upper, lower)
