"""Predictors that look at no image. A model's numbers stand beside theirs, so that a hollow number shows.

With a fracture of C3 in 4 % of studies, calling nobody is 96 % accurate, calling everybody is 100 % sensitive, and the
best constants score 0.557 in the competition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import competition_weights
from inference.evaluation.predictions import LEVEL_COLUMNS

# The best constant vector of the 2,019 public labels of the RSNA 2022 challenge, to four digits.
PUBLIC_CONSTANTS: Final = (0.5309, 0.1027, 0.1930, 0.0512, 0.0752, 0.1105, 0.1842, 0.2559)

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A predictor that gives every study the same `values` [8]; `thresholds` [8], or None where it calls nothing."""

    name: str
    says: str
    values: Array
    thresholds: Array | None

    def for_studies(self, count: int) -> Array:
        """Its probabilities [count, 8]."""
        return np.tile(self.values, (count, 1))


def best_constants(truth: Array) -> Array:
    """The constant probabilities [8] with the least competition loss on these studies [n, 8].

    As a study's weights depend on its labels only, each head's constant is its weighted share of positives. A head
    without a positive (or negative) keeps half a study's doubt.
    """
    weights = competition_weights(truth)
    share = (weights * truth).sum(axis=0) / weights.sum(axis=0)
    doubt = 1 / (2 * len(truth))
    return np.clip(share, doubt, 1 - doubt)


def baselines(fitted_on: Array | None) -> tuple[Baseline, ...]:
    """The predictors to stand beside a model.

    `fitted_on`: the truth [n, 8] of training or validation studies, never of those that are measured; None takes the
    constants of the public labels.
    """
    if fitted_on is None:
        constants, whose = np.array(PUBLIC_CONSTANTS), "the 2,019 public labels"
    else:
        constants, whose = best_constants(fitted_on), f"{len(fitted_on)} other studies"
    heads = len(LEVEL_COLUMNS)
    return (
        Baseline(name="best constant", says=f"the best constants of {whose}", values=constants, thresholds=None),
        Baseline(name="all 0.5", says="0.5 for everything", values=np.full(heads, 0.5), thresholds=None),
        Baseline(
            name="flag everyone", says="everything fractured", values=np.ones(heads), thresholds=np.full(heads, 0.5)
        ),
        Baseline(name="flag nobody", says="nothing fractured", values=np.zeros(heads), thresholds=np.full(heads, 0.5)),
    )
