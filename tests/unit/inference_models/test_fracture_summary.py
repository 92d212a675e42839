"""The numbers of a model: by hand on a few studies, and honest where nothing can be said."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from inference.evaluation.fracture_classes import by_decoy, by_fracture, kinds_at
from inference.evaluation.fracture_conditions import by_condition, by_severity
from inference.evaluation.fracture_summary import Setting, model_of, summarise, summarise_baselines, worst
from inference.evaluation.head_numbers import head_numbers, reliability
from inference.evaluation.metrics import competition_log_loss
from inference.evaluation.operating import fit_operating_points
from inference.evaluation.predictions import Predictions, PredictionsError
from inference.evaluation.resampling import patient_weights
from tests.builders.predictions import made_facts, made_predictions, made_truth

FOUR = patient_weights(["a", "b", "c", "d"], rounds=40)


def table(*rows: str) -> np.ndarray:
    """[study, 8] bool from rows like '10100000'."""
    return np.array([[c == "1" for c in row] for row in rows])


def test_one_head_by_hand() -> None:
    truth, said = np.array([True, True, False, False]), np.array([0.9, 0.3, 0.4, 0.1])
    found = head_numbers(FOUR, truth, said, 0.35)
    assert found["log_loss"]["value"] == pytest.approx(
        -(math.log(0.9) + math.log(0.3) + math.log(0.6) + math.log(0.9)) / 4, abs=1e-4
    )
    assert found["auc"]["value"] == 0.75
    assert (found["count"], found["positives"], found["threshold"]) == (4, 2, 0.35)
    assert (found["sensitivity"]["count"], found["sensitivity"]["of"]) == (1, 2)
    assert found["specificity"]["value"] == found["precision"]["value"] == found["accuracy"]["value"] == 0.5
    assert found["f2"]["value"] == pytest.approx(5 / (5 + 4 + 1))


def test_the_intervals_hold_the_values() -> None:
    truth = made_truth(120)
    model = made_predictions(truth)
    setting = Setting(truth=truth, rounds=200)
    found = head_numbers(setting.weights, truth.values[:, 0] > 0.5, model.values[:, 0], 0.5)
    for name in ("log_loss", "auc", "ece", "sensitivity", "specificity", "accuracy", "precision", "f1", "f2"):
        low, high = found[name]["ci95"]
        assert low <= found[name]["value"] + 0.02
        assert found[name]["value"] <= high
        assert low < high


def test_predictive_values_fall_with_the_prevalence() -> None:
    truth = made_truth(120)
    found = head_numbers(
        patient_weights(truth.uids, rounds=50), truth.values[:, 0] > 0.5, made_predictions(truth).values[:, 0], 0.5
    )
    at = found["predictive_values"]
    assert [row["prevalence"] for row in at] == [0.041, 0.09, 0.48]
    assert at[0]["ppv"]["value"] < at[1]["ppv"]["value"] < at[2]["ppv"]["value"]
    assert at[0]["npv"]["value"] > at[2]["npv"]["value"]


def test_a_perfect_specificity_does_not_promise_a_perfect_predictive_value() -> None:
    truth = np.array([True, True, False, False])
    found = head_numbers(FOUR, truth, truth.astype(float), 0.5)
    assert found["predictive_values"][0]["ppv"]["value"] == 1.0
    low, high = found["predictive_values"][0]["ppv"]["ci95"]
    assert low < 0.1 < high


def test_four_vertebrae_told_apart_perfectly_are_no_proof_of_a_perfect_model() -> None:
    truth = np.array([True, True, True, True, False, False, False, False, False, False])
    found = head_numbers(patient_weights([str(i) for i in range(10)], rounds=60), truth, truth * 0.6 + 0.1, 0.5)
    assert found["auc"] == {"value": 1.0, "ci95": [0.5101, 1.0], "interval": "wilson"}
    assert found["f2"]["ci95"] is None


def test_with_one_class_only_nothing_is_made_up() -> None:
    found = head_numbers(FOUR, np.zeros(4, bool), np.array([0.1, 0.2, 0.3, 0.6]), 0.5)
    for name in ("auc", "sensitivity", "f1", "f2", "recall"):
        assert found[name]["value"] is None
        assert found[name]["why"]
    assert found["specificity"]["value"] == 0.75
    assert found["predictive_values"][0]["ppv"]["value"] is None


def test_levels_together_count_every_vertebra_once() -> None:
    truth, said = np.array([[True, False], [False, False]]), np.array([[0.9, 0.6], [0.2, 0.1]])
    found = head_numbers(np.ones((2, 2)), truth, said, np.array([0.5, 0.7]))
    assert (found["count"], found["positives"]) == (4, 1)
    assert found["sensitivity"]["value"] == found["specificity"]["value"] == 1.0


def test_reliability_bins_say_how_often_what_was_said_came_true() -> None:
    rows = reliability(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.05, 0.08, 0.95, 1.0]))
    assert [(r["from"], r["count"], r["seen"]) for r in rows] == [(0.0, 2, 0.5), (0.9, 2, 1.0)]
    assert rows[0]["said"] == pytest.approx(0.065)


def test_sensitivity_of_a_kind_counts_its_own_levels_only() -> None:
    truth = table("11000000", "10100000", "10100000", "00000000")
    called = table("11000000", "00100000", "10000000", "10000000")
    facts = {
        "a": {"fractures": {"C1": ["jefferson"]}},
        "b": {"fractures": {"C2": ["odontoid-2", "lamina"], "C7": ["lamina"]}},
        "c": {"fractures": {"C2": ["odontoid-2"]}},
    }
    rows = {row["kind"]: row for row in by_fracture(FOUR, "abcd", truth, called, facts)}
    assert (rows["odontoid-2"]["sensitivity"]["count"], rows["odontoid-2"]["sensitivity"]["of"]) == (1, 2)
    assert (rows["odontoid-2"]["alone"], rows["lamina"]["alone"]) == (1, 0)
    assert rows["odontoid-2"]["patient_sensitivity"]["value"] == 0.5
    assert rows["lamina"]["sensitivity"]["of"] == 1  # its C7 is whole in the truth: outside the scan
    assert next(iter(rows)) == "odontoid-2"  # the worst first


def test_decoys_are_counted_on_whole_vertebrae_and_whole_necks() -> None:
    truth = table("10100000", "00000000", "00000000", "00000000")
    called = table("10110000", "10001000", "10000000", "00000000")
    facts = {
        "a": {"decoys": {"C2": ["osteophytes"], "C3": ["osteophytes"]}},
        "b": {"decoys": {"C4": ["osteophytes"], "C5": ["ossicle"]}},
        "c": {"decoys": {}, "decoys_everywhere": ["motion"]},
        "d": {"decoys": {}},
    }
    rows = {row["kind"]: row for row in by_decoy(FOUR, "abcd", truth, called, facts)}
    bone = rows["osteophytes"]["false_positive_rate"]
    assert (bone["count"], bone["of"]) == (2, 2)  # C3 of a and C4 of b; C2 of a is fractured
    assert (rows["ossicle"]["false_positive_rate"]["count"], rows["ossicle"]["false_positive_rate"]["of"]) == (0, 1)
    assert rows["motion"]["false_positive_rate"]["value"] is None
    assert rows["motion"]["patient_rate"]["value"] == 1.0
    assert (rows["none"]["patient_rate"]["count"], rows["none"]["patient_rate"]["of"]) == (0, 1)
    assert rows["none"]["false_positive_rate"]["of"] == 4 * 7 - 4  # without the four that bear a decoy


def test_without_facts_there_are_no_classes() -> None:
    truth = table("11000000")
    assert by_fracture(np.ones((2, 1)), ("a",), truth, truth, {}) == []
    assert by_decoy(np.ones((2, 1)), ("a",), truth, truth, {}) == []
    assert by_severity(np.ones((2, 1)), ("a",), truth, truth, {}) == []
    assert by_condition(np.ones((2, 1)), ("a",), truth, truth.astype(float), truth, {}) == []


def test_kinds_stand_at_their_level_or_with_the_study() -> None:
    facts = {"decoys": {"C5": ["cage"]}, "decoys_everywhere": ["motion"]}
    assert kinds_at(facts, "decoys") == {"C5": ["cage"], "study": ["motion"]}
    assert kinds_at({}, "fractures") == {}


def test_conditions_are_grouped_and_each_group_has_its_own_numbers() -> None:
    truth = table("11000000", "00000000", "10000010", "00000000")
    called = table("11000000", "00000000", "00000000", "10000000")
    facts: dict = {
        "a": {"kernel": "bone", "slice_mm": 0.6},
        "b": {"kernel": "bone", "slice_mm": 0.75},
        "c": {"kernel": "soft", "slice_mm": 3.0},
        "d": {"kernel": "soft"},
    }
    rows = by_condition(FOUR, "abcd", truth, called.astype(float), called, facts)
    named = {(row["condition"], row["group"]): row for row in rows}
    assert list(named) == [
        ("kernel", "bone"), ("kernel", "soft"), ("slice thickness, mm", "to 0.75"), ("slice thickness, mm", "over 2"),
    ]  # fmt: skip
    bone, soft = named["kernel", "bone"], named["kernel", "soft"]
    assert (bone["patient_sensitivity"]["value"], bone["level_sensitivity"]["value"]) == (1.0, 1.0)
    assert (soft["patient_sensitivity"]["value"], soft["patient_specificity"]["value"]) == (0.0, 0.0)
    assert (soft["level_sensitivity"]["of"], soft["level_specificity"]["of"]) == (1, 13)
    assert named["slice thickness, mm", "over 2"]["patient_auc"]["value"] is None


def test_a_level_is_as_severe_as_its_worst_fracture() -> None:
    truth, called = table("11100000", "10000001"), table("10100000", "10000001")
    facts = {"a": {"severity": {"C1": [0.1, 0.2], "C2": [0.1, 0.9]}}, "b": {"severity": {"C7": [0.5], "C6": [0.9]}}}
    rows = {row["severity"]: row["sensitivity"] for row in by_severity(np.ones((9, 2)), "ab", truth, called, facts)}
    assert {name: (r["count"], r["of"]) for name, r in rows.items()} == {
        "subtle": (0, 1), "middle": (1, 1), "gross": (1, 1),
    }  # fmt: skip


def test_the_worst_study_is_the_one_that_costs_most_and_says_what_was_missed() -> None:
    truth = Predictions(uids=("good", "bad"), values=table("00000000", "10000100").astype(float))
    said = Predictions(uids=("bad", "good"), values=np.array([[0.1] * 8, [0.2] * 8]))
    setting = Setting(truth=truth, facts={"bad": {"fractures": {"C5": ["burst"]}}}, rounds=10)
    first = worst(setting, model_of("m", setting, said, None), 1)[0]
    assert (first["uid"], first["missed"], first["false_alarms"]) == ("bad", ["patient_overall", "C5"], [])
    assert first["fractures"] == {"C5": ["burst"]}
    assert first["loss"] == pytest.approx((16 * -math.log(0.1) + 6 * -math.log(0.9)) / 22, abs=1e-4)


def test_predictions_of_other_studies_are_refused() -> None:
    setting = Setting(truth=made_truth(4), rounds=10)
    with pytest.raises(PredictionsError, match="1 missing: s003"):
        model_of("m", setting, made_predictions(made_truth(3)), None)


def test_a_summary_is_json_without_nan_and_its_loss_is_the_metric() -> None:
    truth = made_truth(40)
    truth.values[:, 3] = 0
    truth.values[:, 0] = truth.values[:, 1:].max(axis=1)
    setting = Setting(truth=truth, facts=made_facts(truth), rounds=100)
    said = made_predictions(truth)
    numbers = summarise(setting, model_of("model", setting, said, None))
    text = json.dumps(numbers, allow_nan=False)
    assert json.loads(text)["heads"]["C3"]["auc"] == {"value": None, "ci95": None, "why": "only one class among them"}
    assert numbers["competition_loss"]["value"] == pytest.approx(
        competition_log_loss(truth.values, said.values), abs=1e-4
    )
    assert numbers["competition_loss_uncalibrated"] is None
    assert len(numbers["worst"]) == 10


def test_operating_points_of_validation_are_applied_and_named() -> None:
    validation, truth = made_truth(150, seed=8), made_truth(80, seed=9)
    points = fit_operating_points(validation.values, made_predictions(validation).values)
    setting = Setting(truth=truth, rounds=50)
    numbers = summarise(setting, model_of("model", setting, made_predictions(truth), points))
    assert numbers["operating_points"]["validation_studies"] == 150
    assert numbers["heads"]["C1"]["threshold"] == pytest.approx(points.thresholds[1])
    assert numbers["competition_loss"]["value"] < numbers["competition_loss_uncalibrated"]["value"]


def test_targets_say_which_are_missed() -> None:
    truth = made_truth(60)
    setting = Setting(truth=truth, rounds=50)
    perfect = Predictions(uids=truth.uids, values=np.clip(truth.values, 0.001, 0.999))
    right = summarise(setting, model_of("right", setting, perfect, None))["targets"]
    assert [target["met"] for target in right] == [True] * 5
    blind = Predictions(uids=truth.uids, values=np.full((60, 8), 0.4))
    assert not any(t["met"] for t in summarise(setting, model_of("blind", setting, blind, None))["targets"][:4])


def test_the_hollow_predictors_stand_beside_with_what_they_reach() -> None:
    truth = made_truth(100)
    setting = Setting(truth=truth, rounds=50)
    named = {row["name"]: row for row in summarise_baselines(setting, made_truth(200, seed=5).values)}
    assert named["all 0.5"]["competition_loss"]["value"] == pytest.approx(math.log(2), abs=1e-4)
    assert named["best constant"]["competition_loss"]["value"] < 0.69
    assert named["best constant"]["heads"]["C2"]["auc"]["value"] == 0.5
    assert named["best constant"]["heads"]["C2"]["sensitivity"]["value"] is None
    everyone = named["flag everyone"]["heads"]["C3"]
    assert (everyone["sensitivity"]["value"], everyone["specificity"]["value"]) == (1.0, 0.0)
    assert named["flag nobody"]["heads"]["C3"]["accuracy"]["value"] > 0.9
