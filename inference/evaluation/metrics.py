"""Metrics with their intervals. Everything is NumPy on plain arrays; labels are 0/1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CLIP: Final = 1e-15
# Order: patient_overall, C1 ... C7 (RSNA 2022 Cervical Spine Fracture Detection).
_NEGATIVE_WEIGHTS: Final = np.array([7.0] + [1.0] * 7)
_POSITIVE_WEIGHTS: Final = np.array([14.0] + [2.0] * 7)
_Z95: Final = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def competition_log_loss(targets: Array, probabilities: Array) -> float:
    """The RSNA 2022 metric: weighted log loss, normalised per study row, mean over studies.

    Both arrays are [n, 8]: patient_overall, C1 ... C7. Natural logarithm; probabilities are clipped to
    [1e-15, 1 - 1e-15].
    """
    return float(competition_losses(targets, probabilities).mean())


def competition_losses(targets: Array, probabilities: Array) -> Array:
    """Each study's part in `competition_log_loss`, [n]."""
    y, p = np.asarray(targets, dtype=float), np.clip(probabilities, _CLIP, 1 - _CLIP)
    return np.asarray((competition_weights(y) * -(y * np.log(p) + (1 - y) * np.log(1 - p))).sum(axis=1))


def competition_weights(targets: Array) -> Array:
    """What the log loss of each study and head weighs in the study's part, [n, 8]; every row adds up to 1."""
    weights = np.where(np.asarray(targets) > 0.5, _POSITIVE_WEIGHTS, _NEGATIVE_WEIGHTS)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def auc(targets: Array, scores: Array) -> float:
    """Area under the ROC curve (ties count half); nan with only one class."""
    y, s = np.asarray(targets) > 0.5, np.asarray(scores, dtype=float)
    positives, negatives = s[y], s[~y]
    if not len(positives) or not len(negatives):
        return float("nan")
    above = (positives[:, None] > negatives[None, :]).sum()
    level = (positives[:, None] == negatives[None, :]).sum()
    return float((above + 0.5 * level) / (len(positives) * len(negatives)))


def wilson(successes: int, trials: int) -> Interval:
    """A proportion with Wilson's score interval; nan throughout without trials."""
    if trials == 0:
        return Interval(value=float("nan"), low=float("nan"), high=float("nan"))
    p, z2 = successes / trials, _Z95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * np.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    return Interval(value=p, low=float(max(0.0, centre - half)), high=float(min(1.0, centre + half)))


def sensitivity(targets: Array, probabilities: Array, threshold: float) -> Interval:
    """Share of positives at or above the threshold."""
    y, called = np.asarray(targets) > 0.5, np.asarray(probabilities) >= threshold
    return wilson(int((y & called).sum()), int(y.sum()))


def specificity(targets: Array, probabilities: Array, threshold: float) -> Interval:
    """Share of negatives below the threshold."""
    y, called = np.asarray(targets) > 0.5, np.asarray(probabilities) >= threshold
    return wilson(int((~y & ~called).sum()), int((~y).sum()))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], count: int, *, seed: int, rounds: int = 1000
) -> Interval:
    """`statistic` of row indices, with a percentile interval over resampled rows (patients, not levels)."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, count, count)) for _ in range(rounds)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(value=statistic(np.arange(count)), low=float(low), high=float(high))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else float(2 * int((a & b).sum()) / total)


def expected_calibration_error(targets: Array, probabilities: Array, bins: int = 10) -> float:
    """Mean gap between predicted probability and observed share over equal-width bins."""
    y, p = np.asarray(targets, dtype=float), np.asarray(probabilities, dtype=float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(p[place == b].mean() - y[place == b].mean()) * (place == b).sum() for b in np.unique(place)]
    return float(sum(gaps) / len(p))
