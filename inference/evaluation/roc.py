"""ROC curves with a band over resampled patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.resampling import ratio

_GRID: Final = 101
_DRAWS: Final = 400

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """The sample's curve as corners (`false_positive_rate`, `sensitivity`) from (0, 0) to (1, 1), and its band.

    `low` and `high` are the 95 % limits of the sensitivity at each false positive rate of `grid`.
    """

    false_positive_rate: Array
    sensitivity: Array
    grid: Array
    low: Array
    high: Array


def roc(weights: Array, truth: NDArray[np.bool_], scores: Array) -> Roc | None:
    """The curve of [studies] scores with `patient_weights` (of which 400 draws are used); None with one class only."""
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) < 0))
    used = weights[: 1 + _DRAWS, order]
    hits = np.add.reduceat(used * truth[order], starts, axis=1).cumsum(axis=1)
    alarms = np.add.reduceat(used * ~truth[order], starts, axis=1).cumsum(axis=1)
    begin = np.zeros((len(used), 1))
    tpr, fpr = (np.hstack([begin, ratio(a, np.broadcast_to(a[:, -1:], a.shape))]) for a in (hits, alarms))
    grid = np.linspace(0, 1, _GRID)
    curves = np.array([_at(grid, fpr[i], tpr[i]) for i in range(1, len(used)) if not np.isnan(tpr[i] + fpr[i]).any()])
    low, high = np.percentile(curves, [2.5, 97.5], axis=0) if len(curves) else (np.zeros(_GRID), np.ones(_GRID))
    return Roc(false_positive_rate=fpr[0], sensitivity=tpr[0], grid=grid, low=low, high=high)


def _at(grid: Array, fpr: Array, tpr: Array) -> Array:
    """The sensitivity at each false positive rate: on a vertical step the top of it."""
    last = np.append(np.diff(fpr) > 0, True)
    return np.interp(grid, fpr[last], tpr[last])
