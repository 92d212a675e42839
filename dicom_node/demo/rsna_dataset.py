"""Many phantoms as one training set in the layout of the RSNA 2022 challenge (see `inference.synthetic.rsna_layout`).

Resumable: a study's folder is written under a temporary name and renamed, and a record of it (`phantom/<seed>.json`,
with its whole truth) comes last. What has its record is not made again; the tables are made from the records.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from dicom_node.demo.ct_headers import study_header
from dicom_node.demo.image_files import SYNTAXES
from dicom_node.demo.phantom_study import series_header, write_series
from dicom_node.demo.slice_order import plan_images
from inference.synthetic import Phantom, draw_spec, make_phantom
from inference.synthetic.rsna_layout import SEGMENTED_SHARE, box_rows, is_segmented, train_row, write_segmentation
from inference.synthetic.rsna_layout import write_tables as write_csv_tables

# Seen in public files: plain and JPEG Lossless.
_SYNTAXES: Final = ("implicit-vr-little-endian", "explicit-vr-little-endian", "jpeg-lossless-sv1")

Progress = Callable[[str, float], None]


def write_rsna_dataset(
    root: Path,
    *,
    first_seed: int = 1,
    studies: int = 1,
    segmented_share: float = SEGMENTED_SHARE,
    slices: int | None = None,
    matrix: int | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write studies of the seeds `first_seed` on into `root`; returns how many there are, and of which sort.

    Fractures are as frequent as in the public labels, the scanner as the challenge asked for (bone kernel, at most
    1 mm). The first study always has a segmentation, the others with the chance `segmented_share`. A call with the
    same options goes on where an earlier one ended; the tables hold all studies that `root` has. Raises ValueError for
    options out of range, and where `root` holds studies made with others.
    """
    if studies < 1:
        raise ValueError(f"a data set of {studies} studies cannot be made")
    if not 0 <= segmented_share <= 1:
        raise ValueError(f"the share of studies with a segmentation is between 0 and 1, not {segmented_share:g}")
    tell = progress or (lambda what, share: None)
    options = {"first_seed": first_seed, "segmented_share": segmented_share, "slices": slices, "matrix": matrix}
    records = root / "phantom"
    _claim(root, records, options)
    try:
        for place, seed in enumerate(range(first_seed, first_seed + studies)):
            what = f"study {place + 1} of {studies}"
            tell(what, place / studies)
            record = records / f"{seed}.json"
            if record.exists():
                continue
            rendered = partial(_tell_share, tell, what, place / studies, 0.6 / studies)
            phantom = _challenge_phantom(seed, slices, matrix, workers, rendered)
            _write_study(root, record, phantom, seed, seed == first_seed or is_segmented(seed, segmented_share))
    finally:
        counts = write_tables(root)
    tell("done", 1.0)
    return counts


def _tell_share(tell: Progress, what: str, start: float, length: float, share: float) -> None:
    tell(what, start + length * share)


def write_tables(root: Path) -> dict[str, int]:
    """Write `train.csv` and `train_bounding_boxes.csv` from the records in `root`; returns counts."""
    records = sorted((root / "phantom").glob("[0-9]*.json"), key=lambda path: int(path.stem))
    rows, boxes, segmented = [], [], 0
    for path in records:
        record = json.loads(path.read_text())
        rows.append(record["train"])
        boxes += record["boxes"]
        segmented += record["segmented"]
    write_csv_tables(root, rows, boxes)
    fractured = sum(row[1] for row in rows)
    return {"studies": len(rows), "fractured": fractured, "boxes": len(boxes), "segmented": segmented}


def _claim(root: Path, records: Path, options: dict[str, Any]) -> None:
    """Remember the options in `root`, or refuse where it was made with others."""
    records.mkdir(parents=True, exist_ok=True)
    mark = records / "options.json"
    if mark.exists():
        before = json.loads(mark.read_text())
        if before != options:
            changed = ", ".join(key for key in options if before.get(key) != options[key])
            raise ValueError(f"{root} holds studies made with another {changed}: use the same, or another folder")
        return
    unfinished = records / ".options.partial"
    unfinished.write_text(json.dumps(options))
    os.replace(unfinished, mark)


def _challenge_phantom(
    seed: int, slices: int | None, matrix: int | None, workers: int, progress: Callable[[float], None]
) -> Phantom:
    changes: dict[str, Any] = {"slices": slices or 0} | ({"matrix": matrix} if matrix else {})
    spec = draw_spec(seed, coverage="cspine", protocol="challenge", scanner={"tilt_deg": 0.0}, **changes)
    return make_phantom(spec, workers=workers, progress=progress)


def _write_study(root: Path, record: Path, phantom: Phantom, seed: int, segmented: bool) -> None:
    spec = phantom.spec
    study = study_header(seed, spec.to_json(), spec.sex, spec.age, "rsna", non_ascii=False)
    uid = str(study.study_instance_uid)
    images = plan_images(phantom.volume.hu.shape[0], seed)
    unnamed, final = root / "train_images" / f".partial-{seed}", root / "train_images" / uid
    for leftover in (unnamed, final):
        shutil.rmtree(leftover, ignore_errors=True)
    header, syntax = series_header(seed, spec, spec.scanner.kernel, 2), SYNTAXES[_SYNTAXES[seed % len(_SYNTAXES)]]
    write_series(phantom, phantom.volume.hu, study, header, images, unnamed, syntax, name="{}.dcm")
    if segmented:
        folder = root / "segmentations"
        folder.mkdir(exist_ok=True)
        write_segmentation(folder / f".{uid}.partial", phantom.labels, phantom.volume.affine_lps)
        os.replace(folder / f".{uid}.partial", folder / f"{uid}.nii")
    os.replace(unnamed, final)
    numbers = {image.slice_index: image.number for image in images}
    truth = phantom.truth | {"study_instance_uid": uid, "slices": len(images)}
    row = {
        "train": train_row(uid, truth),
        "boxes": box_rows(uid, truth, numbers),
        "segmented": segmented,
        "slice_numbers": [numbers[k] for k in sorted(numbers)],
        "truth": truth,
    }
    unfinished = record.with_name(f".{record.name}.partial")
    unfinished.write_text(json.dumps(row))
    os.replace(unfinished, record)
