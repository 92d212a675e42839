"""Files of predictions: what is read, and what is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.evaluation.predictions import (
    LEVEL_COLUMNS,
    Predictions,
    PredictionsError,
    aligned,
    patients_of,
    read_facts,
    read_predictions,
    read_truth,
    write_predictions,
)

HEADER = "StudyInstanceUID," + ",".join(LEVEL_COLUMNS)


def predictions(*uids: str, seed: int = 1) -> Predictions:
    return Predictions(uids=uids, values=np.random.default_rng(seed).random((len(uids), 8)))


def written(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_is_written_reads_back_to_the_last_digit(tmp_path: Path) -> None:
    before = predictions("1.2.3", "1.2.4")
    write_predictions(tmp_path / "deep" / "p.csv", before)
    after = read_predictions(tmp_path / "deep" / "p.csv")
    assert after.uids == before.uids
    assert np.array_equal(after.values, before.values)
    assert (tmp_path / "deep" / "p.csv").read_text().splitlines()[0] == HEADER


def test_columns_may_stand_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    path = written(
        tmp_path, "C7,note,C1,C2,C3,C4,C5,C6,patient_overall,StudyInstanceUID", "0.7,x,.1,.2,.3,.4,.5,.6,1,9"
    )
    assert read_predictions(path).values.tolist() == [[1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["StudyInstanceUID,C1", "1,0"], "lacks the column"),
        ([HEADER], "holds no study"),
        ([HEADER, "1,0,0,0,0,x,0,0,0"], r"line 2: C4 is 'x', not a number"),
        ([HEADER, "1,0,0,0"], r"line 2: C3 is None, not a number"),
        ([HEADER, ",0,0,0,0,0,0,0,0"], "line 2: no StudyInstanceUID"),
        ([HEADER, "1,nan,0,0,0,0,0,0,0"], "patient_overall of study 1 is nan"),
        ([HEADER, "1,0,0,1.2,0,0,0,0,0"], "C2 of study 1 is 1.2, not from 0 to 1"),
        ([HEADER, "1,0,0,0,0,0,0,0,0", "1,0,0,0,0,0,0,0,0"], "given more than once: 1"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_place(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    with pytest.raises(PredictionsError, match=complaint):
        read_predictions(written(tmp_path, *lines))


def test_a_truth_holds_only_zeros_and_ones(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match=r"C1 of study 1 is 0\.5, not 0 or 1"):
        read_truth(written(tmp_path, HEADER, "1,1,0.5,0,0,0,0,0,1"))


def test_a_truth_whose_patient_disagrees_with_the_levels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="patient_overall disagrees with C1 to C7 in 2"):
        read_truth(written(tmp_path, HEADER, "1,1,1,0,0,0,0,0,0", "2,0,1,0,0,0,0,0,0"))


def test_predictions_are_put_in_the_order_of_the_truth() -> None:
    given = predictions("a", "b", "c")
    truth = Predictions(uids=("c", "a", "b"), values=np.zeros((3, 8)))
    put = aligned(truth, given)
    assert put.uids == truth.uids
    assert np.array_equal(put.values, given.values[[2, 0, 1]])


def test_missing_and_extra_studies_are_both_named() -> None:
    truth = Predictions(uids=("a", "b", "c", "d", "e", "f"), values=np.zeros((6, 8)))
    with pytest.raises(PredictionsError, match=r"4 missing: c, d, e and 1 more; 1 extra: x"):
        aligned(truth, predictions("a", "b", "x"))


def test_studies_of_one_patient_share_their_name_where_the_facts_know_it() -> None:
    assert patients_of(("1", "2", "3"), {"1": {"patient": "p"}, "2": {"patient": "p"}}) == ("p", "p", "3")


def test_facts_that_are_no_object_of_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text('{"1": ["C2"]}')
    with pytest.raises(PredictionsError, match="JSON object with an object for each"):
        read_facts(path)
