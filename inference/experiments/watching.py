"""Trying a network on validation studies while it trains: the best weights are kept, and no improvement ends it."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from tensorboardX import SummaryWriter

from inference.evaluation.metrics import auc, competition_log_loss
from inference.evaluation.operating import fit_operating_points
from inference.experiments.families import build
from inference.experiments.predicting import scores_of, workers_for
from inference.experiments.score import device_of
from inference.experiments.settings import Experiment
from inference.experiments.studies import StudyStore
from inference.training.fit import Training
from inference.training.ranks import Ranks

_log = structlog.get_logger(__name__)
_COLUMNS = ("step", "loss", "raw_loss", "overall_auc", "level_auc", "best")


class Validator:
    """A `Watch`: `best.pt`, `validation.csv` and TensorBoard events in the run's folder.

    The loss that decides is the competition's, after the calibration that a bundle would get: an uncalibrated one
    would end a training whose ranking still improves. Each rank predicts its share of the studies.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        store: StudyStore,
        truth: dict[str, tuple[int, ...]],
        ranks: Ranks,
        tell: Callable[[int, str], None],
    ) -> None:
        training = experiment.training
        assert training is not None
        self.every = training.validate_every
        self._patience = training.patience
        self._model = build(experiment)
        self._folder = folder
        self._store = store
        self._truth = _spread(truth, training.validate_on)
        self._ranks = ranks
        self._tell = tell
        self._history: list[dict[str, float]] = []
        self._writer = SummaryWriter(str(folder / "tensorboard")) if ranks.first else None

    @property
    def best(self) -> dict[str, float] | None:
        """The trial with the lowest loss."""
        return min(self._history, key=lambda row: row["loss"], default=None)

    def look(self, training: Training) -> bool:
        """Try the averaged weights; True after `patience` trials without a better one."""
        row = {"step": float(training.step), **self._trial(training)}
        before = self.best
        row["best"] = float(before is None or row["loss"] < before["loss"])
        self._history.append(row)
        if self._ranks.first:
            self._keep(training, row)
        since = next((i for i, r in enumerate(reversed(self._history)) if r["best"]), 0)
        return 0 < self._patience <= since

    def report(self, row: dict[str, float]) -> None:
        """A row of losses to TensorBoard and to whoever looks on."""
        if self._writer is not None:
            for name, value in row.items():
                if name not in ("step", "seconds"):
                    self._writer.add_scalar(f"train/{name}", value, int(row["step"]))
        self._tell(int(row["step"]), f"loss {row['loss']:.3f}")

    def state(self) -> dict[str, Any]:
        """The trials until now."""
        return {"history": self._history}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up earlier trials; what `validation.csv` says beyond them is written again."""
        self._history = list(state.get("history", []))

    def close(self) -> None:
        """Flush what is buffered."""
        if self._writer is not None:
            self._writer.close()

    def _trial(self, training: Training) -> dict[str, float]:
        self._model.network = training.average
        mine = self._ranks.share_of(tuple(self._truth))
        workers = workers_for(str(device_of(training.average)))
        own = {uid: score.probabilities for uid, score in scores_of(self._model, self._store, mine, workers)}
        found = self._ranks.gathered(own)
        values = np.array([found[uid] for uid in self._truth])
        return trial_metrics(np.array(list(self._truth.values()), dtype=np.float64), values)

    def _keep(self, training: Training, row: dict[str, float]) -> None:
        if row["best"]:
            part = self._folder / "best.part"
            torch.save({"step": training.step, "average": training.average.state_dict()}, part)
            os.replace(part, self._folder / "best.pt")
        with (self._folder / "validation.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=_COLUMNS, lineterminator="\n")
            writer.writeheader()
            for each in self._history:
                writer.writerow({k: "" if math.isnan(v) else round(v, 6) for k, v in each.items()})
        if self._writer is not None:
            for name in _COLUMNS[1:5]:
                self._writer.add_scalar(f"validation/{name}", row[name], training.step)
        _log.info("validated", **{k: round(v, 5) for k, v in row.items()})
        self._tell(training.step, f"validation {row['loss']:.3f}")


class Onlooker:
    """Tells of a training's losses and lets it run to its last step."""

    def __init__(self, tell: Callable[[int, str], None], steps: int) -> None:
        self.every = steps
        self._tell = tell

    def look(self, training: Training) -> bool:
        """Never ends it."""
        return False

    def report(self, row: dict[str, float]) -> None:
        """Step and loss."""
        self._tell(int(row["step"]), f"loss {row['loss']:.3f}")

    def state(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing was remembered."""


def trial_metrics(truth: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Competition loss as it is and calibrated, AUC of the patient and mean AUC of the levels (nan: one class only)."""
    points = fit_operating_points(truth, values, objective="competition")
    levels = [auc(truth[:, k], values[:, k]) for k in range(1, 8)]
    known = [a for a in levels if not math.isnan(a)]
    return {
        "loss": competition_log_loss(truth, points.calibrated(values)),
        "raw_loss": competition_log_loss(truth, values),
        "overall_auc": auc(truth[:, 0], values[:, 0]),
        "level_auc": float(np.mean(known)) if known else math.nan,
    }


def _spread(truth: dict[str, tuple[int, ...]], most: int) -> dict[str, tuple[int, ...]]:
    """At most so many of the studies, evenly taken from their order."""
    uids = list(truth)
    if len(uids) > most:
        uids = [uids[int(i)] for i in np.linspace(0, len(uids) - 1, most)]
    return {uid: truth[uid] for uid in uids}
