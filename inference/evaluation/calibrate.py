"""Calibration and thresholds, fitted on held-out phantoms that neither training nor the final numbers see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]


def fit_logistic(features: Array, targets: Array, *, ridge: float = 1e-2) -> tuple[Array, float]:
    """Weights and offset of sigmoid(features @ w + b) by maximum likelihood with a weak pull towards w = 1 / k."""
    x, y = np.atleast_2d(features.T).T, np.asarray(targets, dtype=float)
    prior = np.full(x.shape[1], 1.0 / x.shape[1])

    def loss(theta: Array) -> float:
        z = x @ theta[:-1] + theta[-1]
        return float((np.logaddexp(0.0, z) - y * z).mean() + ridge * ((theta[:-1] - prior) ** 2).sum())

    theta = minimize(loss, np.append(prior, 0.0), method="BFGS").x
    return theta[:-1], float(theta[-1])


def best_threshold(targets: Array, probabilities: Array, *, sensitivity_weight: float = 1.0) -> float:
    """The threshold with the highest `sensitivity_weight` * sensitivity + specificity, between 0.02 and 0.98.

    Of equally good thresholds the middle of the widest gap is taken, so that one phantom does not decide.
    """
    y, p = np.asarray(targets) > 0.5, np.asarray(probabilities, dtype=float)
    if not y.any() or y.all():
        return 0.5
    values = np.unique(p)
    candidates = np.concatenate([[0.02], (values[:-1] + values[1:]) / 2, [0.98]]).clip(0.02, 0.98)
    scores = [sensitivity_weight * (p[y] >= t).mean() + (p[~y] < t).mean() for t in candidates]
    return float(np.median(candidates[np.isclose(scores, max(scores))]))


def threshold_at_specificity(targets: Array, probabilities: Array, specificity: float) -> float:
    """The lowest threshold that keeps at least this share of the negatives below it, between 0.02 and 0.98."""
    p = np.sort(np.asarray(probabilities, dtype=float)[np.asarray(targets) <= 0.5])
    if not len(p):
        return 0.5
    kept = min(int(np.ceil(specificity * len(p))), len(p))
    above = p[kept] if kept < len(p) else 1.0
    return float(np.clip((p[kept - 1] + above) / 2, 0.02, 0.98))
