import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from inference.localise import ONE_PASS_ZYX, Localisation, NetworkLocaliser
from inference.mask import smooth_mask
from inference.postprocess import Column, find_column, keep_largest
from inference.preprocess import PatientGrid
from inference.shape import SHAPE_WINDOW_ZYX, coarse_shapes, draw_shapes, finer, on_column, reshaped
from inference.spine import COUNTED_FROM_SHAPE, OrientedBox, body_centres, describe, oriented_box
from inference.volume import Volume
from tests.unit.inference_models.builders import GRID, column_probabilities, volume_on

LEAN_DEG = 20.0


class _ReadsHu(nn.Module):
    """A network for painted volumes: HU 310, 320 ... 370 are C1 ... C7."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        label = ((x[:, 0] * 1000 - 300) / 10).round().long()
        label[(label < 1) | (label > 7)] = 0
        return nn.functional.one_hot(label, 11).permute(0, 4, 1, 2, 3).float() * 8


class _CountsCalls(_ReadsHu):
    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(x.shape[2:]))
        return super().forward(x)


def _painted(shape_zyx: tuple[int, int, int], top: int, spacing_mm: float = 2.0) -> Volume:
    hu = np.full(shape_zyx, 40, dtype=np.int16)
    middle = shape_zyx[1] // 2
    for level in range(1, 8):
        z = top - 8 * level
        hu[z : z + 5, middle - 8 : middle + 8, middle - 8 : middle + 8] = 300 + 10 * level
    return Volume(hu=hu, affine_lps=np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))


def _leaning_column() -> NDArray[np.float32]:
    """Blocks 34 mm wide, 30 deep and 15 high, stacked along an axis that leans forward by LEAN_DEG and turned with it.

    Each has a thick front half and a thin back half, as a vertebra has.
    """
    lean = np.radians(LEAN_DEG)
    up = np.array([np.cos(lean), -np.sin(lean), 0.0])  # (z, y, x); -y is anterior
    back = np.array([np.sin(lean), np.cos(lean), 0.0])
    zyx = np.stack(np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij"), axis=-1) * 2.5
    labels = np.zeros(GRID.shape_zyx, dtype=int)
    for level in range(1, 8):
        middle = np.array([100.0, 75.0, 75.0]) + up * 20.0 * (4 - level)
        off = zyx - middle
        height, depth, width = np.abs(off @ up), off @ back, np.abs(off[..., 2])
        labels[(height <= 7.5) & (depth >= -15) & (depth <= 0) & (width <= 17)] = level
        labels[(height <= 3.0) & (depth > 0) & (depth <= 15) & (width <= 6)] = level
    return (0.02 + 0.8 * np.eye(11, dtype=np.float32)[labels]).transpose(3, 0, 1, 2)


def _box(level: int) -> OrientedBox:
    column = find_column(_leaning_column(), GRID)
    assert column is not None
    return oriented_box(column, level, body_centres(column))


def test_a_box_leans_with_the_neck() -> None:
    left, posterior, superior = (np.array(axis) for axis in _box(4).axes_lps)
    lean = np.radians(LEAN_DEG)
    assert superior @ [0.0, -np.sin(lean), np.cos(lean)] > np.cos(np.radians(4))
    assert posterior @ [0.0, np.cos(lean), np.sin(lean)] > np.cos(np.radians(4))
    assert left[0] > 0.99


def test_a_box_has_the_vertebras_own_sides_and_not_those_of_its_shadow() -> None:
    width, depth, height = _box(4).size_mm
    assert (width, depth, height) == pytest.approx((34, 30, 15), abs=4)


def test_axes_of_a_box_are_a_right_handed_frame() -> None:
    for level in range(1, 8):
        axes = np.array(_box(level).axes_lps)
        assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(axes) == pytest.approx(1.0)


def test_levels_that_are_not_there_have_no_place_and_are_named_in_the_notes() -> None:
    column = find_column(column_probabilities((1, 2, 3, 4, 5)), GRID)
    assert column is not None
    volume = volume_on(GRID)
    spine = describe(volume, column, smooth_mask(volume, coarse_shapes(column)))
    assert [v.status for v in spine.levels[5:]] == ["not_assessed"] * 2
    assert spine.levels[6].centre_lps_mm is None
    assert "Not assessed: C6, C7." in spine.notes
    assert COUNTED_FROM_SHAPE not in spine.notes


@pytest.mark.parametrize(("levels", "warned"), [((2, 3, 4, 5), False), ((3, 4, 5, 6, 7), True)])
def test_names_given_without_c1_and_c2_come_with_a_warning(levels: tuple[int, ...], warned: bool) -> None:
    column = find_column(column_probabilities(levels), GRID)
    assert column is not None
    volume = volume_on(GRID)
    spine = describe(volume, column, smooth_mask(volume, coarse_shapes(column)))
    assert (COUNTED_FROM_SHAPE in spine.notes) is warned


def test_what_one_look_at_a_leaning_neck_lost_is_kept_from_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (torch.from_numpy(column_probabilities((1, 2, 3, 4, 5))) for _ in range(2))
    lost = (second[1] > 0.5) & (torch.arange(second.shape[2]) < 30)[None, :, None]
    second[0][lost], second[1][lost] = 0.5, 0.4
    monkeypatch.setattr("inference.localise.turn_upright", lambda column: np.eye(3))
    monkeypatch.setattr("inference.localise.turned", lambda hu, rotation: (hu, None))
    monkeypatch.setattr("inference.localise.turned_back", lambda probabilities, placed, shape: second)
    localiser = NetworkLocaliser(_ReadsHu(), torch.device("cpu"), "float32")
    found = Localisation(grid=GRID, probabilities=first)
    column = find_column(first.numpy(), GRID)
    assert column is not None
    _, together = localiser._look_again(torch.zeros(GRID.shape_zyx), found, column)
    assert (together.labels == 1).sum() == (column.labels == 1).sum()


def test_a_level_is_drawn_as_the_mean_of_itself_and_its_mirror_image() -> None:
    class Lopsided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(torch.arange(x.shape[-1]) < 10, 20.0, -20.0).expand_as(x[:, :1]).clone()

    localiser = NetworkLocaliser(_ReadsHu(), torch.device("cpu"), "float32", shape_net=Lopsided())
    share = localiser._draw(torch.zeros(4, 2, 2, 30))
    assert torch.allclose(share[0, 0], torch.tensor([0.5] * 10 + [0.0] * 10 + [0.5] * 10), atol=1e-6)


def test_a_level_is_one_piece() -> None:
    labels = np.zeros((6, 6, 12), dtype=np.uint8)
    labels[2:4, 2:4, 1:5] = 3
    labels[2:4, 2:4, 7:9] = 3
    labels[0, 0, 11] = 4
    kept = keep_largest(labels)
    assert kept[2, 2, 2] == 3
    assert not kept[:, :, 7:9].any()
    assert kept[0, 0, 11] == 4


def test_the_edge_of_the_mask_lies_where_half_a_voxel_is_bone() -> None:
    """A block that ends a quarter of the way into a coarse voxel is drawn to there on a fine grid."""
    grid = PatientGrid(origin_lps_mm=(0.0, 0.0, 0.0), spacing_mm_zyx=(2.0, 2.0, 2.0), shape_zyx=(40, 20, 20))
    probabilities = np.zeros((11, 40, 20, 20), dtype=np.float32)
    for level, low in ((1, 28), (2, 16)):
        probabilities[level, low : low + 8, 4:16, 4:16] = 1.0
        probabilities[level, low + 8, 4:16, 4:16] = 0.25
    probabilities[0] = 1.0 - probabilities[1:].sum(axis=0)
    column = find_column(probabilities, grid)
    assert column is not None
    fine = Volume(hu=np.full((160, 40, 40), 300, dtype=np.int16), affine_lps=np.diag([1.0, 1.0, 0.5, 1.0]))
    near = on_column(torch.from_numpy(probabilities), grid, column.grid)
    mask = smooth_mask(fine, coarse_shapes(column, near))
    top_mm = np.flatnonzero((mask == 1).any(axis=(1, 2))).max() * 0.5
    # Between the voxel centres at 70 mm (all bone) and 72 mm (a quarter): half at 71.33.
    assert top_mm == pytest.approx(71.33, abs=0.5)


def _drawn(answer: float | None) -> tuple[Column, Column]:
    """A column of blocks, and the same with each level drawn: as its hint (None), or as one value everywhere."""
    probabilities = torch.from_numpy(column_probabilities((3, 4, 5)))
    column = find_column(probabilities.numpy(), GRID)
    assert column is not None
    near, fine = on_column(probabilities, GRID, column.grid), finer(column.grid)
    seen: list[torch.Tensor] = []

    def draw(batch: torch.Tensor) -> torch.Tensor:
        assert batch.shape == (4, *SHAPE_WINDOW_ZYX)
        seen.append(batch)
        return batch[2] if answer is None else torch.full(SHAPE_WINDOW_ZYX, answer)

    shapes = draw_shapes(column, near, torch.full(fine.shape_zyx, 300.0), fine, draw)
    assert len(seen) == 3
    return column, reshaped(column, shapes)


def test_a_shape_lies_where_its_hint_lay() -> None:
    column, drawn = _drawn(None)
    assert drawn.grid.spacing_mm_zyx == (1.0, 1.0, 1.0)
    for level in (3, 4, 5):
        before = column.grid.to_lps_mm(np.argwhere(column.labels == level))
        after = drawn.grid.to_lps_mm(np.argwhere(drawn.labels == level))
        assert np.allclose(before.mean(axis=0), after.mean(axis=0), atol=0.6)
        assert len(after) == pytest.approx(len(before) * 2.5**3, rel=0.2)


def test_a_shape_that_is_hardly_there_gives_way_to_the_coarse_piece() -> None:
    column, drawn = _drawn(0.01)
    volume_mm3 = float((drawn.labels == 4).sum())
    assert volume_mm3 == pytest.approx(float((column.labels == 4).sum()) * 2.5**3, rel=0.2)


def test_a_neck_is_seen_in_one_pass_and_a_body_is_searched_first() -> None:
    net = _CountsCalls()
    localiser = NetworkLocaliser(net, torch.device("cpu"), "float32")
    assert localiser.locate(_painted((96, 64, 64), 80)) is not None
    assert net.shapes[0] == (96, 64, 64)
    net.shapes.clear()
    assert localiser.locate(_painted((420, 64, 64), 330)) is not None
    assert len(net.shapes) > 1
    assert (ONE_PASS_ZYX[0], 64, 64) in net.shapes


def test_a_body_without_bone_is_not_even_looked_at() -> None:
    net = _CountsCalls()
    volume = Volume(hu=np.full((420, 64, 64), 40, dtype=np.int16), affine_lps=np.diag([2.0, 2.0, 2.0, 1.0]))
    assert NetworkLocaliser(net, torch.device("cpu"), "float32").locate(volume) is None
    assert net.shapes == []
