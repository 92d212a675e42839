"""Tables of the slices of a data set: what the files say, what remains after cleaning, and which levels a slice shows.

meta_train                     one row a file, as it is: damaged files too, with empty values
meta_train_clean               one row a slice of the stack, from the most inferior; duplicates, strays and damaged
                               slices out; its Position, the SliceSpacing to the next and the Direction of numbers
meta_segmentation              the clean rows of segmented studies, with C1 ... C7 from the masks
meta_train_with_vertebrae      the clean rows with C1 ... C7 as a model sees them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from inference.dataset.errors import StudyUnusable
from inference.dataset.rsna import RsnaStudy
from inference.dataset.rsna_study import read_segmentation
from inference.dataset.slice_predictors import SlicePredictor, levels_by_slice
from inference.dataset.slices import FolderSlice, PlacedSlice, study_slices
from inference.synthetic.spec import LEVELS

RAW_COLUMNS: Final = (
    "StudyInstanceUID",
    "Slice",
    "ImageHeight",
    "ImageWidth",
    "SliceThickness",
    "ImagePositionPatient_x",
    "ImagePositionPatient_y",
    "ImagePositionPatient_z",
)
CLEAN_COLUMNS: Final = (*RAW_COLUMNS, "Position", "SliceSpacing", "Direction")
LEVEL_COLUMNS: Final = (*CLEAN_COLUMNS, *LEVELS)
TABLES: Final = {
    "meta_train": RAW_COLUMNS,
    "meta_train_clean": CLEAN_COLUMNS,
    "meta_segmentation": LEVEL_COLUMNS,
    "meta_train_with_vertebrae": LEVEL_COLUMNS,
}
WHOLE: Final = frozenset({"Slice", "ImageHeight", "ImageWidth", "Position", "Direction"})

Values = list[Any]
Rows = dict[str, list[Values]]


@dataclass(frozen=True, kw_only=True)
class StudyTables:
    """The rows of one study by table, and what was wrong with it."""

    rows: Rows
    notes: tuple[str, ...]


def study_tables(study: RsnaStudy, predictor: SlicePredictor | None) -> StudyTables:
    """The rows of one study; `predictor` None leaves the last table without it. What fails is a note."""
    uid = study.study_instance_uid
    slices = study_slices(study.folder)
    notes = list(slices.notes)
    clean = [_clean_row(uid, placed, slices.direction) for placed in slices.placed]
    rows: Rows = {"meta_train": [_raw_row(uid, file) for file in slices.files], "meta_train_clean": clean}
    if study.segmentation is not None:
        try:
            shown = levels_by_slice(slices.placed, read_segmentation(study.segmentation, uid))
            rows["meta_segmentation"] = _with_levels(clean, shown.astype(int).tolist())
        except StudyUnusable as error:
            notes.append(error.why)
    if predictor is not None and slices.placed:
        try:
            predicted = np.round(predictor(study, slices.placed), 5)
            rows["meta_train_with_vertebrae"] = _with_levels(clean, predicted.tolist())
        except StudyUnusable as error:
            notes.append(error.why)
    return StudyTables(rows=rows, notes=tuple(notes))


def _raw_row(uid: str, file: FolderSlice) -> Values:
    header = file.header
    if header is None:
        return [uid, file.number, *[None] * (len(RAW_COLUMNS) - 2)]
    position = header.image_position or (None, None, None)
    return [uid, file.number, header.rows, header.columns, header.slice_thickness_mm, *position]


def _clean_row(uid: str, placed: PlacedSlice, direction: int) -> Values:
    header = placed.header
    x, y, z = (float(v) for v in placed.affine_lps[:3, 3])
    raw = [uid, placed.number, header.rows, header.columns, header.slice_thickness_mm, x, y, z]
    return [*raw, placed.position, round(placed.spacing_mm, 4), direction]


def _with_levels(clean: list[Values], levels: list[list[Any]]) -> list[Values]:
    return [[*row, *shown] for row, shown in zip(clean, levels, strict=True)]
