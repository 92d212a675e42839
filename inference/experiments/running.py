"""One experiment from prepared studies to a bundle, in one call that may be killed at any moment and called again.

A run's folder holds `run.json` (what was asked for), `last.pt`, `best.pt`, `losses.csv`, `validation.csv`,
`tensorboard/`, `validation_predictions.csv` (raw, before calibration) and `bundle/`; `fine/` and `coronal/` where such
paths learned by themselves first. An ensemble's holds its members' runs under `members/`, those that are missing are
trained first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from inference.dataset.prepared import PreparedFolder
from inference.evaluation.operating import fit_operating_points
from inference.evaluation.predictions import Predictions, write_predictions
from inference.experiments.bundle import Member, holds_experiment, load_experiment_bundle, ready, rounded, save_bundle
from inference.experiments.claiming import claim
from inference.experiments.errors import DataError
from inference.experiments.families import build
from inference.experiments.fine_first import PATHS, fine_loss, fine_slices
from inference.experiments.predicting import predictions_of, workers_for
from inference.experiments.rescan import by_turns, in_every_view
from inference.experiments.score import Batch, FractureModel, collate
from inference.experiments.settings import Experiment, FineTraining
from inference.experiments.starting import Start, load_start
from inference.experiments.studies import Draws, Study, StudyStore, draws_of, split
from inference.experiments.watching import Onlooker, Validator, trial_metrics
from inference.models.fine_path import FinePath
from inference.precision import has_bfloat16
from inference.training.fit import Training, Watch
from inference.training.ranks import ALONE, Ranks
from inference.training.settings import Fit

_log = structlog.get_logger(__name__)

Tell = Callable[[str, int, int, str], None]
_MOST_DRAWS = 200


def _silent(name: str, done: int, of: int, text: str) -> None:
    """Nobody looks on."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run was asked for.

    `data` and `validation` are prepared folders; without the latter fold `fold` of `data` is validated on. `version`
    and `created` (YYYY-MM-DD) go into the bundle. `start` is where the weights come from, where they are not drawn.
    `tell` receives (experiment, steps done, steps, what is known).
    """

    experiment: Experiment
    folder: Path
    data: Path
    validation: Path | None
    fold: int
    version: str
    created: str
    device: str = "cpu"
    start: Start | None = None
    ranks: Ranks = ALONE
    tell: Tell = _silent

    @property
    def bundle(self) -> Path:
        """Where the bundle will be."""
        return self.folder / "bundle"

    def of_member(self, experiment: Experiment, folder: Path) -> Run:
        """The same for one of an ensemble's members."""
        return dataclasses.replace(self, experiment=experiment, folder=folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunData:
    """The studies of a run, opened; `truth` is that of the validation studies."""

    train: PreparedFolder
    train_uids: tuple[str, ...]
    held: PreparedFolder
    truth: dict[str, tuple[int, ...]]

    def digest(self) -> dict[str, str]:
        """Which studies these are, for `run.json`."""
        lists = {"train": self.train_uids, "validation": tuple(self.truth)}
        return {name: hashlib.sha256("\n".join(uids).encode()).hexdigest() for name, uids in lists.items()}


def open_data(run: Run) -> RunData:
    """Raises DataError where there is nothing to train or to validate on, FileNotFoundError without studies."""
    train = PreparedFolder(run.data)
    held = None if run.validation is None else PreparedFolder(run.validation)
    train_uids, held_uids = split(train, held, run.fold)
    other = held or train
    truth = {uid: t for uid in held_uids if (t := other.truth[uid]) is not None}
    if not truth:
        raise DataError(f"{other.folder} has no study with a known truth to validate on")
    return RunData(train=train, train_uids=tuple(train_uids), held=other, truth=truth)


def train_experiment(run: Run) -> dict[str, Any] | None:
    """Train what is left to train and write the bundle; its manifest, on rank 0.

    Raises RunMismatch where the folder holds a run of other settings or other studies, DataError, and StartRefused
    where the weights to start from do not fit.
    """
    training = run.experiment.training
    if training is None:
        raise ValueError(f"{run.experiment.name} is an ensemble; see inference.experiments.ensemble")
    data = open_data(run)
    torch.manual_seed(training.seed)
    model = build(run.experiment)
    if run.start is not None:
        load_start(model.network, run.start)
    run.folder.mkdir(parents=True, exist_ok=True)
    if run.ranks.first:
        claim(run, data.digest())
    if run.experiment.fine_training is not None and not (run.folder / "last.pt").exists():
        for path in PATHS:
            if getattr(model.network, path) is not None:
                _fine_first(run, run.experiment.fine_training, data, model, path)
    held = _held(run, data, by_turns(training.validate_as, data.truth))
    name, steps = run.experiment.name, training.steps
    watch = Validator(
        run.experiment, run.folder, held, data.truth, run.ranks, lambda done, text: run.tell(name, done, steps, text)
    )
    fitting = _fitting(run, model, model.network, training.fit, run.folder, watch)
    all_done = fitting.ended or fitting.step >= steps
    if not all_done:
        fitting.run(_draw(run, data, model), model.loss)
    watch.close()
    if not run.ranks.first:
        return None
    if all_done and holds_experiment(run.bundle):
        return load_experiment_bundle(run.bundle).manifest
    return _finish(run, data, model, held, fitting)


def worthwhile_amp(device: str, model: FractureModel) -> bool:
    """Whether bfloat16 is faster than float32 and safe: on CUDA, and on a CPU that has instructions for it."""
    return device.startswith("cuda") or (model.bfloat16_on_cpu and has_bfloat16(torch.device(device)))


def _fitting(
    run: Run, model: FractureModel, network: torch.nn.Module, numbers: Fit, folder: Path, watch: Watch
) -> Training:
    """The training of a model's network, or of a part of it, as the run's machine can do it."""
    training = run.experiment.training
    assert training is not None
    return Training(
        network,
        numbers,
        folder,
        training.seed,
        run.device,
        memory_format=model.memory_format,
        ranks=run.ranks,
        loaders=min(training.loaders, os.cpu_count() or 1),
        amp=worthwhile_amp(run.device, model),
        watch=watch,
    )


def _fine_first(run: Run, numbers: FineTraining, data: RunData, model: FractureModel, name: str) -> None:
    """Train one of the network's fine paths by itself, or what is left of that; it has its averaged weights then."""
    training = run.experiment.training
    assert training is not None
    path, told = getattr(model.network, name), f"{run.experiment.name}, its {name} path first"
    assert isinstance(path, FinePath)
    watch = Onlooker(lambda done, text: run.tell(told, done, numbers.steps, text), numbers.steps)
    fitting = _fitting(run, model, path, numbers.fit, run.folder / name, watch)
    store = StudyStore(data.train, training.cache_mib, run.device)
    draws = draws_of(data.train, data.train_uids, training.positive_share)

    def draw(rng: np.random.Generator) -> Batch:
        studies = [_drawn(store, draws, rng, zone_known=True) for _ in range(numbers.studies)]
        return collate([fine_slices(model.sample, name, study, numbers.slices, rng) for study in studies])

    fitting.run(draw, lambda network, batch: fine_loss(network, batch, numbers))
    path.load_state_dict(fitting.average.state_dict())


def _draw(run: Run, data: RunData, model: FractureModel) -> Callable[[np.random.Generator], Batch]:
    training = run.experiment.training
    assert training is not None
    store = StudyStore(data.train, training.cache_mib, run.device)
    draws = draws_of(data.train, data.train_uids, training.positive_share)

    def draw(rng: np.random.Generator) -> Batch:
        return collate([model.sample(_drawn(store, draws, rng), rng) for _ in range(training.batch)])

    return draw


def _drawn(store: StudyStore, draws: Draws, rng: np.random.Generator, *, zone_known: bool = False) -> Study:
    """A study to learn from; one in which a localiser found next to nothing has nothing to crop.

    With `zone_known` one that says where it is fractured; raises DataError where it hits upon none.
    """
    for _ in range(_MOST_DRAWS):
        study = store[draws.pick(rng)]
        if (study.boxes or not study.looked) and (study.zone_known or not zone_known):
            return study
    raise DataError(f"none of {_MOST_DRAWS} studies drawn shows a vertebra{' and where it is broken' * zone_known}")


def _finish(run: Run, data: RunData, model: FractureModel, held: StudyStore, fitting: Training) -> dict[str, Any]:
    """The best weights, as a bundle keeps them, measured on all validation studies and written."""
    best = torch.load(run.folder / "best.pt", weights_only=True, map_location="cpu") if _has_best(run) else None
    network = fitting.average if best is None else model.network
    if best is not None:
        network.load_state_dict(best["average"])
    model.network = rounded(network)
    model.network = ready(model, run.device)
    raw = predictions_of(model, held, data.truth, workers_for(run.device))
    write_predictions(run.folder / "validation_predictions.csv", raw)
    facts = {
        **described(run, data),
        "training": {
            "steps": fitting.step,
            "best_step": fitting.step if best is None else int(best["step"]),
            "ended_early": fitting.ended,
            "torch": torch.__version__,
            "device": run.device,
            "processes": run.ranks.world,
            "started_from": None if run.start is None else run.start.source,
        },
    }
    assert run.experiment.training is not None
    views = in_every_view(
        run.experiment.training.validate_as,
        lambda see: predictions_of(model, _held(run, data, see), data.truth, workers_for(run.device)).values,
    )
    return write_bundle(run, [Member(model=model)], raw, views, data.truth, facts)


def _held(run: Run, data: RunData, see: Callable[[Study], Study]) -> StudyStore:
    assert run.experiment.training is not None
    return StudyStore(data.held, run.experiment.training.cache_mib // 3, run.device, see)


def write_bundle(
    run: Run,
    members: list[Member],
    raw: Predictions,
    views: Sequence[NDArray[np.float64]],
    truth: dict[str, tuple[int, ...]],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Fit the operating points on `views`, write the bundle, return its manifest.

    `raw` is the members' blend of the studies as validation sees them. Each of `views` [study, 8] is that of the same
    studies seen by one scanner: one turn each would leave a threshold to the few fractures that a scanner has got.
    """
    targets = np.array([truth[uid] for uid in raw.uids], dtype=np.float64)
    points = fit_operating_points(
        np.concatenate([targets] * len(views)),
        np.concatenate(views),
        rule=run.experiment.rule,  # type: ignore[arg-type]
        views=len(views),
    )
    metrics = {k: None if np.isnan(v) else round(v, 5) for k, v in trial_metrics(targets, raw.values).items()}
    save_bundle(
        run.bundle,
        members,
        points,
        {
            **facts,
            "metrics": {
                "note": "on the validation studies that chose weights, calibration and thresholds: not a test",
                "studies": len(raw),
                **metrics,
            },
        },
    )
    return load_experiment_bundle(run.bundle).manifest


def described(run: Run, data: RunData) -> dict[str, Any]:
    """What a manifest says of where the bundle comes from."""
    sources = sorted({data.train.head(uid).source for uid in data.train_uids})
    return {
        "name": run.experiment.name,
        "version": run.version,
        "created": run.created,
        "summary": run.experiment.summary,
        "origin": run.experiment.origin,
        "experiment_sha256": run.experiment.digest(),
        "data": {"sources": sources, "train_studies": len(data.train_uids), "studies_sha256": data.digest()},
    }


def _has_best(run: Run) -> bool:
    return (run.folder / "best.pt").exists()
