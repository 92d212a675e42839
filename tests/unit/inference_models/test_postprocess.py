import numpy as np
import pytest

from inference.mask import smooth_mask
from inference.postprocess import (
    ASSESSED,
    NOT_ASSESSED,
    PARTLY,
    find_column,
    level_status,
    representative_point,
)
from inference.shape import coarse_shapes
from inference.volume import Volume
from tests.unit.inference_models.builders import GRID, column_probabilities, volume_on


def _order(labels: np.ndarray) -> list[int]:
    """Levels from the top downwards."""
    heights = {int(k): np.argwhere(labels == k)[:, 0].mean() for k in np.unique(labels) if k}
    return sorted(heights, key=lambda k: -heights[k])


def test_a_sound_column_keeps_its_names() -> None:
    column = find_column(column_probabilities(), GRID)
    assert column is not None
    assert _order(column.labels) == [1, 2, 3, 4, 5, 6, 7]
    assert column.notes == ()


def test_a_name_given_twice_is_corrected_from_its_neighbours() -> None:
    column = find_column(column_probabilities((1, 2, 3, 4, 4, 6, 7)), GRID)
    assert column is not None
    assert _order(column.labels) == [1, 2, 3, 4, 5, 6, 7]
    assert "C4 relabelled C5" in column.notes[0]


def test_a_missing_vertebra_leaves_a_gap_and_no_new_name() -> None:
    column = find_column(column_probabilities((1, 2, 0, 4, 5, 6, 7)), GRID)
    assert column is not None
    assert _order(column.labels) == [1, 2, 4, 5, 6, 7]


def test_a_piece_far_from_the_column_is_left_out() -> None:
    probabilities = column_probabilities((1, 2, 3, 4, 5))
    probabilities[:, 4:8, 2:8, 2:8] = 0.02
    probabilities[7, 4:8, 2:8, 2:8] = 0.82
    column = find_column(probabilities, GRID)
    assert column is not None
    assert 7 not in column.labels


def test_an_upside_down_order_never_comes_out() -> None:
    column = find_column(column_probabilities((7, 6, 5, 4, 3, 2, 1)), GRID)
    assert column is None or _order(column.labels) == sorted(_order(column.labels))


def test_a_lone_cervical_blob_is_no_cervical_spine() -> None:
    assert find_column(column_probabilities((7,)), GRID) is None


def test_two_vertebrae_in_the_middle_of_a_scan_without_c1_and_c2_above_are_no_cervical_spine() -> None:
    assert find_column(column_probabilities((3, 4), top=50), GRID) is None


def test_a_scan_that_starts_at_c3_has_a_cervical_spine() -> None:
    assert find_column(column_probabilities((3, 4), top=72), GRID) is not None


def test_a_short_column_that_is_unsure_of_itself_is_no_cervical_spine() -> None:
    sure = column_probabilities((1, 2, 3), top=50)
    assert find_column(sure, GRID) is not None
    unsure = np.where(sure > 0.5, np.float32(0.62), sure)
    assert find_column(unsure, GRID) is None


def test_nothing_is_no_cervical_spine() -> None:
    assert find_column(column_probabilities((0,)), GRID) is None


@pytest.mark.parametrize(("first", "status"), [(17, ASSESSED), (19, PARTLY), (21, PARTLY), (25, NOT_ASSESSED)])
def test_the_status_follows_where_the_first_slice_cuts_the_lowest_vertebra(first: int, status: str) -> None:
    # C7's block spans the planes 19 to 24.
    column = find_column(column_probabilities(top=70), GRID)
    assert column is not None
    below = first - round((column.grid.origin_lps_mm[2] - GRID.origin_lps_mm[2]) / 2.5)
    column.labels[: max(below, 0)] = 0
    affine = GRID.affine_lps()
    affine[2, 3] += first * 2.5
    cut = Volume(hu=np.zeros((80 - first, 60, 60), dtype=np.int16), affine_lps=affine)
    assert level_status(column, cut, 7) == status


def test_a_level_that_ends_at_blank_slices_is_only_partly_seen() -> None:
    column = find_column(column_probabilities(top=70), GRID)
    assert column is not None
    volume = volume_on(GRID)
    assert level_status(column, volume, 7) == ASSESSED
    volume.hu[:20] = -1024  # the scanner wrote empty slices below
    assert level_status(column, volume, 7) == PARTLY
    assert level_status(column, volume, 5) == ASSESSED


def test_air_in_front_of_a_level_is_the_pharynx_and_cuts_nothing() -> None:
    column = find_column(column_probabilities(top=70), GRID)
    assert column is not None
    volume = volume_on(GRID)
    volume.hu[:, :24] = -1000
    assert level_status(column, volume, 4) == ASSESSED


def test_a_level_that_is_nowhere_is_not_assessed() -> None:
    column = find_column(column_probabilities((1, 2, 3, 4, 5)), GRID)
    assert column is not None
    assert level_status(column, volume_on(GRID), 7) == NOT_ASSESSED


def test_the_representative_point_lies_inside_its_vertebra_near_the_midline() -> None:
    column = find_column(column_probabilities(), GRID)
    assert column is not None
    point = np.array(representative_point(column, 3))
    z, y, x = np.round(column.grid.to_index_zyx(point)).astype(int)
    assert column.labels[z, y, x] == 3
    assert abs(point[0] - GRID.to_lps_mm(np.array([0, 0, 29.5]))[0]) < 5


def test_the_centre_of_c2_is_its_body_and_not_the_dens() -> None:
    probabilities = column_probabilities()
    dens = (slice(None), slice(66, 70), slice(25, 29), slice(28, 32))
    probabilities[dens] = 0.02
    probabilities[2][dens[1:]] = 0.82
    column = find_column(probabilities, GRID)
    assert column is not None
    # The block of C2 spans the planes 59 to 64.
    assert GRID.to_index_zyx(np.array(representative_point(column, 2)))[0] < 64.5


def test_the_mask_lies_on_a_tilted_scanner_grid_where_the_vertebra_is() -> None:
    column = find_column(column_probabilities((3, 4, 5)), GRID)
    assert column is not None
    affine = np.diag([1.2, 1.2, 2.0, 1.0])
    affine[1, 2] = 0.5
    affine[:3, 3] = (-60.0, -75.0, -300.0)
    volume = Volume(hu=np.full((70, 90, 90), 300, dtype=np.int16), affine_lps=affine)
    mask = smooth_mask(volume, coarse_shapes(column))
    for level in (3, 4, 5):
        truth = column.grid.to_lps_mm(np.argwhere(column.labels == level)).mean(axis=0)
        drawn = volume.to_lps_mm(np.argwhere(mask == level)).mean(axis=0)
        assert np.linalg.norm(truth - drawn) < 1.0


def test_the_mask_leaves_out_air_inside_the_coarse_label() -> None:
    column = find_column(column_probabilities((3, 4, 5)), GRID)
    assert column is not None
    volume = volume_on(GRID)
    volume.hu[:, 30:, :] = -1000
    mask = smooth_mask(volume, coarse_shapes(column))
    assert mask[:, 24:29].any()
    assert not mask[:, 31:].any()
