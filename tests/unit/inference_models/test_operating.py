"""Operating points and baselines: fitted on validation, exact where a hand can follow."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from inference.evaluation.baselines import PUBLIC_CONSTANTS, baselines, best_constants
from inference.evaluation.metrics import competition_log_loss
from inference.evaluation.operating import (
    HeadPoint,
    OperatingPoints,
    OperatingPointsError,
    fit_operating_points,
    fit_temperature,
    logit,
    read_operating_points,
    sigmoid,
    threshold_keeping,
    threshold_of_best_f2,
)

HEAD = HeadPoint(temperature=2.0, bias=0.5, threshold_f2=0.3, threshold_sensitive=0.2, positives=9)
POINTS = OperatingPoints(heads=(HEAD,) * 8, rule="f2", sensitivity_goal=0.95, objective="log_loss", studies=50)


def studies(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels as rare as public ones, and overconfident probabilities that know something."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((count, 8))
    truth[:, 1:] = rng.random((count, 7)) < 0.12
    truth[:, 0] = truth[:, 1:].max(axis=1)
    return truth, sigmoid(2 * (rng.normal(0, 1, (count, 8)) + 2 * truth - 1) - 1)


def test_the_highest_f2_takes_a_false_alarm_rather_than_a_miss() -> None:
    truth = np.array([0, 0, 1, 0, 1], dtype=bool)
    scores = np.array([0.1, 0.2, 0.3, 0.5, 0.9])
    # At 0.25: 2 hits, 1 alarm: 10 / 11. Above 0.5: 1 hit, 1 miss: 5 / 9.
    threshold = threshold_of_best_f2(truth, scores)
    assert 0.2 < threshold <= 0.3
    assert threshold == pytest.approx(float(sigmoid((logit(np.array(0.2)) + logit(np.array(0.3))) / 2)))


def test_where_few_are_fractured_a_false_alarm_weighs_more() -> None:
    truth = np.array([0, 0, 1, 0, 1], dtype=bool)
    scores = np.array([0.1, 0.2, 0.3, 0.5, 0.9])
    # One in ten: a sound one stands for (0.9 / 0.1) * 2 / 3 = 6. At 0.25: 10 / (2 + 6 + 8); above 0.5: 5 / (1 + 8).
    # One in fifty: a sound one stands for 32.67. At 0.25: 10 / 42.67; above 0.5: 5 / 9.
    assert 0.5 < threshold_of_best_f2(truth, scores, prevalence=0.02) <= 0.9
    assert 0.2 < threshold_of_best_f2(truth, scores, prevalence=0.1) <= 0.3


def test_studies_that_are_seen_in_several_ways_count_once() -> None:
    truth, values = studies(120)
    assert 10 < truth[:, 1].sum() < 20, "too few for a threshold of C1's own, and twice as many would be enough"
    other = sigmoid(logit(values) + np.random.default_rng(1).normal(0, 0.5, values.shape))
    both = fit_operating_points(np.concatenate([truth, truth]), np.concatenate([values, other]), views=2)
    assert both.studies == 120
    assert both.heads[1].positives == truth[:, 1:].sum()
    assert both.heads[1] == both.heads[2], "the seven levels' in common"


def test_the_patients_threshold_does_not_depend_on_how_many_of_the_validation_studies_are_fractured() -> None:
    truth, values = studies(400)
    sound = truth[:, 0] < 0.5
    again = np.concatenate([truth, truth[sound], truth[sound]])
    more = fit_operating_points(again, np.concatenate([values, values[sound], values[sound]]), calibrate="no")
    once = fit_operating_points(truth, values, calibrate="no")
    assert once.heads[0].threshold_f2 == pytest.approx(more.heads[0].threshold_f2)
    assert once.called(values)[sound, 0].mean() < 0.5


def test_a_wanted_sensitivity_is_kept_with_the_highest_threshold_that_does() -> None:
    scores = np.linspace(0.02, 0.98, 40)
    truth = np.arange(40) % 2 == 1
    threshold = threshold_keeping(truth, scores, 0.95)
    positives = np.sort(scores[truth])
    assert (scores[truth] >= threshold).mean() == 0.95
    assert positives[0] < threshold <= positives[1]


def test_with_few_positives_none_may_be_missed() -> None:
    truth, scores = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([0.2, 0.6, 0.9, 0.1, 0.7])
    assert 0.1 < threshold_keeping(truth, scores, 0.95) <= 0.2


def test_equal_scores_of_all_studies_give_a_threshold_that_calls_them_all() -> None:
    truth, scores = np.array([1, 0, 0], dtype=bool), np.full(3, 0.4)
    assert threshold_of_best_f2(truth, scores) <= 0.4
    assert threshold_keeping(truth, scores, 0.95) <= 0.4


def test_temperature_and_bias_that_made_the_labels_are_found() -> None:
    # Every logit once as a fracture and once as none, weighted as often as each is expected: no luck is in it.
    z = np.linspace(-6, 6, 1000)
    expected = sigmoid(z / 2.5 - 0.7)
    truth = np.repeat([True, False], 1000)
    found = fit_temperature(truth, np.tile(sigmoid(z), 2), np.concatenate([expected, 1 - expected]))
    assert found == pytest.approx((2.5, -0.7), abs=0.02)


def test_the_prior_holds_a_head_back_that_rests_on_two_studies() -> None:
    temperature, bias = fit_temperature(np.array([True, False]), np.array([0.6, 0.4]), np.ones(2))
    assert 0.3 < temperature < 1.0
    assert bias == pytest.approx(0.0, abs=1e-3)


def test_calibration_lowers_the_validation_loss_of_overconfident_heads() -> None:
    truth, values = studies(300)
    honest = fit_operating_points(truth, values)
    shaped = fit_operating_points(truth, values, objective="competition")
    losses = [competition_log_loss(truth, v) for v in (values, honest.calibrated(values), shaped.calibrated(values))]
    assert losses[0] > losses[1] > losses[2]
    assert abs(honest.calibrated(values).mean(axis=0) - truth.mean(axis=0)).max() < 0.02


def test_each_head_keeps_the_wanted_sensitivity_on_validation_and_f2_is_another_rule() -> None:
    truth, values = studies(300)
    points = fit_operating_points(truth, values, rule="sensitive", sensitivity_goal=0.9)
    for head in range(8):
        assert points.called(values)[truth[:, head] > 0.5, head].mean() >= 0.9
    assert not np.array_equal(points.thresholds, replace(points, rule="f2").thresholds)


def test_calibrated_probabilities_can_be_taken_as_they_are() -> None:
    truth, values = studies(100)
    points = fit_operating_points(truth, values, calibrate="no")
    assert points.calibrated(values) == pytest.approx(values)


def test_levels_with_few_fractures_share_the_numbers_of_all_levels_and_the_others_have_their_own() -> None:
    truth, values = studies(300)
    truth[:, 3] = 0
    truth[:, 5] = 0
    truth[:7, 5] = 1
    points = fit_operating_points(truth, values)
    in_common = points.heads[3]
    assert in_common == points.heads[5]
    assert in_common.positives == truth[:, 1:].sum()
    assert [head == in_common for head in points.heads] == [False, False, False, True, False, True, False, False]
    pooled = fit_temperature(truth[:, 1:].ravel() > 0.5, values[:, 1:].ravel(), np.ones(2100))
    assert (in_common.temperature, in_common.bias) == pytest.approx(pooled)


def test_without_any_fracture_in_validation_nothing_is_fitted_and_it_says_so() -> None:
    _, values = studies(100)
    points = fit_operating_points(np.zeros((100, 8)), values)
    left = HeadPoint(temperature=1.0, bias=0.0, threshold_f2=0.5, threshold_sensitive=0.5, positives=0)
    assert points.heads == (left,) * 8


def test_a_calibrated_probability_is_that_of_the_formula() -> None:
    by_hand = 1 / (1 + math.exp(-(math.log(0.8 / 0.2) / 2.0 + 0.5)))
    assert POINTS.calibrated(np.full((1, 8), 0.8)) == pytest.approx(np.full((1, 8), by_hand))


def test_operating_points_survive_a_manifest() -> None:
    points = fit_operating_points(*studies(60), rule="f2")
    assert read_operating_points(json.dumps(points.to_json())) == points


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 9}, "format 9"),
        ({"rule": "youden"}, "rule 'youden'"),
        ({"heads": {}}, "patient_overall"),
        ({"objective": "auc"}, "objective 'auc'"),
        ({"heads": {**POINTS.to_json()["heads"], "C4": {**vars(HEAD), "temperature": 0}}}, "C4: temperature 0"),
        ({"heads": {**POINTS.to_json()["heads"], "C4": {**vars(HEAD), "threshold_f2": 2}}}, "C4: a threshold"),
    ],
)
def test_operating_points_that_make_no_sense_are_refused(change: dict, complaint: str) -> None:
    with pytest.raises(OperatingPointsError, match=complaint):
        OperatingPoints.from_json(POINTS.to_json() | change)


def test_truth_and_probabilities_of_different_studies_fit_nothing() -> None:
    with pytest.raises(OperatingPointsError, match=r"not both \[study, 8\]"):
        fit_operating_points(np.zeros((3, 8)), np.zeros((4, 8)))


def test_the_best_constant_for_the_patient_is_that_of_the_public_labels() -> None:
    # Of the 2,019 public studies 1058 have no fractured level, 623 have one, 239 two, 64 three, 26 four, 7 five, 2 six.
    truth = np.concatenate(
        [
            np.tile([1.0] + [1.0] * levels + [0.0] * (7 - levels), (count, 1))
            for levels, count in ((1, 623), (2, 239), (3, 64), (4, 26), (5, 7), (6, 2))
        ]
        + [np.zeros((1058, 8))]
    )
    assert best_constants(truth)[0] == pytest.approx(PUBLIC_CONSTANTS[0], abs=5e-5)


def test_no_other_constant_scores_better_on_the_studies_it_was_fitted_on() -> None:
    truth, _ = studies(200)
    best = best_constants(truth)
    least = competition_log_loss(truth, np.tile(best, (200, 1)))
    for head in range(8):
        for factor in (0.9, 1.1):
            other = best.copy()
            other[head] *= factor
            assert competition_log_loss(truth, np.tile(other, (200, 1))) > least


def test_a_constant_never_says_never() -> None:
    assert best_constants(np.zeros((10, 8))) == pytest.approx(np.full(8, 0.05))


def test_the_baselines_are_constant_and_two_of_them_call() -> None:
    named = {b.name: b for b in baselines(None)}
    assert set(named) == {"best constant", "all 0.5", "flag everyone", "flag nobody"}
    assert named["best constant"].for_studies(2)[1].tolist() == list(PUBLIC_CONSTANTS)
    assert named["best constant"].thresholds is None
    everyone = named["flag everyone"]
    assert everyone.thresholds is not None
    assert (everyone.values >= everyone.thresholds).all()
