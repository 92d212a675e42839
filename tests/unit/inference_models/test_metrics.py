import math

import numpy as np
import pytest

from inference.evaluation.metrics import (
    auc,
    bootstrap,
    competition_log_loss,
    dice,
    expected_calibration_error,
    sensitivity,
    specificity,
    wilson,
)


def test_the_competition_loss_of_one_positive_study_is_what_a_hand_computes() -> None:
    # Overall positive (weight 14) at 0.8, C1 positive (2) at 0.5, C2 ... C7 negative (1 each) at 0.1.
    y = np.array([[1, 1, 0, 0, 0, 0, 0, 0]], dtype=float)
    p = np.array([[0.8, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]])
    by_hand = (14 * 0.22314355131420976 + 2 * 0.6931471805599453 + 6 * 0.10536051565782628) / 22
    assert competition_log_loss(y, p) == pytest.approx(by_hand)


def test_the_competition_loss_weighs_each_study_alike() -> None:
    y = np.array([[1, 1, 0, 0, 0, 0, 0, 0], [0] * 8], dtype=float)
    p = np.array([[1 - 1e-9, 1 - 1e-9] + [1e-9] * 6, [0.5] * 8])
    assert competition_log_loss(y, p) == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_a_coin_flip_costs_log_two_in_the_competition() -> None:
    y = (np.random.default_rng(1).random((5, 8)) < 0.5).astype(float)
    assert competition_log_loss(y, np.full((5, 8), 0.5)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("fractured", [(), (0,), (6,), (1, 4), tuple(range(7))])
def test_a_coin_flip_costs_log_two_whatever_the_labels(fractured: tuple[int, ...]) -> None:
    y = np.zeros((1, 8))
    y[0, [1 + level for level in fractured]] = 1
    y[0, 0] = y.max()
    assert competition_log_loss(y, np.full((1, 8), 0.5)) == pytest.approx(math.log(2), abs=1e-12)


def test_a_negative_study_has_the_weight_14_and_a_single_fracture_22() -> None:
    # Everything at 0.2: a negative costs -ln 0.8 throughout. With C5 broken, 14 + 2 of 22 cost -ln 0.2.
    p = np.full((1, 8), 0.2)
    negative, single = np.zeros((1, 8)), np.eye(8)[[0]] + np.eye(8)[[5]]
    assert competition_log_loss(negative, p) == pytest.approx(0.2231435513142097)
    by_hand = (16 * 1.6094379124341003 + 6 * 0.2231435513142097) / 22
    assert competition_log_loss(single, p) == pytest.approx(by_hand)


def test_class_means_cost_what_a_hand_computes() -> None:
    # Four studies, one with a fracture (of C2): the means are 1/4 for the patient and C2, 0 for all else.
    y = np.zeros((4, 8))
    y[0, [0, 2]] = 1
    positive = (14 + 2) * math.log(4) / 22
    negative = (7 + 1) * math.log(4 / 3) / 14
    by_hand = (positive + 3 * negative) / 4
    assert competition_log_loss(y, np.tile(y.mean(axis=0), (4, 1))) == pytest.approx(by_hand, abs=1e-12)


def test_a_certain_mistake_costs_the_clip_and_not_infinity() -> None:
    # The patient is called negative with certainty: 14 of 22 at -ln 1e-15; C1 is called rightly.
    y = np.array([[1, 1, 0, 0, 0, 0, 0, 0]], dtype=float)
    p = np.array([[0, 1, 0, 0, 0, 0, 0, 0]], dtype=float)
    assert competition_log_loss(y, p) == pytest.approx(14 * 15 * math.log(10) / 22, rel=1e-9)


def test_auc_counts_ordered_pairs_and_half_of_ties() -> None:
    assert auc(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.4, 0.1])) == pytest.approx(3.5 / 4)


def test_wilson_interval_of_nine_in_ten_matches_the_textbook() -> None:
    interval = wilson(9, 10)
    assert (interval.low, interval.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_a_value_at_the_threshold_counts_as_a_call() -> None:
    y, p = np.array([1, 1, 0, 0, 0]), np.array([0.5, 0.2, 0.5, 0.1, 0.1])
    assert sensitivity(y, p, 0.5).value == pytest.approx(1 / 2)
    assert specificity(y, p, 0.5).value == pytest.approx(2 / 3)


def test_bootstrap_holds_the_value_inside_its_interval() -> None:
    data = np.arange(50, dtype=float)
    interval = bootstrap(lambda rows: float(data[rows].mean()), 50, seed=3, rounds=200)
    assert interval.low < interval.value == 24.5 < interval.high


def test_dice_of_half_overlapping_masks_is_a_half() -> None:
    assert dice(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool)) == pytest.approx(0.5)


def test_calibration_error_is_the_gap_between_said_and_seen() -> None:
    assert expected_calibration_error(np.array([1.0, 0, 0, 0]), np.full(4, 0.55)) == pytest.approx(0.30)
