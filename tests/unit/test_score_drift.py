"""A node notices that its scores are not what they were."""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from dicom_node.app.result_json import result_json
from dicom_node.bootstrap.drift import RECENT, ScoreDrift, compared
from dicom_node.core.finding import LEVELS
from tests.unit.app.node import analysed

DRAW = random.Random(8)


def result(shift: float = 0.0, bundle: str = "ab" * 32) -> str:
    said: dict[str, Any] = result_json(analysed(probability=min(0.99, DRAW.random() * 0.4 + shift)))
    said["bundle"]["sha256"] = bundle
    return json.dumps(said)


def verdicts(results: list[str]) -> dict[str, float]:
    return {labels[0]: value for name, labels, value in compared(results) if name == "drift_verdict"}


def test_before_there_are_enough_results_nothing_is_said() -> None:
    assert list(compared([])) == [("drift_studies", (), 0.0)]
    assert list(compared([result() for _ in range(RECENT + 10)])) == [("drift_studies", (), 100.0)]


def test_scores_like_those_before_are_stable() -> None:
    found = verdicts([result() for _ in range(300)])
    assert set(found) == {"p_patient_overall", "levels_assessed", *(f"p_{level}" for level in LEVELS[:-1])}
    assert set(found.values()) == {0.0}


def test_scores_that_moved_are_drifted_and_the_others_are_not() -> None:
    found = verdicts([result(shift=0.5) for _ in range(100)] + [result() for _ in range(300)])
    assert found["p_patient_overall"] == found["p_C2"] == 2.0
    assert found["p_C1"] == found["levels_assessed"] == 0.0


def test_another_bundles_scores_are_no_reference() -> None:
    old = [result(bundle="cd" * 32) for _ in range(300)]
    assert verdicts([result(shift=0.5) for _ in range(100)] + old) == {}


def test_what_the_last_look_found_is_shown_until_the_next() -> None:
    results = [result() for _ in range(40)]

    @contextmanager
    def reading() -> Any:
        yield SimpleNamespace(jobs=SimpleNamespace(latest_results=lambda limit: tuple(results[:limit])))

    drift = ScoreDrift(SimpleNamespace(reading=reading))  # type: ignore[arg-type]
    assert list(drift.samples()) == []
    drift.tick().call()
    assert list(drift.samples()) == [("drift_studies", (), 40.0)]
