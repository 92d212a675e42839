"""A model's answers for a folder of prepared studies, as tables."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inference.evaluation.predictions import LEVEL_COLUMNS, UID_COLUMN, Predictions
from inference.experiments.errors import DataError
from inference.experiments.score import StudyScore
from inference.experiments.studies import Study, StudyStore


class Predicts(Protocol):
    """A model or a bundle."""

    def predict(self, study: Study) -> StudyScore:
        """The answer for a study."""
        ...


def predictions_of(model: Predicts, store: StudyStore, uids: Iterable[str]) -> Predictions:
    """The probabilities of all studies."""
    return predict_tables(model, store, uids, None)


def predict_tables(
    model: Predicts,
    store: StudyStore,
    uids: Iterable[str],
    slices: Path | None,
    tell: Callable[[int], None] = lambda done: None,
) -> Predictions:
    """The probabilities of all studies; `tell` receives how many are done.

    With `slices` also a table of the levels that each slice shows, one row a slice: StudyInstanceUID, z_mm (LPS),
    C1 ... C7. Raises DataError where the model does not say. A file appears only when it is complete.
    """
    names, rows = [], []
    with contextlib.ExitStack() as stack:
        writer = None if slices is None else stack.enter_context(_slice_table(slices))
        for uid in uids:
            score = model.predict(store[uid])
            names.append(uid)
            rows.append(score.probabilities)
            if writer is not None:
                _write_slices(writer, uid, score)
            tell(len(names))
    return Predictions(uids=tuple(names), values=np.array(rows, dtype=np.float64).reshape(-1, len(LEVEL_COLUMNS)))


@contextlib.contextmanager
def _slice_table(path: Path) -> Iterator[Any]:
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((UID_COLUMN, "z_mm", *LEVEL_COLUMNS[1:]))
        yield writer
    os.replace(part, path)


def _write_slices(writer: Any, uid: str, score: StudyScore) -> None:
    if score.presence is None or score.presence_z_mm is None:
        raise DataError("this model does not say which vertebrae a slice shows; slice-effnet does")
    for z, row in zip(score.presence_z_mm, score.presence, strict=True):
        writer.writerow((uid, f"{z:.3f}", *(f"{p:.5f}" for p in row)))
