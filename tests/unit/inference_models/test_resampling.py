"""Statistics over resampled patients: exact on the sample, and the same as the plain formulas on every draw."""

from __future__ import annotations

import numpy as np
import pytest

from inference.evaluation import metrics, resampling
from inference.evaluation.resampling import counts, measured, patient_weights, predictive_values, rates, share

ONE = np.ones((1, 8))
TRUTH = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
CALLED = np.array([1, 1, 0, 1, 0, 0, 0, 0], dtype=bool)


def test_the_first_weights_are_the_sample_and_every_draw_has_as_many_patients() -> None:
    weights = patient_weights(["a", "b", "c", "d"], rounds=50)
    assert np.array_equal(weights[0], np.ones(4))
    assert np.array_equal(weights[1:].sum(axis=1), np.full(50, 4.0))
    assert weights[1:].std() > 0


def test_the_studies_of_one_patient_come_and_go_together() -> None:
    weights = patient_weights(["p", "q", "p", "r"], rounds=50)
    assert np.array_equal(weights[:, 0], weights[:, 2])


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    names = [str(i) for i in range(20)]
    assert np.array_equal(patient_weights(names, seed=3), patient_weights(names, seed=3))
    assert not np.array_equal(patient_weights(names, seed=3), patient_weights(names, seed=4))


def test_rates_of_two_hits_one_miss_one_false_alarm_and_four_passes_by_hand() -> None:
    found = {name: float(value[0]) for name, value in rates(counts(ONE, TRUTH, CALLED)).items()}
    assert found == pytest.approx(
        {
            "accuracy": 6 / 8,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "f1": 2 / 3,
            "f2": 10 / 15,
            "sensitivity": 2 / 3,
            "specificity": 4 / 5,
        }
    )


def test_f2_forgives_a_false_alarm_more_than_a_miss() -> None:
    one_miss = rates(counts(ONE, TRUTH, TRUTH & (np.arange(8) > 0)))
    one_alarm = rates(counts(ONE, TRUTH, TRUTH | (np.arange(8) == 7)))
    assert float(one_miss["f2"][0]) == pytest.approx(5 * 2 / (5 * 2 + 4 * 1))
    assert float(one_alarm["f2"][0]) == pytest.approx(5 * 3 / (5 * 3 + 1))


def test_without_positives_recall_f1_and_f2_are_undefined_and_specificity_is_not() -> None:
    found = rates(counts(ONE, np.zeros(8, bool), CALLED))
    assert all(np.isnan(found[name][0]) for name in ("recall", "f1", "f2", "sensitivity"))
    assert found["specificity"][0] == pytest.approx(5 / 8)


def test_predictive_values_follow_bayes_at_every_prevalence() -> None:
    at = predictive_values(np.array([0.9]), np.array([0.8]), 0.09)
    assert float(at["ppv"][0]) == pytest.approx(0.9 * 0.09 / (0.9 * 0.09 + 0.2 * 0.91))
    assert float(at["npv"][0]) == pytest.approx(0.8 * 0.91 / (0.8 * 0.91 + 0.1 * 0.09))


def test_predictive_values_of_flagging_everyone_are_the_prevalence_and_undefined() -> None:
    at = predictive_values(np.array([1.0]), np.array([0.0]), 0.041)
    assert float(at["ppv"][0]) == pytest.approx(0.041)
    assert np.isnan(at["npv"][0])


def test_the_weighted_auc_counts_pairs_and_half_of_ties() -> None:
    scores = np.array([0.9, 0.4, 0.4, 0.1])
    truth = np.array([1, 1, 0, 0], dtype=bool)
    assert float(resampling.auc(np.ones((1, 4)), truth, scores)[0]) == pytest.approx(3.5 / 4)


def test_every_draw_s_auc_and_calibration_error_are_those_of_the_rows_repeated() -> None:
    rng = np.random.default_rng(2)
    truth, scores = rng.random(30) < 0.4, np.round(rng.random(30), 1)
    weights = patient_weights([str(i) for i in range(30)], rounds=20)
    found = resampling.auc(weights, truth, scores), resampling.calibration_error(weights, truth, scores)
    for draw, row in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(30), row)
        assert found[0][draw] == pytest.approx(metrics.auc(truth[rows].astype(float), scores[rows]))
        expected = metrics.expected_calibration_error(truth[rows].astype(float), scores[rows])
        assert found[1][draw] == pytest.approx(expected)


def test_levels_of_a_study_share_its_weight() -> None:
    rng = np.random.default_rng(6)
    truth, scores = rng.random((12, 3)) < 0.4, np.round(rng.random((12, 3)), 1)
    weights = patient_weights([str(i) for i in range(12)], rounds=10)
    repeated = np.repeat(weights, 3, axis=1)
    flat = truth.ravel(), scores.ravel()
    assert resampling.auc(weights, truth, scores) == pytest.approx(resampling.auc(repeated, *flat))
    assert resampling.mean(weights, scores) == pytest.approx(resampling.mean(repeated, flat[1]))
    together = resampling.calibration_error(weights, truth, scores)
    assert together == pytest.approx(resampling.calibration_error(repeated, *flat))
    cells, apart = counts(weights, truth, scores > 0.5), counts(repeated, flat[0], flat[1] > 0.5)
    assert all(np.array_equal(cells[name], apart[name]) for name in cells)


def test_the_auc_of_one_class_is_undefined() -> None:
    assert np.isnan(resampling.auc(ONE, np.ones(8, bool), np.arange(8.0))[0])


def test_an_undefined_number_is_none_with_the_reason() -> None:
    assert measured(np.array([np.nan, 0.5]), why="no positives") == {
        "value": None,
        "ci95": None,
        "why": "no positives",
    }


def test_a_number_that_most_draws_cannot_give_has_no_interval() -> None:
    number = measured(np.array([0.5, 0.5, np.nan, np.nan]), why="there are no positives")
    assert number["value"] == 0.5
    assert number["ci95"] is None
    assert "there are no positives" in number["why"]


def test_a_number_that_every_draw_repeats_has_no_interval_instead_of_certainty() -> None:
    number = measured(np.ones(101), why="-")
    assert (number["value"], number["ci95"]) == (1.0, None)
    assert "every draw gives the same" in number["why"]


def test_a_perfect_share_gets_the_interval_of_wilson_instead_of_certainty() -> None:
    number = share(np.ones(101), 5, 5, why="-")
    assert number["value"] == 1.0
    assert number["ci95"] == pytest.approx([0.5655, 1.0], abs=1e-4)
    assert number["interval"] == "wilson"


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(4).normal(0, 1, 400)
    weights = patient_weights([str(i) for i in range(400)], rounds=1000)
    low, high = measured(resampling.mean(weights, values), why="-")["ci95"]
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.1)
