"""What concerns one study is listed; what concerns all of them stops."""

import pytest

from inference.dataset.errors import DataSetError, TableError
from inference.dataset.rsna import KNOWN_BAD, is_rsna, open_rsna

HEALTHY, BROKEN = ",0,0,0,0,0,0,0,0", ",1,0,1,0,0,0,0,0"


def layout(tmp_path, rows, folders, boxes=(), segmentations=()):
    header = "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7"
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    header = "StudyInstanceUID,x,y,width,height,slice_number"
    (tmp_path / "train_bounding_boxes.csv").write_text("\n".join([header, *boxes]) + "\n")
    for name in folders:
        (tmp_path / "train_images" / name).mkdir(parents=True)
    (tmp_path / "segmentations").mkdir()
    for name in segmentations:
        (tmp_path / "segmentations" / name).write_bytes(b"")
    return tmp_path


def test_a_study_has_its_folder_truth_boxes_and_segmentation(tmp_path):
    root = layout(tmp_path, ["1.2" + BROKEN], ["1.2"], ["1.2,1,2,3,4,5"], ["1.2.nii.gz"])
    data = open_rsna(root)
    (study,) = data.studies
    assert study.folder == root / "train_images" / "1.2"
    assert study.truth == (1, 0, 1, 0, 0, 0, 0, 0)
    assert [box.slice_number for box in study.boxes] == [5]
    assert study.segmentation == root / "segmentations" / "1.2.nii.gz"
    assert data.problems == ()


def test_known_bad_studies_are_left_out_and_listed_unless_asked_for(tmp_path):
    root = layout(tmp_path, [KNOWN_BAD[0] + HEALTHY, "1.2" + HEALTHY], [KNOWN_BAD[0], "1.2"])
    data = open_rsna(root)
    assert [study.study_instance_uid for study in data.studies] == ["1.2"]
    (problem,) = data.problems
    assert (problem.study_instance_uid, problem.left_out) == (KNOWN_BAD[0], True)
    assert len(open_rsna(root, exclude=()).studies) == 2


def test_what_concerns_one_study_is_listed_and_the_others_go_on(tmp_path):
    root = layout(
        tmp_path,
        rows=["1.2" + HEALTHY, "1.3" + BROKEN, "1.4" + HEALTHY],
        folders=["1.2", "1.3", "1.5"],
        boxes=["1.2,1,2,3,4,5", "1.9,1,2,3,4,5"],
        segmentations=["1.8.nii"],
    )
    data = open_rsna(root)
    assert [study.study_instance_uid for study in data.studies] == ["1.2", "1.3"]
    said = {problem.study_instance_uid: (problem.reason, problem.left_out) for problem in data.problems}
    assert set(said) == {"1.4", "1.5", "1.2", "1.9", "1.8"}
    assert "is missing" in said["1.4"][0]
    assert said["1.5"] == ("has images, but no row in the table", True)
    assert said["1.2"] == ("1 boxes around fractures, but no fracture in train.csv", False)
    assert "no study with images" in said["1.9"][0]
    assert said["1.8"][0].startswith("1.8.nii belongs to no study")


def test_a_malformed_table_stops_everything(tmp_path):
    root = layout(tmp_path, ["1.2,0,0"], ["1.2"])
    with pytest.raises(TableError, match=r"train\.csv, line 2"):
        open_rsna(root)


def test_test_studies_have_no_truth(tmp_path):
    (tmp_path / "test_images" / "1.7").mkdir(parents=True)
    (tmp_path / "test.csv").write_text("row_id,StudyInstanceUID,prediction_type\n1.7_C1,1.7,C1\n")
    (study,) = open_rsna(tmp_path, "test").studies
    assert study.truth is None


def test_a_folder_without_the_part_says_what_was_expected(tmp_path):
    assert not is_rsna(tmp_path)
    with pytest.raises(DataSetError, match="no folder train_images"):
        open_rsna(tmp_path)
    (tmp_path / "train_images").mkdir()
    assert is_rsna(tmp_path)
    with pytest.raises(DataSetError, match=r"no table train\.csv"):
        open_rsna(tmp_path)
