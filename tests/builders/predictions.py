"""Made-up truth, facts and predictions, as rare and as linked as public labels, of a model with a chosen skill."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.evaluation.operating import sigmoid
from inference.evaluation.predictions import Facts, Predictions

_SHARE = (0.07, 0.14, 0.04, 0.05, 0.08, 0.14, 0.19)
_KINDS = ("lamina", "burst", "facet")
_DECOYS = ("osteophytes", "nutrient-foramina")


def made_truth(count: int, seed: int = 1) -> Predictions:
    """`count` studies named s000 on, fractured about as often as public ones."""
    rng = np.random.default_rng(seed)
    values = np.zeros((count, 8))
    values[:, 1:] = rng.random((count, 7)) < _SHARE
    values[:, 0] = values[:, 1:].max(axis=1)
    return Predictions(uids=tuple(f"s{i:03d}" for i in range(count)), values=values)


def made_predictions(truth: Predictions, *, skill: float = 3.0, seed: int = 2) -> Predictions:
    """What a model says whose logits of fractured heads lie `skill` above the others; it is overconfident by half."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1, truth.values.shape) + skill * truth.values - skill * 0.7
    return Predictions(uids=truth.uids, values=sigmoid(1.5 * z))


def made_facts(truth: Predictions, seed: int = 3) -> Facts:
    """A kind for every fracture, decoys at some levels, motion in some necks."""
    rng = np.random.default_rng(seed)
    facts: Facts = {}
    for uid, row in zip(truth.uids, truth.values, strict=True):
        broken = [f"C{k}" for k in range(1, 8) if row[k]]
        one: dict[str, Any] = {
            "fractures": {level: [str(rng.choice(_KINDS))] for level in broken},
            "decoys": {f"C{k}": [str(rng.choice(_DECOYS))] for k in range(1, 8) if rng.random() < 0.2},
            "decoys_everywhere": ["motion"] if rng.random() < 0.1 else [],
            "severity": {level: [round(float(rng.random()), 3)] for level in broken},
            "kernel": str(rng.choice(("bone", "soft"))),
            "slice_mm": float(rng.choice((0.6, 1.0, 1.25))),
        }
        facts[uid] = one
    return facts
