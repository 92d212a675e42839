"""Folds in which no patient stands twice and every label stands evenly; stored as data, so that they never change.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011) over patients: the label that is rarest among what is
left goes first, each of its patients to the fold that lacks it most. What has a fold keeps it, so that a data set can
grow; what is new fills the folds up.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.dataset.errors import TableError

COLUMNS: Final = ("StudyInstanceUID", "patient", "fold")
_LABELS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Member:
    """A study to be placed; `truth` is patient_overall and C1 ... C7, None where it is not known."""

    study_instance_uid: str
    patient: str
    truth: tuple[int, ...] | None


def assign_folds(
    members: Iterable[Member], count: int, seed: int = 0, kept: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The fold (0 ... `count` - 1) of each study, in the order given.

    The order of the members does not matter, and the same seed gives the same folds. `kept` are folds that stay (by
    study); a new study of a known patient joins it. Raises ValueError for less than two folds, for folds in `kept`
    that there are not, and for a patient whom `kept` has in two.
    """
    if count < 2:
        raise ValueError(f"{count} folds leave nothing to validate on, expected at least 2")
    chosen = list(members)
    patients = sorted({member.patient for member in chosen})
    row = {patient: k for k, patient in enumerate(patients)}
    labels, sizes = np.zeros((len(patients), _LABELS)), np.zeros(len(patients))
    for member in chosen:
        sizes[row[member.patient]] += 1
        labels[row[member.patient]] += member.truth or (0,) * _LABELS
    fold = np.full(len(patients), -1)
    for patient, known in _known(chosen, kept or {}, count).items():
        fold[row[patient]] = known
    _fill(fold, labels, sizes, count, np.random.default_rng([seed, count]))
    return {member.study_instance_uid: int(fold[row[member.patient]]) for member in chosen}


def write_folds(path: Path, members: Sequence[Member], folds: Mapping[str, int]) -> None:
    """Write `folds.csv`, at once or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for member in members:
            writer.writerow((member.study_instance_uid, member.patient, folds[member.study_instance_uid]))
    os.replace(part, path)


def read_folds(path: Path) -> dict[str, int]:
    """Fold by study; empty where there is no file. Raises TableError for what is no table of folds."""
    if not path.exists():
        return {}
    folds: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, []))
        if header != COLUMNS:
            raise TableError(path, 1, f"the header is {','.join(header)!r}, expected {','.join(COLUMNS)!r}")
        for row in reader:
            if len(row) != len(COLUMNS) or not row[2].isdigit():
                raise TableError(path, reader.line_num, f"{','.join(row)!r} is no study, patient and fold")
            folds[row[0]] = int(row[2])
    return folds


def _known(members: list[Member], kept: Mapping[str, int], count: int) -> dict[str, int]:
    known: dict[str, int] = {}
    for member in members:
        fold = kept.get(member.study_instance_uid)
        if fold is None:
            continue
        if not 0 <= fold < count:
            raise ValueError(f"study {member.study_instance_uid} is in fold {fold}, but there are {count} folds")
        if known.setdefault(member.patient, fold) != fold:
            raise ValueError(f"studies of one patient are in the folds {known[member.patient]} and {fold}")
    return known


def _fill(
    fold: NDArray[np.int_],
    labels: NDArray[np.float64],
    sizes: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> None:
    """Place every patient whose fold is -1, in place."""
    rank = rng.permutation(len(fold))
    lacking_labels = np.tile(labels.sum(axis=0) / count, (count, 1))
    lacking = np.full(count, sizes.sum() / count)
    for patient in np.flatnonzero(fold >= 0):
        lacking_labels[fold[patient]] -= labels[patient]
        lacking[fold[patient]] -= sizes[patient]
    free = fold < 0
    while free.any():
        # Column 0 is "any level": whoever has a level has it too, so that it only breaks ties.
        left = labels[free][:, 1:].sum(axis=0)
        label = int(np.where(left > 0, left, np.inf).argmin()) + 1 if left.any() else None
        wanted = np.flatnonzero(free if label is None else free & (labels[:, label] > 0))
        weight = sizes if label is None else labels[:, label]
        for patient in sorted(wanted, key=lambda p: (-weight[p], -sizes[p], rank[p])):
            need = lacking if label is None else lacking_labels[:, label]
            best = max(range(count), key=lambda f: (*np.round((need[f], lacking_labels[f, 0], lacking[f]), 9), -f))
            fold[patient] = best
            free[patient] = False
            lacking_labels[best] -= labels[patient]
            lacking[best] -= sizes[patient]
