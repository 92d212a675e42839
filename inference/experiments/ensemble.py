"""Several trained experiments as one: each calibrated by itself, weighted, and calibrated together, on validation.

The weights minimise the competition's loss of the calibrated members' mean logit, one weight for the patient and one
for the levels. A member that both weigh below a twentieth is left out: it costs time and adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from inference.bundle_files import BundleError
from inference.evaluation.metrics import competition_log_loss
from inference.evaluation.operating import OperatingPoints, fit_operating_points, logit, sigmoid
from inference.evaluation.predictions import Predictions, write_predictions
from inference.experiments.bundle import Member, blended, load_experiment_bundle
from inference.experiments.errors import DataError
from inference.experiments.predicting import predictions_of, workers_for
from inference.experiments.rescan import by_turns, in_every_view
from inference.experiments.running import Run, described, open_data, train_experiment, write_bundle
from inference.experiments.settings import Experiment
from inference.experiments.studies import Study, StudyStore

_LEAST_WEIGHT: Final = 0.05
_CACHE_MIB: Final = 2000

Array = NDArray[np.float64]


def train_ensemble(run: Run, members: Sequence[Experiment], runs: Path) -> dict[str, Any] | None:
    """Train the members that `runs` lacks, weigh them on validation, write the bundle; its manifest, on rank 0.

    Each member's run is `runs / name`; a bundle that is there is taken as it is. Validation studies are seen as the
    members' own are (`seen_as`). Raises DataError where one of them was trained on a study that is validated on here.
    """
    data = open_data(run)
    for experiment in members:
        if not (runs / experiment.name / "bundle").is_dir():
            train_experiment(run.of_member(experiment, runs / experiment.name))
    if not run.ranks.first:
        return None
    store = StudyStore(data.held, _CACHE_MIB, run.device, by_turns(seen_as(members), data.truth))
    targets = np.array(list(data.truth.values()), dtype=np.float64)
    trained, raw = [], []
    for number, experiment in enumerate(members):
        bundle = load_experiment_bundle(runs / experiment.name, run.device)
        _check_validation(bundle.manifest, data.digest()["validation"], experiment.name, runs)
        member = bundle.members[0]
        raw.append(predictions_of(member.model, store, data.truth, workers_for(run.device)).values)
        points = fit_operating_points(targets, raw[-1], objective="competition")
        trained.append(replace(member, points=points))
        run.tell(run.experiment.name, number + 1, len(members), f"{experiment.name} predicted")
    kept, values = weigh(trained, raw, targets)
    together = Predictions(uids=tuple(data.truth), values=values)
    write_predictions(run.folder / "validation_predictions.csv", together)
    weights = {m.model.experiment.name: [m.overall_weight, m.level_weight] for m in kept}
    facts = {**described(run, data), "weights": weights, "candidates": [e.name for e in members]}

    def blend(see: Callable[[Study], Study]) -> Array:
        seen = StudyStore(data.held, _CACHE_MIB, run.device, see)
        return blended(kept, [predictions_of(m.model, seen, data.truth, workers_for(run.device)).values for m in kept])

    views = in_every_view(seen_as(members), blend)
    return write_bundle(run, kept, together, views, data.truth, facts)


def seen_as(members: Sequence[Experiment]) -> tuple[str, ...]:
    """By which scanners the members' validation studies are seen: the first member that names any speaks for all."""
    each = (m.training.validate_as for m in members if m.training is not None)
    return next((names for names in each if names), ())


def weigh(members: Sequence[Member], raw: Sequence[Array], truth: Array) -> tuple[list[Member], Array]:
    """The members worth keeping with their weights, and their blended probabilities [study, 8]."""
    calibrated = [_points(m).calibrated(values) for m, values in zip(members, raw, strict=True)]
    overall, levels = (best_weights(calibrated, truth, columns) for columns in (slice(0, 1), slice(1, 8)))
    kept = [i for i in range(len(members)) if max(overall[i], levels[i]) >= _LEAST_WEIGHT]
    chosen = [
        replace(
            members[i],
            overall_weight=round(float(overall[i] / overall[kept].sum()), 4),
            level_weight=round(float(levels[i] / levels[kept].sum()), 4),
        )
        for i in kept
    ]
    return chosen, blended(chosen, [raw[i] for i in kept])


def best_weights(calibrated: Sequence[Array], truth: Array, columns: slice) -> Array:
    """Weights that add up to 1, of the mean logit with the least competition loss in these columns."""
    if len(calibrated) == 1:
        return np.ones(1)
    logits = np.stack([logit(values) for values in calibrated])
    # Columns that are not weighed are perfect: they add nothing to the loss.
    start = np.clip(truth, 1e-9, 1 - 1e-9)

    def shares(theta: Array) -> Array:
        e = np.exp(theta - theta.max())
        return np.asarray(e / e.sum())

    def cost(theta: Array) -> float:
        values = start.copy()
        values[:, columns] = sigmoid(np.tensordot(shares(theta), logits, axes=1))[:, columns]
        # A weak pull towards equal weights, worth less than a study.
        return competition_log_loss(truth, values) + 1e-3 * float((theta**2).sum()) / len(truth)

    return shares(minimize(cost, np.zeros(len(calibrated)), method="Nelder-Mead").x)


def _points(member: Member) -> OperatingPoints:
    if member.points is None:
        raise ValueError(f"{member.model.experiment.name} has no calibration of its own")
    return member.points


def _check_validation(manifest: dict[str, Any], wanted: str, name: str, runs: Path) -> None:
    """A member must have been held back from the studies that weigh it."""
    try:
        given = manifest["data"]["studies_sha256"]["validation"]
    except (KeyError, TypeError) as error:
        raise BundleError(f"The manifest of {runs / name} does not say what it was validated on.") from error
    if given != wanted:
        raise DataError(
            f"{runs / name} was validated on other studies than this ensemble; train it with the same --data, "
            "--validation and --fold"
        )
