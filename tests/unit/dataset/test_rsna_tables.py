"""A row that cannot be meant stops the reading and is named."""

import pytest

from inference.dataset.errors import TableError
from inference.dataset.rsna_tables import PixelBox, read_boxes, read_test, read_train

TRAIN = "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n"
BOXES = "StudyInstanceUID,x,y,width,height,slice_number\n"


def write(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    return path


def test_truth_comes_in_the_order_of_the_table(tmp_path):
    path = write(tmp_path, TRAIN + "1.9,1,0,1,0,0,0,0,0\n1.2,0,0,0,0,0,0,0,0\n")
    assert list(read_train(path).items()) == [("1.9", (1, 0, 1, 0, 0, 0, 0, 0)), ("1.2", (0,) * 8)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("StudyInstanceUID,C1\n", r"line 1: the header is 'StudyInstanceUID,C1', expected 'StudyInstanceUID,pat"),
        ("", "line 1: the header is ''"),
        (TRAIN + "1.2,0,0,0,0,0,0,0,0\n1.2,0,0,0,0,0,0,0,0\n", r"line 3: study 1\.2 is there a second time"),
        (TRAIN + "1.2,0,0,0,0,0,0,0\n", "line 2: 8 values, expected 9"),
        (TRAIN + "1.2,1,0,0.5,0,0,0,0,1\n", "line 2: C2 is '0.5', expected 0 or 1"),
        (TRAIN + "1.2,0,0,0,0,0,0,0,1\n", "line 2: patient_overall is 0, but the highest level is 1"),
        (TRAIN + "abc,0,0,0,0,0,0,0,0\n", "line 2: 'abc' is no StudyInstanceUID"),
    ],
)
def test_a_truth_that_cannot_be_meant_is_refused_with_its_line(tmp_path, text, says):
    with pytest.raises(TableError, match=says):
        read_train(write(tmp_path, text))


def test_boxes_are_sorted_by_slice_within_their_study(tmp_path):
    path = write(tmp_path, BOXES + "1.2,10.5,20,30,40,7\n1.3,1,2,3,4,1\n1.2,10,20,30,40,6\n")
    assert read_boxes(path) == {
        "1.2": (
            PixelBox(slice_number=6, x=10, y=20, width=30, height=40),
            PixelBox(slice_number=7, x=10.5, y=20, width=30, height=40),
        ),
        "1.3": (PixelBox(slice_number=1, x=1, y=2, width=3, height=4),),
    }


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1.2,10,20,0,40,7", "line 2: a box of 0 x 40 pixels is empty"),
        ("1.2,10,nan,3,40,7", "line 2: y is 'nan', expected a number"),
        ("1.2,10,20,3,40,7.5", "line 2: slice_number 7.5 is no whole number"),
        ("1.2,1,2,3,4,7\n1.2,5,6,7,8,7", r"line 3: study 1\.2 has a second box in slice 7"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused_with_its_line(tmp_path, row, says):
    with pytest.raises(TableError, match=says):
        read_boxes(write(tmp_path, BOXES + row + "\n"))


def test_a_test_study_is_listed_once_whatever_is_asked_about_it(tmp_path):
    rows = "1.2_C1,1.2,C1\n1.2_patient_overall,1.2,patient_overall\n1.3_C1,1.3,C1\n"
    path = write(tmp_path, "row_id,StudyInstanceUID,prediction_type\n" + rows)
    assert read_test(path) == ("1.2", "1.3")
    with pytest.raises(TableError, match="line 2: prediction_type 'C8'"):
        read_test(write(tmp_path, "row_id,StudyInstanceUID,prediction_type\n1.2_C8,1.2,C8\n"))
