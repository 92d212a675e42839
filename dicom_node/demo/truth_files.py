"""The truth beside a study: for programs (JSON, NIfTI) and for people (a table of slices)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicom_node.demo.slice_order import PlannedImage
from inference.synthetic import LEVELS, Phantom
from inference.synthetic.nifti import write_nifti

_PRESENT: Final = tuple(LEVELS)
_FRACTURED: Final = tuple(f"{level}_fractured" for level in LEVELS)
SLICE_COLUMNS: Final = ("slice", "z_mm", "instance_number", *_PRESENT, *_FRACTURED, "x", "y", "width", "height")


def write_truth(
    phantom: Phantom,
    out_dir: Path,
    *,
    study_instance_uid: str = "",
    series_instance_uids: Sequence[str] = (),
    images: Sequence[PlannedImage] = (),
) -> dict[str, Any]:
    """Write the truth of a study into `out_dir` and return it.

    `truth.json`; `slices.csv`, a row per slice and per image of it; `labels.nii.gz` (1 to 7 = C1 to C7) and
    `fractures.nii.gz` (0, or the level 1 to 7) on the study's own grid.
    With `images`, slices carry their Instance Number, and the truth says which slices are missing or there twice.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    truth = dict(phantom.truth)
    count = int(phantom.volume.hu.shape[0])
    truth["slices"] = count
    if images:
        first = {image.slice_index: image.number for image in images if not image.again}
        truth["slice_table"] = [row | {"instance_number": first.get(row["slice"])} for row in truth["slice_table"]]
        truth["missing_slices"] = sorted(set(range(count)) - set(first))
        truth["duplicate_slices"] = sorted(image.slice_index for image in images if image.again)
    if study_instance_uid:
        truth["study_instance_uid"] = study_instance_uid
        truth["series_instance_uids"] = list(series_instance_uids)
    (out_dir / "truth.json").write_text(json.dumps(truth, indent=1))
    _write_slices(out_dir / "slices.csv", truth["slice_table"], images)
    affine = phantom.volume.affine_lps
    write_nifti(out_dir / "labels.nii.gz", np.where(phantom.labels <= len(LEVELS), phantom.labels, 0), affine)
    write_nifti(out_dir / "fractures.nii.gz", phantom.fracture_mask, affine)
    return truth


def _write_slices(path: Path, table: Iterable[dict[str, Any]], images: Sequence[PlannedImage]) -> None:
    numbers: dict[int, list[int]] = {}
    for image in images:
        numbers.setdefault(image.slice_index, []).append(image.number)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SLICE_COLUMNS)
        for row in table:
            flags = [int(level in row[key]) for key in ("levels", "fractured") for level in LEVELS]
            for number in numbers.get(row["slice"], [] if images else [""]):
                writer.writerow([row["slice"], row["z_mm"], number, *flags, *(row["box"] or [""] * 4)])
