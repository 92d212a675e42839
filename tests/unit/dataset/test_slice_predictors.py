"""A slice model's table is taken as it is or interpolated, and a wrong one is refused with its line."""

from pathlib import Path

import numpy as np
import pytest

from inference.dataset.errors import StudyUnusable
from inference.dataset.rsna import RsnaStudy
from inference.dataset.slice_predictors import PredictorChoice, TablePredictor
from inference.dataset.slices import PlacedSlice
from tests.builders.stored_ct import header

STUDY = RsnaStudy(study_instance_uid="1.2", folder=Path("x"), truth=None)


def placed(heights):
    out = []
    for place, z in enumerate(heights):
        affine = np.eye(4)
        affine[2, 3] = z
        out.append(
            PlacedSlice(
                number=place + 1, position=place, header=header((0.0, 0.0, z)), affine_lps=affine, spacing_mm=1.0
            )
        )
    return out


def written(tmp_path, key, *rows):
    path = tmp_path / "p.csv"
    path.write_text("\n".join([f"StudyInstanceUID,{key},C1,C2,C3,C4,C5,C6,C7", *rows]) + "\n")
    return path


def test_rows_by_slice_number_are_taken_as_they_are(tmp_path):
    path = written(tmp_path, "Slice", "1.2,2,0,0,0,0,0,0,0.5", "1.2,1,1,0,0,0,0,0,0")
    values = TablePredictor(path)(STUDY, placed([0.0, 1.0]))
    assert values[:, [0, 6]].tolist() == [[1.0, 0.0], [0.0, 0.5]]


def test_rows_by_height_are_interpolated_and_nothing_is_seen_beyond_them(tmp_path):
    path = written(tmp_path, "z_mm", "1.2,10,0,0,0,0,0,0,1", "1.2,8,0,0,0,0,0,0,0.5")
    values = TablePredictor(path)(STUDY, placed([7.0, 8.0, 9.0, 10.0, 11.0]))
    assert values[:, 6].tolist() == [0.0, 0.5, 0.75, 1.0, 0.0]


def test_a_study_or_a_slice_that_the_table_lacks_is_the_studys_problem(tmp_path):
    by_number = TablePredictor(written(tmp_path, "Slice", "1.2,1,1,0,0,0,0,0,0"))
    with pytest.raises(StudyUnusable, match="lacks 1 of its slices, the first 2"):
        by_number(STUDY, placed([0.0, 1.0]))
    other = RsnaStudy(study_instance_uid="1.3", folder=Path("x"), truth=None)
    with pytest.raises(StudyUnusable, match="no predictions for it"):
        by_number(other, placed([0.0]))


@pytest.mark.parametrize("row", ["1.2,1,0,0", "1.2,x,0,0,0,0,0,0,0", "1.2,1,0,0,0,0,0,0,1.5", "1.2,1,0,0,0,0,0,0,nan"])
def test_a_row_that_is_no_slice_with_probabilities_is_refused_with_its_line(tmp_path, row):
    with pytest.raises(ValueError, match="line 2"):
        TablePredictor(written(tmp_path, "Slice", row))


def test_another_header_is_refused_and_no_choice_is_no_predictor(tmp_path):
    with pytest.raises(ValueError, match="the header is 'StudyInstanceUID,Place"):
        TablePredictor(written(tmp_path, "Place"))
    assert PredictorChoice().build() is None
