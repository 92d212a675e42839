"""Everything that is measured of one head (the patient, or one level) or of all levels together, with intervals."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import Interval, wilson
from inference.evaluation.resampling import (
    auc,
    bin_of,
    calibration_error,
    counts,
    mean,
    measured,
    predictive_values,
    rates,
    share,
)

# Emergency departments (two published series) and the challenge's data.
PREVALENCES: Final = (0.041, 0.09, 0.48)
BINS: Final = 10

_CLIP: Final = 1e-15
_NO_POSITIVE: Final = "no fracture among them"
_NO_NEGATIVE: Final = "nothing but fractures among them"
_ONE_CLASS: Final = "only one class among them"
_NO_CALLS: Final = "it says the same of every study and calls nothing"
_NO_FLAG: Final = "nothing is flagged, or the sensitivity or specificity is undefined"
_NO_PASS: Final = "nothing is passed, or the sensitivity or specificity is undefined"

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Row = dict[str, Any]


def head_numbers(weights: Array, truth: Bool, probabilities: Array, threshold: float | Array | None) -> Row:
    """Log loss, AUC, calibration error and the numbers of the calls at a threshold (None: it makes no calls).

    `weights` [draws, studies] are those of `patient_weights`; `truth` and `probabilities` are [studies], or
    [studies, levels] for several levels taken together, each with its `threshold` [levels].
    """
    p = np.clip(probabilities, _CLIP, 1 - _CLIP)
    losses = -np.where(truth, np.log(p), np.log1p(-p))
    return {
        "count": truth.size,
        "positives": int(truth.sum()),
        "threshold": float(threshold) if isinstance(threshold, float) else None,
        "log_loss": measured(mean(weights, losses), why="no study"),
        "auc": auc_number(weights, truth, probabilities),
        "ece": measured(calibration_error(weights, truth, probabilities, BINS), why="no study"),
        **(_no_calls() if threshold is None else _calls(weights, truth, probabilities >= threshold)),
    }


def auc_number(weights: Array, truth: Bool, scores: Array) -> Row:
    """The AUC with its interval. Where all draws are separated perfectly, Wilson's interval of the smaller class."""
    number = measured(auc(weights, truth, scores), why=_ONE_CLASS)
    if number["value"] in (0.0, 1.0) and number["ci95"] is None:
        smaller = int(min(truth.sum(), (~truth).sum()))
        interval = wilson(smaller if number["value"] else 0, smaller)
        return {"value": number["value"], "ci95": _limits(interval), "interval": "wilson"}
    return number


def reliability(truth: Array, probabilities: Array, bins: int = BINS) -> list[Row]:
    """One row per equal-width bin that is not empty: how much was said, how often it was so (Wilson's interval)."""
    place = bin_of(probabilities, bins)
    rows = []
    for number in np.unique(place):
        inside = place == number
        seen = wilson(int(truth[inside].sum()), int(inside.sum()))
        rows.append(
            {
                "from": float(number / bins),
                "to": float((number + 1) / bins),
                "count": int(inside.sum()),
                "said": round(float(probabilities[inside].mean()), 4),
                "seen": round(seen.value, 4),
                "ci95": _limits(seen),
            }
        )
    return rows


def _calls(weights: Array, truth: Bool, called: Bool) -> Row:
    cells = counts(weights, truth, called)
    draws = rates(cells)
    tp, fn, fp, tn = (round(float(cells[name][0])) for name in ("tp", "fn", "fp", "tn"))
    found = share(draws["sensitivity"], tp, tp + fn, why=_NO_POSITIVE)
    passed = share(draws["specificity"], tn, tn + fp, why=_NO_NEGATIVE)
    return {
        "accuracy": share(draws["accuracy"], tp + tn, truth.size, why="no study"),
        "precision": share(draws["precision"], tp, tp + fp, why="nothing is flagged"),
        "recall": found,
        "f1": measured(draws["f1"], why=_NO_POSITIVE),
        "f2": measured(draws["f2"], why=_NO_POSITIVE),
        "sensitivity": found,
        "specificity": passed,
        "predictive_values": [_at_prevalence(draws, found, passed, prevalence) for prevalence in PREVALENCES],
    }


def _at_prevalence(draws: dict[str, Array], found: Row, passed: Row, prevalence: float) -> Row:
    """PPV and NPV. Where all draws agree on one of the two rates, the interval spans the corners of both instead."""
    at = predictive_values(draws["sensitivity"], draws["specificity"], prevalence)
    row: Row = {"prevalence": prevalence}
    row |= {name: measured(at[name], why=why) for name, why in (("ppv", _NO_FLAG), ("npv", _NO_PASS))}
    if "wilson" in (found.get("interval"), passed.get("interval")) and found["ci95"] and passed["ci95"]:
        corners = predictive_values(np.array(found["ci95"]), np.array(passed["ci95"]), prevalence)
        for name in ("ppv", "npv"):
            if row[name]["value"] is not None and not np.isnan(corners[name]).any():
                low, high = (round(float(v), 4) for v in corners[name])
                row[name] = {"value": row[name]["value"], "ci95": [low, high], "interval": "corners"}
    return row


def _no_calls() -> Row:
    nothing = {"value": None, "ci95": None, "why": _NO_CALLS}
    names = ("accuracy", "precision", "recall", "f1", "f2", "sensitivity", "specificity")
    values = [{"prevalence": prevalence, "ppv": nothing, "npv": nothing} for prevalence in PREVALENCES]
    return dict.fromkeys(names, nothing) | {"predictive_values": values}


def _limits(interval: Interval) -> list[float]:
    return [round(interval.low, 4), round(interval.high, 4)]
