"""Prepared studies in memory, and which of them are trained on, validated on and drawn."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.dataset.prepared import FOUND, PreparedFolder, PreparedStudy
from inference.experiments.errors import DataError
from inference.preprocess import PatientGrid

_BOX_LEVELS: Final = range(1, 8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A prepared study as the families use it; arrays uint8 [z, y, x] on `grid`.

    `levels` are those a model may see (all 0 where `has_levels` is False; where `looked` too, a localiser looked and
    found none), `true_levels` those it learns from. `zone`
    is the level whose fracture lies in the voxel; it says something only where `zone_known`: in phantoms, in studies
    without a fracture, and in studies with boxes, whose zone is the fractured bone inside them. `truth` is float32 [8]
    or None. `boxes` holds for each level in `levels` its index box (low, high: float [2, 3], z, y, x).
    """

    uid: str
    grid: PatientGrid
    hu: torch.Tensor
    levels: torch.Tensor
    has_levels: bool
    looked: bool
    true_levels: torch.Tensor
    zone: torch.Tensor
    zone_known: bool
    truth: NDArray[np.float32] | None
    boxes: dict[int, NDArray[np.float64]]

    @property
    def device(self) -> torch.device:
        """Where the voxels are: windows are sampled there."""
        return self.hu.device

    def to(self, device: torch.device | str) -> Study:
        """The same with its voxels on a device."""
        if torch.device(device) == self.hu.device:
            return self
        moved = {name: getattr(self, name).to(device) for name in ("hu", "levels", "true_levels", "zone")}
        return dataclasses.replace(self, **moved)

    @property
    def spacing_mm_zyx(self) -> NDArray[np.float64]:
        """Voxel spacing."""
        return np.array(self.grid.spacing_mm_zyx)

    @property
    def middle_zyx(self) -> NDArray[np.float64]:
        """Index of the middle of the cervical levels, or of the grid where no level is known."""
        if not self.boxes:
            return (np.array(self.grid.shape_zyx) - 1) / 2
        ends = np.concatenate(list(self.boxes.values()))
        middle: NDArray[np.float64] = (ends.min(axis=0) + ends.max(axis=0)) / 2
        return middle

    @property
    def nbytes(self) -> int:
        """Memory of the voxels."""
        parts = {t.data_ptr(): t.nbytes for t in (self.hu, self.levels, self.true_levels, self.zone)}
        return sum(parts.values())

    def need_levels(self, model: str) -> None:
        """Raises DataError where no level of the study is known and nobody has looked for one."""
        if not self.boxes and not self.looked:
            raise DataError(
                f"study {self.uid} has no vertebral levels, which {model} needs; prepare it again with --localise"
            )


def study_of(prepared: PreparedStudy) -> Study:
    """The study with its tensors; shares memory with `prepared`."""
    nothing = np.zeros(prepared.grid.shape_zyx, dtype=np.uint8)
    levels = nothing if prepared.levels is None else prepared.levels
    truer = levels if prepared.true_levels is None else prepared.true_levels
    zone, known = _zone(prepared, truer)
    return Study(
        uid=prepared.study_instance_uid,
        grid=prepared.grid,
        hu=torch.from_numpy(prepared.hu),
        levels=torch.from_numpy(levels),
        has_levels=prepared.levels is not None,
        looked=FOUND in prepared.facts,
        true_levels=torch.from_numpy(truer),
        zone=torch.from_numpy(zone),
        zone_known=known,
        truth=None if prepared.truth is None else np.array(prepared.truth, dtype=np.float32),
        boxes=_level_boxes(levels),
    )


def _zone(prepared: PreparedStudy, levels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """Fracture zones and whether they are known, of whatever kind the study's truth is."""
    nothing = np.zeros(prepared.grid.shape_zyx, dtype=np.uint8)
    if prepared.fracture is not None:
        return prepared.fracture, True
    truth = prepared.truth
    if truth is None or not prepared.boxes:
        return nothing, truth is not None and not any(truth)
    for box in prepared.boxes:
        # A box's sides lie between voxels: those whose centres it holds are in it.
        y = slice(max(0, int(np.ceil(box.y_low))), int(np.floor(box.y_high)) + 1)
        x = slice(max(0, int(np.ceil(box.x_low))), int(np.floor(box.x_high)) + 1)
        part = levels[box.z, y, x]
        for level in _BOX_LEVELS:
            if truth[level]:
                nothing[box.z, y, x][part == level] = level
    return nothing, True


def _level_boxes(levels: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
    """Index boxes of C1-C7 without the outermost hundredth of the voxels: a stray one must not widen a crop."""
    boxes = {}
    # Looking for a level where it lies, and not in the whole study, takes a sixth of the time.
    for level, where in enumerate(ndimage.find_objects(levels, max(_BOX_LEVELS)), start=1):
        if where is None:
            continue
        mask = levels[where] == level
        if mask.sum() < 30:
            continue
        ends = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            share = np.cumsum(mask.sum(axis=others)) / mask.sum()
            ends.append([where[axis].start + int(np.searchsorted(share, end)) for end in (0.005, 0.995)])
        boxes[level] = np.array(ends, dtype=np.float64).T
    return boxes


class StudyStore:
    """Studies of a folder on a device, the latest used kept in its memory up to a bound. Any thread may ask.

    `see` changes each as it is read.
    """

    def __init__(
        self,
        folder: PreparedFolder,
        cache_mib: int,
        device: str = "cpu",
        see: Callable[[Study], Study] = lambda study: study,
    ) -> None:
        self._folder = folder
        self._device = device
        self._see = see
        self._most = cache_mib * 2**20
        self._held: OrderedDict[str, Study] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getitem__(self, uid: str) -> Study:
        with self._lock:
            if uid in self._held:
                self._held.move_to_end(uid)
                return self._held[uid]
        study = self._see(study_of(self._folder.load(uid)).to(self._device))
        with self._lock:
            if uid not in self._held:
                self._held[uid] = study
                self._bytes += study.nbytes
            while self._bytes > self._most and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return study


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Which study a random draw takes: `positive_share` of them with a fracture, or as they come (negative share)."""

    fractured: tuple[str, ...]
    sound: tuple[str, ...]
    positive_share: float

    def pick(self, rng: np.random.Generator) -> str:
        """The UID of one study."""
        if self.positive_share < 0 or not self.fractured or not self.sound:
            every = (*self.fractured, *self.sound)
            return every[int(rng.integers(len(every)))]
        names = self.fractured if rng.random() < self.positive_share else self.sound
        return names[int(rng.integers(len(names)))]


def draws_of(folder: PreparedFolder, uids: Iterable[str], positive_share: float) -> Draws:
    """The studies of `uids` whose truth is known, in two lists. Raises DataError where there is none.

    Those in which a localiser found no spine are left out: there is nothing to crop.
    """
    truth = folder.truth
    known = [uid for uid in uids if truth[uid] is not None and folder.head(uid).facts.get(FOUND, True)]
    if not known:
        raise DataError(f"{folder.folder} has no study with a known truth to train on")
    fractured = {uid for uid in known if (truth[uid] or (0,))[0]}
    return Draws(
        fractured=tuple(uid for uid in known if uid in fractured),
        sound=tuple(uid for uid in known if uid not in fractured),
        positive_share=positive_share,
    )


def split(folder: PreparedFolder, validation: PreparedFolder | None, fold: int) -> tuple[list[str], list[str]]:
    """UIDs to train on and to validate on: all of one folder and all of another, or all folds but one and that one.

    Raises DataError where either list is empty, or where a patient is in both.
    """
    if validation is not None:
        train, held = list(folder.uids), list(validation.uids)
    else:
        folds = folder.folds
        if not folds:
            raise DataError(f"{folder.folder} has no folds.csv; name a folder to validate on with --validation")
        train = [uid for uid in folder.uids if folds[uid] != fold]
        held = [uid for uid in folder.uids if folds[uid] == fold]
    for name, uids in (("train", train), ("validate", held)):
        if not uids:
            raise DataError(f"{folder.folder} leaves no study to {name} on (validation fold {fold})")
    other = folder if validation is None else validation
    both = {folder.head(uid).patient for uid in train} & {other.head(uid).patient for uid in held}
    if both:
        raise DataError(
            f"{len(both)} patients of {folder.folder} are both trained and validated on; make the folds anew"
        )
    return train, held
