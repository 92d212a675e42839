"""The challenge's layout, read back by other people's code: csv, pydicom and SimpleITK."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from dicom_node.demo import rsna_dataset
from dicom_node.demo.rsna_dataset import write_rsna_dataset
from inference.synthetic.rsna_layout import SEGMENTED_SHARE, is_segmented

SMALL = {"slices": 28, "matrix": 96, "segmented_share": 1.0}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("rsna")
    counts = write_rsna_dataset(root, first_seed=1, studies=3, **SMALL)
    return root, counts


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def slices_of(root, uid):
    """Data sets by file name number."""
    return {int(path.stem): dcmread(path) for path in (root / "train_images" / uid).glob("*.dcm")}


def test_the_tables_have_the_challenges_columns_and_agree_with_the_folders(dataset):
    root, counts = dataset
    assert (root / "train.csv").read_text().startswith("StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7\n")
    boxes = (root / "train_bounding_boxes.csv").read_text()
    assert boxes.startswith("StudyInstanceUID,x,y,width,height,slice_number\n")
    rows = table(root / "train.csv")
    assert {row["StudyInstanceUID"] for row in rows} == {p.name for p in (root / "train_images").iterdir()}
    assert all(int(r["patient_overall"]) == max(int(r[f"C{k}"]) for k in range(1, 8)) for r in rows)
    assert counts == {
        "studies": 3,
        "fractured": sum(int(r["patient_overall"]) for r in rows),
        "boxes": len(table(root / "train_bounding_boxes.csv")),
        "segmented": 3,
    }


def test_files_are_named_by_instance_number_and_have_the_challenges_poor_header(dataset):
    root, _ = dataset
    for row in table(root / "train.csv"):
        images = slices_of(root, row["StudyInstanceUID"])
        assert sorted(images) == list(range(1, 29))
        for number, ds in images.items():
            assert ds.InstanceNumber == number
            assert ds.StudyInstanceUID == row["StudyInstanceUID"]
            assert str(ds.PatientID).isdigit()
            assert not {"Modality", "SOPClassUID", "SpecificCharacterSet", "PixelPaddingValue"} & set(ds.dir())
            assert len(ds) == 24 + 1  # and the pixels
            assert ds.SliceThickness <= 1.0


def test_boxes_lie_on_slices_of_fractured_studies_inside_the_picture_and_once_a_slice(dataset):
    root, _ = dataset
    fractured = {r["StudyInstanceUID"] for r in table(root / "train.csv") if r["patient_overall"] == "1"}
    rows = table(root / "train_bounding_boxes.csv")
    assert rows
    assert {r["StudyInstanceUID"] for r in rows} == fractured
    assert len({(r["StudyInstanceUID"], r["slice_number"]) for r in rows}) == len(rows)
    for row in rows:
        x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
        assert 1 <= int(row["slice_number"]) <= 28
        assert 0 <= x < x + width <= 96
        assert 0 <= y < y + height <= 96


def test_a_box_holds_the_fracture_that_the_truth_places_there(dataset):
    """By patient coordinates: the fracture's LPS box against the boxes' corners on their own slices."""
    root, _ = dataset
    for path in (root / "phantom").glob("[0-9]*.json"):
        record = json.loads(path.read_text())
        uid = record["train"][0]
        broken = [lv["fracture_box"]["lps_mm"] for lv in record["truth"]["levels"] if lv["fracture_box"]]
        images = slices_of(root, uid)
        for _, x, y, width, height, number in record["boxes"]:
            ds = images[number]
            origin, (dy, dx) = np.array(ds.ImagePositionPatient, float), map(float, ds.PixelSpacing)
            low, size = origin[:2] + np.array([x * dx, y * dy]), np.array([width * dx, height * dy])
            meets = [np.all(low <= np.array(b)[1, :2]) and np.all(low + size >= np.array(b)[0, :2]) for b in broken]
            assert any(meets)


def test_a_segmentation_lies_on_the_bone_in_patient_space(dataset):
    root, _ = dataset
    for row in table(root / "train.csv"):
        uid = row["StudyInstanceUID"]
        images = sorted(slices_of(root, uid).values(), key=lambda ds: float(ds.ImagePositionPatient[2]))
        hu = np.stack([ds.pixel_array.astype(float) + float(ds.RescaleIntercept) for ds in images])
        mask = sitk.ReadImage(str(root / "segmentations" / f"{uid}.nii"))
        labels = sitk.GetArrayFromImage(mask)
        assert set(np.unique(labels)) <= set(range(20))
        where = np.argwhere(labels > 0)[::11]
        points = np.array([mask.TransformIndexToPhysicalPoint([int(v) for v in at[::-1]]) for at in where])
        first = images[0]
        step = float(images[1].ImagePositionPatient[2]) - float(first.ImagePositionPatient[2])
        size = np.array([float(first.PixelSpacing[1]), float(first.PixelSpacing[0]), step])
        index = np.rint((points - np.array(first.ImagePositionPatient, float)) / size).astype(int)
        on_bone = np.median(hu[index[:, 2], index[:, 1], index[:, 0]])
        mirrored = np.median(hu[index[:, 2], 95 - index[:, 1], index[:, 0]])
        assert on_bone > 200 > mirrored


def test_the_array_runs_to_the_left_front_and_head_as_public_segmentations_do(dataset):
    root, _ = dataset
    for path in (root / "segmentations").glob("*.nii"):
        direction = np.reshape(sitk.ReadImage(str(path)).GetDirection(), (3, 3))
        assert np.diag(direction) == pytest.approx([1, -1, 1])


def test_a_second_call_makes_only_what_is_missing(dataset, monkeypatch):
    root, counts = dataset
    made = []
    original = rsna_dataset._challenge_phantom
    monkeypatch.setattr(rsna_dataset, "_challenge_phantom", lambda seed, *a: made.append(seed) or original(seed, *a))
    before = (root / "train.csv").read_text()
    (root / "phantom" / "2.json").unlink()
    assert write_rsna_dataset(root, first_seed=1, studies=3, **SMALL) == counts
    assert made == [2]
    assert (root / "train.csv").read_text() == before
    assert not list(root.rglob("*.partial*"))


def test_a_folder_made_with_other_options_is_refused(dataset):
    with pytest.raises(ValueError, match="another matrix"):
        write_rsna_dataset(dataset[0], first_seed=1, studies=3, **(SMALL | {"matrix": 64}))


@pytest.mark.parametrize(("options", "says"), [({"studies": 0}, "0 studies"), ({"segmented_share": 1.5}, "1.5")])
def test_counts_and_shares_out_of_range_are_refused(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        write_rsna_dataset(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_about_as_many_studies_have_a_segmentation_as_in_public():
    share = np.mean([is_segmented(seed, SEGMENTED_SHARE) for seed in range(3000)])
    assert share == pytest.approx(87 / 2019, abs=0.012)
