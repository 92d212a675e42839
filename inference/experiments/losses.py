"""The losses of the study's eight answers, with answers that are not known left out."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F

# patient_overall, C1 ... C7; as in inference.evaluation.metrics.competition_log_loss
_NEGATIVE: Final = (7.0, *(1.0,) * 7)
_POSITIVE: Final = (14.0, *(2.0,) * 7)


def study_loss(kind: str, logits: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """`competition` or `bce` of logits [n, 8] against truth [n, 8] where `known` [n, 8] is 1.

    The competition's is its metric: weights normalised over what is known of each study, then the mean over studies.
    Studies of which nothing is known do not count.
    """
    logits = logits.float()
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if kind == "competition":
        weights = torch.where(truth > 0.5, logits.new_tensor(_POSITIVE), logits.new_tensor(_NEGATIVE)) * known
        rows = weights.sum(dim=1)
        each = (losses * weights).sum(dim=1) / rows.clamp(min=1e-6)
        counted = (rows > 0).float()
        return (each * counted).sum() / counted.sum().clamp(min=1.0)
    return (losses * known).sum() / known.sum().clamp(min=1.0)


def known_bce(
    logits: torch.Tensor, targets: torch.Tensor, known: torch.Tensor, positive_weight: float = 1.0
) -> torch.Tensor:
    """Mean binary cross-entropy over the answers that are known; positives count `positive_weight` times."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    weights = known * (1.0 + (positive_weight - 1.0) * targets)
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)


def missed_overlap(logits: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """1 - the soft Dice of all that is known in the batch: what is rare weighs as much as what is common."""
    p = torch.sigmoid(logits.float()) * known
    targets = targets * known
    return 1.0 - (2.0 * (p * targets).sum() + 1.0) / (p.sum() + targets.sum() + 1.0)


def cell_loss(logits: torch.Tensor, zones: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Of maps against `zones` of the same shape where they are `known`: cross-entropy and overlap.

    What is fractured counts tenfold: it is one cell in a hundred.
    """
    return known_bce(logits, zones, known, 10.0) + missed_overlap(logits, zones, known)


def noisy_or(probabilities: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """The probability of any of several independent events."""
    return 1.0 - (1.0 - probabilities.double()).prod(dim=dim)
