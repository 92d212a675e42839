"""The losses against the metric they stand for, and what is not known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inference.evaluation.metrics import competition_log_loss
from inference.experiments.losses import known_bce, noisy_or, study_loss

ALL = torch.ones(1, 8)


def test_the_competition_loss_is_the_metric() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random((40, 8)) < 0.3).astype(float)
    logits = rng.normal(0, 2, (40, 8))
    own = study_loss("competition", torch.tensor(logits), torch.tensor(truth), torch.ones(40, 8))
    assert float(own) == pytest.approx(competition_log_loss(truth, 1 / (1 + np.exp(-logits))), abs=1e-6)


def test_one_fracture_by_hand() -> None:
    # C2 broken: weights 14 (patient), 2 (C2), 1 for the six others: 22. Patient at p = 0.8, C2 at 0.5, others at 0.1.
    truth = torch.tensor([[1.0, 0, 1, 0, 0, 0, 0, 0]])
    p = torch.tensor([[0.8, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    by_hand = -(14 * math.log(0.8) + 2 * math.log(0.5) + 6 * math.log(0.9)) / 22
    assert float(study_loss("competition", torch.logit(p), truth, ALL)) == pytest.approx(by_hand, abs=1e-6)


def test_a_half_everywhere_gives_ln_2_whatever_the_labels() -> None:
    for truth in (torch.zeros(3, 8), torch.ones(3, 8), torch.eye(8)[:3]):
        loss = study_loss("competition", torch.zeros(3, 8), truth, torch.ones(3, 8))
        assert float(loss) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("kind", ["competition", "bce"])
def test_what_is_not_known_has_no_part_in_the_loss(kind: str) -> None:
    truth, known = torch.zeros(2, 8), torch.ones(2, 8)
    known[:, 3], known[1] = 0, 0
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    study_loss(kind, logits, truth, known).backward()
    assert logits.grad is not None
    assert not logits.grad[:, 3].any()
    assert not logits.grad[1].any()
    assert logits.grad[0, [0, 1, 2, 4, 5, 6, 7]].all()


def test_rows_are_normalised_over_what_is_known_of_them() -> None:
    known = ALL.clone()
    known[0, 0] = 0
    logits = torch.full((1, 8), 1.3)
    one = study_loss("competition", logits, torch.zeros(1, 8), ALL)
    assert float(study_loss("competition", logits, torch.zeros(1, 8), known)) == pytest.approx(float(one), abs=1e-6)


def test_plain_cross_entropy_weighs_nothing() -> None:
    truth = torch.tensor([[1.0, 1, 0, 0, 0, 0, 0, 0]])
    p = torch.tensor([[0.8, 0.6, *[0.1] * 6]])
    by_hand = -(math.log(0.8) + math.log(0.6) + 6 * math.log(0.9)) / 8
    assert float(study_loss("bce", torch.logit(p), truth, ALL)) == pytest.approx(by_hand, abs=1e-6)


def test_a_positive_weight_counts_positives_more() -> None:
    logits, targets = torch.zeros(2), torch.tensor([1.0, 0.0])
    assert float(known_bce(logits, targets, torch.ones(2), 3.0)) == pytest.approx(math.log(2), abs=1e-6)
    logits = torch.tensor([2.0, 0.0])
    by_hand = (3 * math.log(1 + math.exp(-2)) + math.log(2)) / 4
    assert float(known_bce(logits, targets, torch.ones(2), 3.0)) == pytest.approx(by_hand, abs=1e-6)


def test_nothing_known_is_a_loss_of_nothing() -> None:
    assert float(study_loss("competition", torch.ones(2, 8), torch.ones(2, 8), torch.zeros(2, 8))) == 0.0
    assert float(known_bce(torch.ones(3), torch.ones(3), torch.zeros(3))) == 0.0


def test_the_noisy_or_of_two_halves_is_three_quarters() -> None:
    assert float(noisy_or(torch.tensor([0.5, 0.5, 0.0]))) == pytest.approx(0.75)
