"""A scan in use is prepared as training's studies are."""

from __future__ import annotations

import numpy as np
import pytest

from inference.dataset.crop import MARGIN_MM_XYZ
from inference.dataset.from_scan import study_from_scan
from inference.dataset.prepared import SPACING_MM_ZYX, real_hu
from inference.mask import smooth_mask
from inference.postprocess import Column, find_column
from inference.shape import coarse_shapes
from inference.spine import Spine, describe
from inference.volume import Volume
from tests.unit.inference_models.builders import GRID, column_probabilities


def _scan() -> tuple[Volume, Spine]:
    """A column of blocks, C3 to C7, whose HU says which level it is, on a finer grid that is tilted by nothing."""
    column = find_column(column_probabilities((3, 4, 5, 6, 7)), GRID)
    assert column is not None
    affine = GRID.affine_lps() @ np.diag([0.5, 0.5, 0.5, 1.0])
    volume = Volume(hu=np.full([2 * n for n in GRID.shape_zyx], 40, dtype=np.int16), affine_lps=affine)
    mask = smooth_mask(volume, coarse_shapes(column))
    volume.hu[mask > 0] = 300 + 100 * mask[mask > 0].astype(np.int16)
    return volume, describe(volume, column, mask)


def test_the_study_holds_the_drawn_levels_with_the_voxels_they_were_drawn_on() -> None:
    volume, spine = _scan()
    study = study_from_scan(volume, spine)
    assert study.levels is not None
    assert set(np.unique(study.levels)) == {0, 3, 4, 5, 6, 7}
    assert study.grid.spacing_mm_zyx == SPACING_MM_ZYX
    for level in range(3, 8):
        assert float(np.median(real_hu(study.hu)[study.levels == level])) == pytest.approx(300 + 100 * level, abs=4)


def test_the_crop_leaves_a_margin_around_the_column() -> None:
    volume, spine = _scan()
    study = study_from_scan(volume, spine)
    assert study.levels is not None
    where = study.grid.to_lps_mm(np.argwhere(study.levels > 0))
    first, last = (study.grid.to_lps_mm(np.array(end)) for end in ((0, 0, 0), np.array(study.grid.shape_zyx) - 1))
    assert np.all(where.min(axis=0) - first > np.array(MARGIN_MM_XYZ) - 4)
    assert np.all(last - where.max(axis=0) > np.array(MARGIN_MM_XYZ) - 4)


def test_a_column_without_a_voxel_is_refused() -> None:
    volume, spine = _scan()
    nothing = Column(grid=spine.column.grid, labels=np.zeros_like(spine.column.labels), evidence={})
    with pytest.raises(ValueError, match="no voxel"):
        study_from_scan(volume, Spine(mask=spine.mask, column=nothing, levels=spine.levels))
