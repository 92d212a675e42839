"""A model's answers for a folder of prepared studies, as tables."""

from __future__ import annotations

import contextlib
import csv
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
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


def scores_of(
    model: Predicts, store: StudyStore, uids: Sequence[str], workers: int = 1
) -> Iterator[tuple[str, StudyScore]]:
    """The answers in order; with a GPU several `workers` keep it busy, on a CPU a network has all cores by itself."""
    if workers == 1:
        yield from ((uid, model.predict(store[uid])) for uid in uids)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[StudyScore]] = deque()
        ahead = iter(uids)
        for uid in uids:
            waiting.extend(
                pool.submit(lambda u: model.predict(store[u]), u) for u in islice(ahead, 2 * workers - len(waiting))
            )
            yield uid, waiting.popleft().result()


def workers_for(device: str) -> int:
    """How many studies to work on at a time."""
    return min(8, os.cpu_count() or 1) if device.startswith("cuda") else 1


def predictions_of(model: Predicts, store: StudyStore, uids: Iterable[str], workers: int = 1) -> Predictions:
    """The probabilities of all studies."""
    return predict_tables(model, store, uids, None, workers=workers)


def predict_tables(
    model: Predicts,
    store: StudyStore,
    uids: Iterable[str],
    slices: Path | None,
    tell: Callable[[int], None] = lambda done: None,
    workers: int = 1,
) -> Predictions:
    """The probabilities of all studies; `tell` receives how many are done.

    With `slices` also a table of the levels that each slice shows, one row a slice: StudyInstanceUID, z_mm (LPS),
    C1 ... C7. Raises DataError where the model does not say. A file appears only when it is complete.
    """
    names, rows = [], []
    with contextlib.ExitStack() as stack:
        writer = None if slices is None else stack.enter_context(_slice_table(slices))
        for uid, score in scores_of(model, store, tuple(uids), workers):
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
