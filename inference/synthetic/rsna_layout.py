"""Phantoms in the folder layout of the RSNA 2022 cervical spine challenge: tables and segmentations.

    train.csv                                   StudyInstanceUID, patient_overall, C1 .. C7
    train_bounding_boxes.csv                    StudyInstanceUID, x, y, width, height, slice_number
    train_images/<StudyInstanceUID>/<n>.dcm     n = Instance Number = slice_number
    segmentations/<StudyInstanceUID>.nii        1-7 = C1-C7, 8-19 = T1-T12

The DICOM files are the caller's business. A segmentation's array runs, as the public ones do, to the patient's left,
front and head (so that it looks flipped beside the slices); its affine says where it lies.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.nifti import write_nifti
from inference.synthetic.spec import LEVELS

TRAIN_COLUMNS: Final = ("StudyInstanceUID", "patient_overall", *LEVELS)
BOX_COLUMNS: Final = ("StudyInstanceUID", "x", "y", "width", "height", "slice_number")
# 87 of 2,019 public studies have a segmentation.
SEGMENTED_SHARE: Final = 87 / 2019
_HIGHEST_LABEL: Final = 19


def train_row(study_instance_uid: str, truth: Mapping[str, Any]) -> list[Any]:
    """The row of `train.csv`: 1 for a fractured level, and for the patient where any level is."""
    fractured = {level["level"]: int(level["fractured"]) for level in truth["levels"]}
    return [study_instance_uid, max(fractured.values()), *(fractured[level] for level in LEVELS)]


def box_rows(study_instance_uid: str, truth: Mapping[str, Any], slice_numbers: Mapping[int, int]) -> list[list[Any]]:
    """The rows of `train_bounding_boxes.csv`, at most one for a slice, by slice number.

    `slice_numbers` maps the truth's slices to the file names' numbers. (x, y) is the top left corner, pixels.
    """
    boxed = [(slice_numbers[row["slice"]], row["box"]) for row in truth["slice_table"] if row["box"]]
    return [[study_instance_uid, *box, number] for number, box in sorted(boxed)]


def write_segmentation(path: Path, labels: NDArray[np.uint8], affine_lps: NDArray[np.floating]) -> None:
    """Write labels [z, y, x] with their LPS affine as the public segmentations are; other labels become 0."""
    known = np.where(labels <= _HIGHEST_LABEL, labels, 0).astype(np.uint8)
    flipped = np.array(affine_lps, dtype=float)
    flipped[:3, 1] *= -1
    flipped[:3, 3] += affine_lps[:3, 1] * (labels.shape[1] - 1)
    write_nifti(path, known[:, ::-1], flipped)


def is_segmented(seed: int, share: float) -> bool:
    """Whether the study of a seed has a segmentation, where a share of them has."""
    return bool(np.random.default_rng([seed, 9003]).random() < share)


def write_tables(root: Path, train: Iterable[Sequence[Any]], boxes: Iterable[Sequence[Any]]) -> None:
    """Write both tables, each at once or not at all."""
    for name, columns, rows in (
        ("train.csv", TRAIN_COLUMNS, train),
        ("train_bounding_boxes.csv", BOX_COLUMNS, boxes),
    ):
        partial = root / f".{name}.partial"
        with partial.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        os.replace(partial, root / name)
