"""One study of the RSNA layout: its volume, its boxes by plane, and its segmentation where it has one."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from inference.dataset.errors import StudyUnusable
from inference.dataset.prepared import OTHER_VERTEBRA
from inference.dataset.rsna import RsnaStudy
from inference.dataset.rsna_tables import PixelBox
from inference.elements import text
from inference.errors import ReadingError, UnreadableInstance
from inference.headers import InstanceHeader, read_header
from inference.reading import SeriesVolume, SliceRef, read_series
from inference.synthetic.nifti import read_nifti
from inference.volume import Volume

_NIFTI_ERRORS: Final = (ValueError, OSError, EOFError, struct.error, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """Labels uint8 [z, y, x] as they are stored (1-7 = C1-C7, 8 any other vertebra) and the LPS affine they lie by."""

    labels: NDArray[np.uint8]
    affine_lps: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedStudy:
    """A study's voxels and annotations.

    `boxes` are pairs of a plane of `volume` and the box in it. `files[k]` is the file of plane k. `notes` say what was
    assumed, repaired or left out.
    """

    study_instance_uid: str
    patient: str
    volume: Volume
    slice_thickness_mm: float | None
    files: tuple[Path, ...]
    boxes: tuple[tuple[int, PixelBox], ...]
    segmentation: Segmentation | None
    notes: tuple[str, ...]


def study_headers(folder: Path, uid: str) -> tuple[list[InstanceHeader], tuple[str, ...]]:
    """The headers of a study's files, by file name, and notes on the files that are no usable DICOM.

    Raises StudyUnusable where no file is.
    """
    headers, damaged = [], []
    for path in dicom_files(folder):
        try:
            headers.append(read_header(path))
        except UnreadableInstance as error:
            damaged.append(f"{path.name}: {error.why}")
    if not headers:
        raise StudyUnusable(uid, f"no readable DICOM file in {folder}" + (f" ({damaged[0]})" if damaged else ""))
    notes = (f"{len(damaged)} files left out, the first {damaged[0]}",) if damaged else ()
    return headers, notes


def dicom_files(folder: Path) -> list[Path]:
    """The files of a folder, those with numbers for names by number."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: (not path.stem.isdigit(), int(path.stem) if path.stem.isdigit() else 0, path))


def load_study(study: RsnaStudy, *, threads: int | None = None) -> LoadedStudy:
    """Read a study. Raises StudyUnusable with the reason where it has no volume or its segmentation is damaged."""
    uid = study.study_instance_uid
    try:
        headers, notes = study_headers(study.folder, uid)
        chosen, series_notes = _largest_series(headers)
        series = read_series(chosen, threads=threads)
    except (ReadingError, OSError) as error:
        raise StudyUnusable(uid, str(error)) from error
    boxes, box_notes = _placed_boxes(study.boxes, series)
    return LoadedStudy(
        study_instance_uid=uid,
        patient=patient_of(chosen[0].file) or uid,
        volume=series.volume,
        slice_thickness_mm=chosen[0].slice_thickness_mm,
        files=tuple(reference.file for reference in series.slices),
        boxes=boxes,
        segmentation=None if study.segmentation is None else read_segmentation(study.segmentation, uid),
        notes=(*notes, *series_notes, *series.notes, *box_notes),
    )


def read_segmentation(path: Path, uid: str) -> Segmentation:
    """A NIfTI mask by its own affine; labels above 7 (T1 and lower) become 8. Raises StudyUnusable."""
    try:
        voxels, affine = read_nifti(path)
    except _NIFTI_ERRORS as error:
        raise StudyUnusable(uid, f"the segmentation cannot be used: {error}") from error
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise StudyUnusable(uid, f"the segmentation cannot be used: {path} has an affine without extent")
    labels = np.empty(voxels.shape, dtype=np.uint8)
    # Plane by plane: masks are stored as doubles too.
    for plane, stored in zip(labels, voxels, strict=True):
        if not np.isfinite(stored).all() or stored.min(initial=0) < 0:
            raise StudyUnusable(uid, f"the segmentation cannot be used: {path} holds values that are no labels")
        plane[:] = np.minimum(np.rint(stored), OTHER_VERTEBRA)
    return Segmentation(labels=labels, affine_lps=affine)


def patient_of(file: Path) -> str:
    """The Patient ID (0010,0020) of a file, empty where it has none; it groups studies and is never logged."""
    return text(dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"], force=True), "PatientID")


def slice_number(reference: SliceRef) -> int | None:
    """The number that the tables know a slice by: its file's name."""
    return int(reference.file.stem) if reference.file.stem.isdigit() else None


def _largest_series(headers: list[InstanceHeader]) -> tuple[list[InstanceHeader], tuple[str, ...]]:
    ordered = sorted(headers, key=lambda header: header.series_instance_uid)
    series = [list(group) for _, group in groupby(ordered, key=lambda header: header.series_instance_uid)]
    largest = max(series, key=len)
    if len(series) == 1:
        return largest, ()
    return largest, (f"{len(series)} series in the folder: the one with {len(largest)} of {len(headers)} files taken",)


def _placed_boxes(
    boxes: tuple[PixelBox, ...], series: SeriesVolume
) -> tuple[tuple[tuple[int, PixelBox], ...], tuple[str, ...]]:
    """Each box with its plane, and a note on those whose slice is not in the volume or has no such pixels."""
    planes: dict[int | None, int] = {}
    for plane, reference in enumerate(series.slices):
        planes.setdefault(slice_number(reference), plane)
    _, rows, columns = series.volume.hu.shape
    placed, lost = [], []
    for box in boxes:
        inside = box.x < columns and box.y < rows and box.x + box.width > 0 and box.y + box.height > 0
        if box.slice_number in planes and inside:
            placed.append((planes[box.slice_number], box))
        else:
            lost.append(box.slice_number)
    notes = (f"{len(lost)} boxes without their slice or outside it, the first for slice {lost[0]}",) if lost else ()
    return tuple(placed), notes


def facts_of(study: LoadedStudy) -> dict[str, Any]:
    """Spacing, size and notes, as they are kept beside a prepared study."""
    return {
        "spacing_mm_zyx": [round(v, 4) for v in study.volume.spacing_mm_zyx],
        "slices": int(study.volume.hu.shape[0]),
        "matrix": [int(n) for n in study.volume.hu.shape[1:]],
        "slice_mm": study.slice_thickness_mm,
        "notes": list(study.notes),
    }
