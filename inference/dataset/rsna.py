"""The RSNA 2022 layout, real or synthetic, as a list of studies and a list of what is wrong with the data set.

    train.csv                                   StudyInstanceUID, patient_overall, C1 .. C7
    train_bounding_boxes.csv                    StudyInstanceUID, x, y, width, height, slice_number
    train_images/<StudyInstanceUID>/<n>.dcm
    segmentations/<StudyInstanceUID>.nii[.gz]
    test.csv, test_images/<StudyInstanceUID>/<n>.dcm

A malformed table stops everything (`TableError`): a truth that was misread is worse than none. What concerns single
studies (a folder that is missing, tables that disagree) is listed in `problems`, and the others go on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from inference.dataset.errors import DataSetError
from inference.dataset.rsna_tables import PixelBox, read_boxes, read_test, read_train

Part = Literal["train", "test"]

# Left out by the second and the third place of the challenge as unusable.
KNOWN_BAD: Final = ("1.2.826.0.1.3680043.20574", "1.2.826.0.1.3680043.29952")
_SEGMENTATION_SUFFIXES: Final = (".nii", ".nii.gz")


@dataclass(frozen=True, kw_only=True)
class RsnaStudy:
    """One study of the layout: where its files lie and what the tables say; `truth` is None for a test study."""

    study_instance_uid: str
    folder: Path
    truth: tuple[int, ...] | None
    boxes: tuple[PixelBox, ...] = ()
    segmentation: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with one study of a data set. `left_out`: the study is not among the data set's studies."""

    study_instance_uid: str
    reason: str
    left_out: bool


@dataclass(frozen=True, kw_only=True)
class RsnaDataSet:
    """The studies that can be read, in the order of the table, and the problems of the others."""

    root: Path
    part: Part
    studies: tuple[RsnaStudy, ...]
    problems: tuple[Problem, ...]


def is_rsna(root: Path) -> bool:
    """Whether a folder looks like the layout."""
    return any((root / name).exists() for name in ("train.csv", "train_images", "test.csv", "test_images"))


def open_rsna(root: Path, part: Part = "train", *, exclude: Collection[str] = KNOWN_BAD) -> RsnaDataSet:
    """The data set in a folder, from its tables and folder names; no DICOM file is opened.

    Raises TableError for a malformed table, DataSetError where the part is not there at all.
    """
    images = root / f"{part}_images"
    if not images.is_dir():
        raise DataSetError(f"{root} has no folder {images.name}: expected {images.name}/<StudyInstanceUID>/<n>.dcm")
    truth = _truth(root, part)
    boxes, segmentations = _annotations(root) if part == "train" else ({}, {})
    there = {path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")}
    problems = [
        *_left_out(truth, there, images, exclude),
        *_disagreements({uid: row for uid, row in truth.items() if uid in there}, boxes, segmentations),
    ]
    studies = tuple(
        RsnaStudy(
            study_instance_uid=uid,
            folder=images / uid,
            truth=row,
            boxes=boxes.get(uid, ()),
            segmentation=segmentations.get(uid),
        )
        for uid, row in truth.items()
        if uid in there and uid not in exclude
    )
    return RsnaDataSet(root=root, part=part, studies=studies, problems=tuple(problems))


def _truth(root: Path, part: Part) -> dict[str, tuple[int, ...] | None]:
    table = root / f"{part}.csv"
    if not table.exists():
        raise DataSetError(f"{root} has no table {table.name}")
    if part == "test":
        return dict.fromkeys(read_test(table))
    return dict(read_train(table))


def _annotations(root: Path) -> tuple[dict[str, tuple[PixelBox, ...]], dict[str, Path]]:
    """Boxes and segmentation files by study; a data set may have neither."""
    table = root / "train_bounding_boxes.csv"
    files = {
        path.name.removesuffix(suffix): path
        for suffix in _SEGMENTATION_SUFFIXES
        for path in sorted((root / "segmentations").glob(f"[!.]*{suffix}"))
    }
    return (read_boxes(table) if table.exists() else {}), files


def _left_out(
    truth: dict[str, tuple[int, ...] | None], there: set[str], images: Path, exclude: Collection[str]
) -> Iterable[Problem]:
    for uid in truth:
        if uid in exclude:
            yield Problem(study_instance_uid=uid, reason="known to be unusable, excluded", left_out=True)
        elif uid not in there:
            yield Problem(study_instance_uid=uid, reason=f"in the table, but {images / uid} is missing", left_out=True)
    for uid in sorted(there - truth.keys()):
        yield Problem(study_instance_uid=uid, reason="has images, but no row in the table", left_out=True)


def _disagreements(
    truth: dict[str, tuple[int, ...] | None],
    boxes: dict[str, tuple[PixelBox, ...]],
    segmentations: dict[str, Path],
) -> Iterable[Problem]:
    for uid, of_study in boxes.items():
        row = truth.get(uid)
        if row is None:
            reason = f"{len(of_study)} boxes, but no study with images and a row in train.csv"
            yield Problem(study_instance_uid=uid, reason=reason, left_out=False)
        elif not row[0]:
            reason = f"{len(of_study)} boxes around fractures, but no fracture in train.csv"
            yield Problem(study_instance_uid=uid, reason=reason, left_out=False)
    for uid in sorted(segmentations.keys() - truth.keys()):
        reason = f"{segmentations[uid].name} belongs to no study with images and a row in train.csv"
        yield Problem(study_instance_uid=uid, reason=reason, left_out=False)
