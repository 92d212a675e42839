"""Statistics of many resampled sets of patients at once.

A bootstrap draws patients with replacement. Instead of drawing rows a thousand times and calling a function each time,
every draw is a row of weights: how often each study is in it. A statistic is then written once, on weights
[draws, studies], as products of matrices, and 1,000 draws of 400 studies cost milliseconds. The first row is all ones:
the sample itself. Two models measured with the same weights are paired.

Values are [studies], or [studies, k] where a study has several (its levels); all k of a study share its weight.

Where a statistic is undefined (the AUC of one class) it is nan here and None, with the reason, in a `measured` number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import wilson

ROUNDS: Final = 1000
SEED: Final = 7

_LEAST_DEFINED: Final = 0.9
_SAME: Final = 1e-12
# Draws whose curves are held at once: 14,000 vertebrae need 30 MB each time instead of 120 MB.
_BLOCK: Final = 256

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]


def patient_weights(patients: Sequence[str], *, rounds: int = ROUNDS, seed: int = SEED) -> Array:
    """Weights [1 + rounds, studies]: ones, then how often each study's patient was drawn, with replacement.

    All studies of a patient come and go together, since they are not independent.
    """
    _, index = np.unique(np.array(patients), return_inverse=True)
    count = int(index.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    return np.concatenate([np.ones((1, len(index))), drawn[:, index].astype(np.float64)])


def mean(weights: Array, values: Array) -> Array:
    """Mean of `values` for each draw; nan for a draw without weight."""
    return ratio(weights @ _per_study(values), weights.sum(axis=1) * (values.size // len(values)))


def auc(weights: Array, truth: Bool, scores: Array) -> Array:
    """Area under the ROC curve for each draw, ties counting half; nan where a draw has one class only."""
    flat = scores.ravel()
    order = np.argsort(flat, kind="stable")
    # Positions where a new score begins: all of one score are one step of the curve.
    starts = np.flatnonzero(np.append(True, np.diff(flat[order]) > 0))
    ill, study = truth.ravel()[order], order // (flat.size // len(scores))

    def of(block: Array) -> Array:
        sorted_by_score = block[:, study]
        positive = np.add.reduceat(sorted_by_score * ill, starts, axis=1)
        negative = np.add.reduceat(sorted_by_score, starts, axis=1) - positive
        below = np.cumsum(negative, axis=1) - negative
        won = (positive * (below + negative / 2)).sum(axis=1)
        return ratio(won, positive.sum(axis=1) * negative.sum(axis=1))

    return np.concatenate([of(weights[i : i + _BLOCK]) for i in range(0, len(weights), _BLOCK)])


def counts(weights: Array, truth: Bool, called: Bool) -> dict[str, Array]:
    """`tp`, `fn`, `fp` and `tn` for each draw."""
    cells = {"tp": truth & called, "fn": truth & ~called, "fp": ~truth & called, "tn": ~truth & ~called}
    return {name: weights @ _per_study(cell) for name, cell in cells.items()}


def rates(cells: dict[str, Array]) -> dict[str, Array]:
    """Accuracy, precision, recall, F1, F2, sensitivity (the recall) and specificity from `counts`.

    Without a positive recall, F1 and F2 are all nan: there was nothing to find.
    """
    tp, fn, fp, tn = (cells[name] for name in ("tp", "fn", "fp", "tn"))
    recall = ratio(tp, tp + fn)
    return {
        "accuracy": ratio(tp + tn, tp + fn + fp + tn),
        "precision": ratio(tp, tp + fp),
        "recall": recall,
        "f1": np.where(np.isnan(recall), np.nan, ratio(2 * tp, 2 * tp + fn + fp)),
        "f2": np.where(np.isnan(recall), np.nan, ratio(5 * tp, 5 * tp + 4 * fn + fp)),
        "sensitivity": recall,
        "specificity": ratio(tn, tn + fp),
    }


def predictive_values(sensitivity: Array, specificity: Array, prevalence: float) -> dict[str, Array]:
    """`ppv` and `npv` where this share of people is ill (Bayes); nan where nobody is flagged or nobody is passed."""
    true_flag, false_flag = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_pass, false_pass = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return {"ppv": ratio(true_flag, true_flag + false_flag), "npv": ratio(true_pass, true_pass + false_pass)}


def calibration_error(weights: Array, truth: Bool, probabilities: Array, bins: int = 10) -> Array:
    """Expected calibration error over equal-width bins for each draw."""
    place = bin_of(probabilities, bins)
    apart = (place[..., None] == np.arange(bins)) * (probabilities - truth)[..., None]
    gaps = np.abs(weights @ apart.reshape(len(truth), -1, bins).sum(axis=1)).sum(axis=1)
    return ratio(gaps, weights.sum(axis=1) * (truth.size // len(truth)))


def bin_of(probabilities: Array, bins: int) -> NDArray[np.int64]:
    """The equal-width bin, 0 on, of each probability; 1.0 is in the last."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def ratio(part: Array, whole: Array) -> Array:
    """`part` / `whole`, nan where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def measured(draws: Array, *, why: str) -> dict[str, Any]:
    """A number for JSON: `value` of the sample, `ci95` over the draws (percentiles), both None where undefined.

    `why` says what is missing then. Without an interval stands why, too: too many draws were undefined, or all of them
    gave the same, which is no certainty.
    """
    value, resampled = float(draws[0]), draws[1:]
    if np.isnan(value):
        return {"value": None, "ci95": None, "why": why}
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < max(1.0, _LEAST_DEFINED * len(resampled)):
        return {"value": round(value, 4), "ci95": None, "why": f"no interval: in many draws {why}"}
    if defined.max() - defined.min() < _SAME:
        return {"value": round(value, 4), "ci95": None, "why": "no interval: every draw gives the same"}
    low, high = np.percentile(defined, [2.5, 97.5])
    return {"value": round(value, 4), "ci95": [round(float(low), 4), round(float(high), 4)]}


def share(draws: Array, hits: int, trials: int, *, why: str) -> dict[str, Any]:
    """`measured` for a proportion, with its counts.

    At 0 and at 1 every draw says the same, and the bootstrap would claim certainty: Wilson's interval stands instead.
    """
    number = {"count": hits, "of": trials, **measured(draws, why=why)}
    if trials and hits in (0, trials):
        interval = wilson(hits, trials)
        number["ci95"] = [round(interval.low, 4), round(interval.high, 4)]
        number["interval"] = "wilson"
        number.pop("why", None)
    return number


def _per_study(values: NDArray[Any]) -> Array:
    return np.asarray(values.reshape(len(values), -1).sum(axis=1), dtype=np.float64)
