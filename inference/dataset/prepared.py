"""A study as training sees it: cropped to the cervical spine, resampled, HU in one byte, with all that is known of it.

One file a study, a zip archive: `head.json` (everything but the voxels, stored first and uncompressed, so that truth
and facts of thousands of studies are read without a voxel) and the arrays as deflated `.npy` members, which
`numpy.load` reads too. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.preprocess import PatientGrid

HU_LOW: Final = -512.0
HU_STEP: Final = 8.0
FOUND: Final = "cervical_spine_found"
SPACING_MM_ZYX: Final = (0.8, 0.45, 0.45)
SUFFIX: Final = ".study"
FOLDS: Final = "folds.csv"
FORMAT: Final = 1
SOURCES: Final = ("dicom", "phantom")
LEVELS_FROM: Final = ("truth", "localiser", "drawn")
OTHER_VERTEBRA: Final = 8
_HEAD: Final = "head.json"
_ARRAYS: Final = ("hu", "levels", "fracture", "true_levels")
_HIGHEST: Final = {"levels": OTHER_VERTEBRA, "fracture": 7, "true_levels": OTHER_VERTEBRA}


class PreparedFileUnusable(Exception):
    """A file of the cache is damaged or of another format; the message names it. Preparing it again cures it."""


@dataclass(frozen=True, kw_only=True)
class SliceBox:
    """A box around what is fractured in plane `z` of the study's grid.

    In continuous indices of the grid: voxel k's centre is at k, its sides at k - 0.5 and k + 0.5.
    """

    z: int
    y_low: float
    y_high: float
    x_low: float
    x_high: float

    def __post_init__(self) -> None:
        if not (self.y_low < self.y_high and self.x_low < self.x_high):
            raise ValueError(
                f"box in plane {self.z} is empty: y {self.y_low}-{self.y_high}, x {self.x_low}-{self.x_high}"
            )


@dataclass(frozen=True, kw_only=True)
class PreparedHead:
    """What is known of a study without its voxels; the fields are those of `PreparedStudy`."""

    study_instance_uid: str
    patient: str
    source: str
    grid: PatientGrid
    levels_from: str | None
    boxes: tuple[SliceBox, ...]
    truth: tuple[int, ...] | None
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedStudy:
    """One study on `grid`, arrays uint8 [z, y, x] (z rises to the head, y to the back, x to the left).

    `hu`: HU = HU_LOW + HU_STEP * value, cut off outside -512 to 1528 HU. `levels`: 0 background, 1-7 = C1-C7, 8 any
    other vertebra; None where nobody has drawn them; `levels_from` "truth" (a person's or the generator's),
    "localiser", or "drawn" (named by the truth, drawn by the localiser). `true_levels` keeps the truth where `levels`
    is something else. `fracture`: the level whose fracture zone it is; phantoms only. `boxes` surround fractures slice
    by slice. `truth`: 0 or 1 for patient_overall and C1 ... C7; None for a test study. `patient` groups studies that
    must stay in one fold. `facts` are JSON-ready; `FOUND` among them is False where a localiser looked and found no
    cervical spine.
    Raises ValueError where these do not fit each other.
    """

    study_instance_uid: str
    patient: str
    source: str
    hu: NDArray[np.uint8]
    grid: PatientGrid
    levels: NDArray[np.uint8] | None = None
    levels_from: str | None = None
    true_levels: NDArray[np.uint8] | None = None
    fracture: NDArray[np.uint8] | None = None
    boxes: tuple[SliceBox, ...] = ()
    truth: tuple[int, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self)
        for name in _ARRAYS:
            array = getattr(self, name)
            if array is not None:
                self._check_array(name, array)

    def _check_array(self, name: str, array: NDArray[np.uint8]) -> None:
        if array.dtype != np.uint8 or array.shape != self.grid.shape_zyx:
            raise ValueError(
                f"study {self.study_instance_uid}: {name} is {array.dtype} {array.shape}, "
                f"expected uint8 {self.grid.shape_zyx} as its grid"
            )
        if name in _HIGHEST and array.size and int(array.max()) > _HIGHEST[name]:
            raise ValueError(
                f"study {self.study_instance_uid}: {name} has the value {int(array.max())}, at most {_HIGHEST[name]}"
            )

    @property
    def head(self) -> PreparedHead:
        """The same without the voxels."""
        return PreparedHead(**{name: getattr(self, name) for name in PreparedHead.__dataclass_fields__})


def stored_hu(hu: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Hounsfield units as bytes: the nearest step, cut off at both ends."""
    return np.clip(np.rint((hu - HU_LOW) / HU_STEP), 0, 255).astype(np.uint8)


def real_hu(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Hounsfield units of stored bytes, within half a step of what they were where they were not cut off."""
    return stored.astype(np.float32) * np.float32(HU_STEP) + np.float32(HU_LOW)


def save_prepared(path: Path, study: PreparedStudy) -> None:
    """Write the study's file; the name appears only when the file is complete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    head = {"format": FORMAT, **asdict(study.head)}
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            archive.writestr(_HEAD, json.dumps(head), compress_type=zipfile.ZIP_STORED)
            for name in _ARRAYS:
                array = getattr(study, name)
                if array is not None:
                    member = io.BytesIO()
                    np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
                    archive.writestr(f"{name}.npy", member.getvalue())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_head(path: Path) -> PreparedHead:
    """All but the voxels of a study's file; raises PreparedFileUnusable, or OSError where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _parsed_head(json.loads(archive.read(_HEAD)))
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error


def load_prepared(path: Path) -> PreparedStudy:
    """The study of a file; raises PreparedFileUnusable, or OSError where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            head = _parsed_head(json.loads(archive.read(_HEAD)))
            there = set(archive.namelist())
            arrays: dict[str, Any] = {
                name: np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
                for name in _ARRAYS
                if f"{name}.npy" in there
            }
        return PreparedStudy(**{n: getattr(head, n) for n in PreparedHead.__dataclass_fields__}, **arrays)
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error


class PreparedFolder:
    """A folder of prepared studies. Opening it and asking for truth, facts or folds reads no voxels."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where the folder has no study."""
        self.folder = folder
        self._heads: dict[str, PreparedHead] = {}
        self.uids: tuple[str, ...] = tuple(
            sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"[!.]*{SUFFIX}"))
        )
        if not self.uids:
            raise FileNotFoundError(
                f"{folder} holds no prepared study (*{SUFFIX}); make some with `cspine-node prepare`"
            )

    def path(self, uid: str) -> Path:
        """Where the study of a UID lies, or would lie."""
        return study_path(self.folder, uid)

    def head(self, uid: str) -> PreparedHead:
        """All but the voxels of one study."""
        if uid not in self._heads:
            self._heads[uid] = load_head(self.path(uid))
        return self._heads[uid]

    def load(self, uid: str) -> PreparedStudy:
        """One study; nothing is kept in memory here."""
        return load_prepared(self.path(uid))

    @property
    def truth(self) -> dict[str, tuple[int, ...] | None]:
        """patient_overall, C1 ... C7 of each study, None for one whose truth is not known; in the order of `uids`."""
        return {uid: self.head(uid).truth for uid in self.uids}

    @property
    def patients(self) -> dict[str, str]:
        """The patient of each study."""
        return {uid: self.head(uid).patient for uid in self.uids}

    @cached_property
    def folds(self) -> Mapping[str, int]:
        """The fold of each study by `folds.csv`; empty where the folder has none.

        Raises ValueError where the file lacks one of the studies: then the folds are to be made again.
        """
        path = self.folder / FOLDS
        if not path.exists():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            folds = {row["StudyInstanceUID"]: int(row["fold"]) for row in csv.DictReader(file)}
        missing = [uid for uid in self.uids if uid not in folds]
        if missing:
            raise ValueError(
                f"{path} has no fold for {len(missing)} of {len(self.uids)} studies, the first {missing[0]}; "
                "call `cspine-node prepare` again"
            )
        return folds


def study_path(folder: Path, uid: str) -> Path:
    """The file of a study in a folder. Raises ValueError for a UID that would leave the folder."""
    return folder / f"{checked_name(uid)}{SUFFIX}"


def checked_name(uid: str) -> str:
    """The UID where it can be the name of a file; files may hold anything in place of one. Raises ValueError."""
    if not uid or uid.startswith(".") or any(not (c.isascii() and (c.isalnum() or c in ".-_")) for c in uid):
        raise ValueError(f"UID {uid!r} is no file name")
    return uid


def _check_names(study: PreparedStudy) -> None:
    uid = study.study_instance_uid
    if study.source not in SOURCES:
        raise ValueError(f"study {uid}: source {study.source!r} is not one of {', '.join(SOURCES)}")
    if (study.levels is None) != (study.levels_from is None) or study.levels_from not in (None, *LEVELS_FROM):
        raise ValueError(f"study {uid}: levels_from {study.levels_from!r} does not say where its levels come from")
    if study.truth is not None and (len(study.truth) != 8 or any(v not in (0, 1) for v in study.truth)):
        raise ValueError(f"study {uid}: truth {study.truth} is not 8 values 0 or 1")
    if any(not 0 <= box.z < study.grid.shape_zyx[0] for box in study.boxes):
        raise ValueError(f"study {uid}: a box lies outside the grid's {study.grid.shape_zyx[0]} planes")


def _parsed_head(raw: dict[str, Any]) -> PreparedHead:
    if raw.pop("format") != FORMAT:
        raise ValueError("another format of the cache")
    grid = {name: tuple(values) for name, values in raw.pop("grid").items()}
    boxes = tuple(SliceBox(**box) for box in raw.pop("boxes"))
    truth = raw.pop("truth")
    return PreparedHead(
        **raw, grid=PatientGrid(**grid), boxes=boxes, truth=None if truth is None else tuple(int(v) for v in truth)
    )


def _unusable(path: Path, error: Exception) -> PreparedFileUnusable:
    return PreparedFileUnusable(
        f"{path}: not a prepared study of this version ({error}); delete it and prepare it again"
    )
