"""The numbers of one model's predictions beside the truth, and of the predictors that look at no image."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.baselines import Baseline, baselines
from inference.evaluation.fracture_classes import by_decoy, by_fracture, kinds_at
from inference.evaluation.fracture_conditions import by_condition, by_severity
from inference.evaluation.head_numbers import head_numbers, reliability
from inference.evaluation.metrics import competition_losses
from inference.evaluation.operating import OperatingPoints
from inference.evaluation.predictions import LEVEL_COLUMNS, Facts, Predictions, aligned, patients_of
from inference.evaluation.resampling import ROUNDS, SEED, auc, mean, measured, patient_weights

WORST: Final = 10
PLAIN_THRESHOLD: Final = 0.5

Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What models are measured on: the truth, its facts, and the draws of patients that all of them share."""

    truth: Predictions
    facts: Facts = field(default_factory=dict)
    rounds: int = ROUNDS
    seed: int = SEED

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """The patient of each study."""
        return patients_of(self.truth.uids, self.facts)

    @cached_property
    def weights(self) -> Array:
        """[1 + rounds, studies], as `patient_weights` gives them."""
        return patient_weights(self.patients, rounds=self.rounds, seed=self.seed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model's predictions of the setting's studies, in its order, raw; `points` None: taken as they are, at 0.5."""

    name: str
    raw: Array
    points: OperatingPoints | None

    @property
    def values(self) -> Array:
        """Calibrated probabilities [study, 8]."""
        return self.raw if self.points is None else self.points.calibrated(self.raw)

    @property
    def thresholds(self) -> Array:
        """The eight thresholds on `values`."""
        return np.full(len(LEVEL_COLUMNS), PLAIN_THRESHOLD) if self.points is None else self.points.thresholds

    @property
    def called(self) -> NDArray[np.bool_]:
        """[study, 8]: which heads are called fractured."""
        return np.asarray(self.values >= self.thresholds)


def model_of(name: str, setting: Setting, predictions: Predictions, points: OperatingPoints | None) -> Model:
    """A model on a setting; PredictionsError where its studies are not the truth's."""
    return Model(name=name, raw=aligned(setting.truth, predictions).values, points=points)


def summarise(setting: Setting, model: Model) -> Row:
    """Every number of one model, ready for JSON: undefined ones are None with the reason."""
    truth, values = setting.truth.values > 0.5, model.values
    facts, uids = setting.facts, setting.truth.uids
    numbers = {
        "name": model.name,
        "studies": len(setting.truth),
        "patients": len(set(setting.patients)),
        "draws": setting.rounds,
        "operating_points": None if model.points is None else model.points.to_json(),
        **_overview(setting, values, model.thresholds),
        "competition_loss_uncalibrated": _competition(setting, model.raw) if model.points is not None else None,
        "reliability": {
            "patient_overall": reliability(setting.truth.values[:, 0], values[:, 0]),
            "levels": reliability(setting.truth.values[:, 1:].ravel(), values[:, 1:].ravel()),
        },
        "by_fracture": by_fracture(setting.weights, uids, truth, model.called, facts),
        "by_decoy": by_decoy(setting.weights, uids, truth, model.called, facts),
        "by_severity": by_severity(setting.weights, uids, truth, model.called, facts),
        "by_condition": by_condition(setting.weights, uids, truth, values, model.called, facts),
        "worst": worst(setting, model),
    }
    return numbers | {"targets": targets(numbers)}


def summarise_baselines(setting: Setting, fitted_on: Array | None) -> list[Row]:
    """The predictors that look at no image, on the same studies."""
    return [_baseline(setting, one) for one in baselines(fitted_on)]


def worst(setting: Setting, model: Model, count: int = WORST) -> list[Row]:
    """The studies that cost most in the competition, with what is true, what was said and what is known of them."""
    losses = competition_losses(setting.truth.values, model.values)
    rows = []
    for index in np.argsort(-losses, kind="stable")[:count]:
        uid, true = setting.truth.uids[index], setting.truth.values[index] > 0.5
        called, facts = model.called[index], setting.facts.get(setting.truth.uids[index], {})
        rows.append(
            {
                "uid": uid,
                "loss": round(float(losses[index]), 4),
                "fractured": _names(true),
                "missed": _names(true & ~called),
                "false_alarms": _names(called & ~true),
                "said": {n: round(float(v), 4) for n, v in zip(LEVEL_COLUMNS, model.values[index], strict=True)},
                "fractures": kinds_at(facts, "fractures"),
                "decoys": kinds_at(facts, "decoys"),
            }
        )
    return rows


def targets(numbers: Row) -> list[Row]:
    """What the shipped model is to reach, and whether the measured value (not its interval) does."""
    overall = numbers["heads"]["patient_overall"]
    levels = {name: numbers["heads"][name]["auc"] for name in LEVEL_COLUMNS[1:]}
    known = {name: auc for name, auc in levels.items() if auc["value"] is not None}
    lowest = min(known, key=lambda name: known[name]["value"], default=None)
    rows = [
        ("competition loss", numbers["competition_loss"], "at most", 0.20),
        ("patient AUC", overall["auc"], "at least", 0.97),
        (f"lowest level AUC ({lowest or 'none is defined'})", known.get(lowest or "", levels["C1"]), "at least", 0.95),
        ("patient sensitivity", overall["sensitivity"], "at least", 0.95),
        ("patient specificity", overall["specificity"], "at least", 0.90),
    ]
    return [{"what": what, **_bare(got), "target": f"{how} {goal:g}", "met": _met(got["value"], how, goal)}
            for what, got, how, goal in rows]  # fmt: skip


def _overview(setting: Setting, values: Array, thresholds: Array | None) -> Row:
    truth, weights = setting.truth.values > 0.5, setting.weights
    heads = {}
    for number, name in enumerate(LEVEL_COLUMNS):
        threshold = None if thresholds is None else float(thresholds[number])
        heads[name] = head_numbers(weights, truth[:, number], values[:, number], threshold)
    of_levels = np.mean([auc(weights, truth[:, k], values[:, k]) for k in range(1, len(LEVEL_COLUMNS))], axis=0)
    level_thresholds = None if thresholds is None else thresholds[1:]
    return {
        "competition_loss": _competition(setting, values),
        "mean_level_auc": measured(of_levels, why="a level has only one class"),
        "heads": heads,
        "all_levels": head_numbers(weights, truth[:, 1:], values[:, 1:], level_thresholds),
    }


def _competition(setting: Setting, values: Array) -> Row:
    return measured(mean(setting.weights, competition_losses(setting.truth.values, values)), why="no study")


def _baseline(setting: Setting, one: Baseline) -> Row:
    values = one.for_studies(len(setting.truth))
    return {"name": one.name, "says": one.says, **_overview(setting, values, one.thresholds)}


def _names(heads: NDArray[np.bool_]) -> list[str]:
    return [name for name, is_so in zip(LEVEL_COLUMNS, heads, strict=True) if is_so]


def _bare(number: Row) -> Row:
    return {key: number[key] for key in ("value", "ci95")}


def _met(value: float | None, how: str, goal: float) -> bool | None:
    if value is None:
        return None
    return value >= goal if how == "at least" else value <= goal
