"""DICOM studies of the public layout into prepared studies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.dataset.crop import around_bone, around_levels
from inference.dataset.errors import StudyUnusable
from inference.dataset.from_scan import drawn_on, localiser_facts
from inference.dataset.placing import bounds_lps_mm, boxes_on_grid, on_grid
from inference.dataset.prepared import SPACING_MM_ZYX, PreparedStudy, stored_hu
from inference.dataset.rsna import RsnaStudy
from inference.dataset.rsna_study import LoadedStudy, Segmentation, dicom_files, facts_of, load_study
from inference.preprocess import PatientGrid, sample_volume
from inference.spine import Localiser, Spine

_CERVICAL = 7


def prepare_dicom(
    study: RsnaStudy,
    localiser: Localiser | None = None,
    *,
    spacing_mm_zyx: tuple[float, float, float] = SPACING_MM_ZYX,
    threads: int | None = None,
) -> PreparedStudy:
    """The prepared study of a folder of DICOM.

    `levels` are the segmentation's, or with a localiser its answer (the segmentation stays in `true_levels`). The crop
    is around them; where neither knows any level it is around the bone (`facts["crop"]` says which). Raises
    StudyUnusable with the reason.
    """
    loaded = load_study(study, threads=threads)
    spine = None if localiser is None else localiser.locate(loaded.volume)
    grid, crop = _crop(loaded, spine, spacing_mm_zyx)
    drawn = None if loaded.segmentation is None else _on(loaded.segmentation, grid)
    return PreparedStudy(
        study_instance_uid=loaded.study_instance_uid,
        patient=loaded.patient,
        source="dicom",
        hu=stored_hu(sample_volume(loaded.volume, grid).numpy()),
        grid=grid,
        **_levels(loaded, spine, localiser is not None, drawn, grid),
        boxes=boxes_on_grid(loaded.boxes, loaded.volume, grid),
        truth=study.truth,
        facts={
            **facts_of(loaded),
            "crop": crop,
            "source_bytes": sum(path.stat().st_size for path in dicom_files(study.folder)),
        }
        | localiser_facts(spine, localiser is not None),
    )


def _crop(
    loaded: LoadedStudy, spine: Spine | None, spacing_mm_zyx: tuple[float, float, float]
) -> tuple[PatientGrid, str]:
    """The grid, and what it is around: "levels" or "bone"."""
    bounds = None
    if spine is not None:
        bounds = bounds_lps_mm(spine.column.labels > 0, spine.column.grid.affine_lps())
    if bounds is None and loaded.segmentation is not None:
        labels = loaded.segmentation.labels
        bounds = bounds_lps_mm((labels > 0) & (labels <= _CERVICAL), loaded.segmentation.affine_lps)
    try:
        if bounds is None:
            return around_bone(loaded.volume, spacing_mm_zyx), "bone"
        return around_levels(bounds, loaded.volume, spacing_mm_zyx), "levels"
    except ValueError as error:
        where = "there is no bone to crop around" if bounds is None else "the levels lie outside the slices"
        raise StudyUnusable(loaded.study_instance_uid, f"{where} ({error})") from error


def _on(segmentation: Segmentation, grid: PatientGrid) -> NDArray[np.uint8]:
    return on_grid(segmentation.labels, segmentation.affine_lps, grid)


def _levels(
    loaded: LoadedStudy, spine: Spine | None, asked: bool, drawn: NDArray[np.uint8] | None, grid: PatientGrid
) -> dict[str, Any]:
    if not asked:
        return {"levels": drawn, "levels_from": None if drawn is None else "truth"}
    if spine is None:
        return {"levels": None, "levels_from": None, "true_levels": drawn}
    return {"levels": drawn_on(grid, loaded.volume, spine), "levels_from": "localiser", "true_levels": drawn}
