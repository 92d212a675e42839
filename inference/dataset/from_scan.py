"""A scan with its located spine as a prepared study: what a fracture model looks at in use, as in training."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.dataset.crop import around_levels
from inference.dataset.placing import bounds_lps_mm, smooth_on_grid
from inference.dataset.prepared import FOUND, SPACING_MM_ZYX, PreparedStudy, stored_hu
from inference.mask import source_box
from inference.preprocess import PatientGrid, sample_volume
from inference.spine import Spine
from inference.volume import Volume

IN_USE: Final = "in use"


def study_from_scan(volume: Volume, spine: Spine) -> PreparedStudy:
    """The study of one analysis, in memory: the crop around the column and the levels as the localiser drew them.

    It has no truth and no identity. Raises ValueError where the column lies outside the volume.
    """
    bounds = bounds_lps_mm(spine.column.labels > 0, spine.column.grid.affine_lps())
    if bounds is None:
        raise ValueError("the column has no voxel")
    grid = around_levels(bounds, volume, SPACING_MM_ZYX)
    return PreparedStudy(
        study_instance_uid=IN_USE,
        patient=IN_USE,
        source="dicom",
        hu=stored_hu(sample_volume(volume, grid).numpy()),
        grid=grid,
        levels=drawn_on(grid, volume, spine),
        levels_from="localiser",
        fracture=None,
        boxes=(),
        truth=None,
        facts=localiser_facts(spine, asked=True),
    )


def localiser_facts(spine: Spine | None, asked: bool) -> dict[str, Any]:
    """What a prepared study's facts say of a localiser's answer; nothing where none was asked."""
    if not asked:
        return {}
    return {FOUND: spine is not None} | ({} if spine is None else {"localiser_notes": list(spine.notes)})


def drawn_on(grid: PatientGrid, volume: Volume, spine: Spine) -> NDArray[np.uint8]:
    """The localiser's levels on a patient grid."""
    # The rest of the scan holds no label, and looking through all of it takes longer than drawing.
    box = source_box(volume, spine.column.grid)
    affine = volume.affine_lps.copy()
    affine[:3, 3] += volume.affine_lps[:3, :3] @ np.array([side.start for side in box[::-1]], dtype=float)
    return smooth_on_grid(spine.mask[box], affine, grid)
