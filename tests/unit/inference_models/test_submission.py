"""The submission file: the challenge's rows in its order, and never constants in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.evaluation.predictions import Predictions, PredictionsError
from inference.evaluation.submission import LEAST, make_submission, read_row_ids, split_row_id, write_submission
from tests.builders.predictions import made_predictions, made_truth

TWO = Predictions(
    uids=("1.2.3", "1.2.4"), values=np.array([[0.9, 0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.1, 1, *[0.05] * 6]])
)


def test_each_study_has_eight_rows_with_the_study_s_uid_and_the_head(tmp_path: Path) -> None:
    write_submission(tmp_path / "submission.csv", make_submission(TWO))
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[:4] == ["row_id,fractured", "1.2.3_C1,0.0001", "1.2.3_C2,0.2", "1.2.3_C3,0.3"]
    assert lines[8:10] == ["1.2.3_patient_overall,0.9", "1.2.4_C1,0.9999"]
    assert len(lines) == 1 + 16


def test_values_are_clipped_so_that_no_mistake_costs_everything() -> None:
    values = [value for _, value in make_submission(TWO).rows]
    assert min(values) == LEAST
    assert max(values) == 1 - LEAST


def test_the_order_of_the_sample_submission_is_kept(tmp_path: Path) -> None:
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("row_id,fractured\n1.2.4_C7,0.5\n1.2.3_patient_overall,0.5\n1.2.4_C1,0.5\n")
    rows = make_submission(TWO, read_row_ids(sample)).rows
    assert [row_id for row_id, _ in rows] == ["1.2.4_C7", "1.2.3_patient_overall", "1.2.4_C1"]
    assert [value for _, value in rows] == pytest.approx([0.05, 0.9, 1 - LEAST])


def test_a_study_without_a_prediction_is_an_error_that_names_it() -> None:
    with pytest.raises(PredictionsError, match=r"1 studies of the submission, the first 9\.9"):
        make_submission(TWO, ("1.2.3_C1", "9.9_C1", "9.9_C2"))


def test_a_study_beyond_the_sample_is_left_out_and_said() -> None:
    submission = make_submission(TWO, ("1.2.3_C1",))
    assert len(submission.rows) == 1
    assert submission.warnings == ("1 predicted studies are not in the sample submission and are left out",)


def test_constants_are_never_submitted_in_silence() -> None:
    same = Predictions(uids=("a", "b", "c"), values=np.tile([0.47, *[0.1] * 7], (3, 1)))
    assert "constants, not predictions" in make_submission(same).warnings[0]
    half = Predictions(uids=("a", "b"), values=np.array([[0.4, 0.1, *[0.2] * 6], [0.5, 0.1, *[0.3] * 6]]))
    assert make_submission(half).warnings == ("the same value in every study for C1",)
    assert make_submission(made_predictions(made_truth(20))).warnings == ()


@pytest.mark.parametrize("row_id", ["1.2.3", "1.2.3_C8", "_C1", "1.2.3_overall"])
def test_a_row_id_of_no_head_is_refused(row_id: str) -> None:
    with pytest.raises(PredictionsError, match="does not end in one of"):
        split_row_id(row_id)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("id,fractured\n1_C1,0\n", "lacks the column row_id"), ("row_id\n", "no row"), ("row_id\na_C1\na_C1\n", "once")],
)
def test_a_sample_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "sample.csv").write_text(text)
    with pytest.raises(PredictionsError, match=complaint):
        read_row_ids(tmp_path / "sample.csv")
