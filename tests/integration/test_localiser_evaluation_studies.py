"""The held-out studies of the localiser's evaluation are what they say: with a cervical spine, or with none."""

from __future__ import annotations

import numpy as np
import pytest

from inference.evaluation import held_out
from inference.evaluation.held_out import Case, make_study
from inference.postprocess import LEVELS

FEW_VOXELS_MM = (2.5, 2.5, 2.5)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "LEAST_VOXEL_MM", FEW_VOXELS_MM)
    monkeypatch.setattr(held_out, "LEAST_VOXEL_TRUNK_MM", (4.0, 4.0, 4.0))


def _case_of(coverage: str) -> Case:
    cases = (Case(group="without", seed=970_000 + i) for i in range(3))
    return next(case for case in cases if held_out._coverage(case) == coverage)


@pytest.mark.parametrize("coverage", ["chest", "abdomen", "head"])
def test_a_study_without_a_cervical_spine_shows_at_most_a_sliver_of_it(coverage: str) -> None:
    study = make_study(_case_of(coverage))
    cervical = np.bincount(study.labels.ravel(), minlength=32)[1:8]
    sliver_cm3 = float(cervical.sum()) * float(np.prod(study.volume.spacing_mm_zyx)) / 1000
    assert study.facts["coverage"] == coverage
    assert sliver_cm3 < 1.5
    assert all(level.status != "complete" for level in study.levels)
    assert (study.volume.hu > 300).any()


def test_a_study_with_one_says_of_every_level_how_much_is_in_view() -> None:
    study = make_study(Case(group="spine", seed=950_000))
    assert [level.level for level in study.levels] == list(LEVELS)
    for number, level in enumerate(study.levels, 1):
        present = bool((study.labels == number).any())
        assert present == (level.status != "absent") == (level.edge_mm is not None)
        assert level.in_view == 1.0 or level.status != "complete"
    whole = [level for level in study.levels if level.status == "complete"]
    assert len(whole) >= 2
    assert all(level.edge_mm is not None and level.edge_mm > 0 for level in whole)


def test_the_same_case_is_the_same_study() -> None:
    case = _case_of("head")
    first, second = make_study(case), make_study(case)
    assert np.array_equal(first.volume.hu, second.volume.hu)
    assert first.levels == second.levels
