import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from dicom_node.demo.phantom_study import SYNTAXES, parse_fracture, phantom_to_folder, write_phantom_study, write_truth
from inference.reading import read_series
from inference.synthetic import draw_spec, make_phantom
from inference.synthetic.nifti import read_nifti, write_nifti


@pytest.fixture(scope="module")
def phantom():
    fractures = (parse_fracture("C2:odontoid-2"),)
    scanner = {"spacing_mm": 6.0, "slice_mm": 6.0, "padding_hu": -3024, "circle": True, "tilt_deg": 0.0}
    return make_phantom(
        draw_spec(5, fractures=fractures, decoys=(), coverage="cspine", slices=6, matrix=64, scanner=scanner)
    )


def hounsfield(file):
    ds = dcmread(file)
    return ds, ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)


@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_a_study_reads_back_to_the_same_hounsfield_units(phantom, tmp_path, syntax):
    study = write_phantom_study(phantom, tmp_path, syntax=syntax, seed=5, localizer=False)
    slices = sorted((hounsfield(f) for f in study.files), key=lambda s: s[0].ImagePositionPatient[2])
    assert slices[0][0].file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    read = np.stack([np.maximum(hu, -1024) for _, hu in slices])
    assert np.abs(read - phantom.volume.hu).max() <= 1


def test_positions_are_the_volumes_own(phantom, tmp_path):
    study = write_phantom_study(phantom, tmp_path, seed=4, localizer=False)
    for ds, _ in map(hounsfield, study.files):
        index = phantom.volume.to_index_zyx(np.array(ds.ImagePositionPatient, float))
        assert index[1:] == pytest.approx([0, 0], abs=1e-3)
        assert index[0] == pytest.approx(round(index[0]), abs=1e-3)


def test_the_poor_header_of_a_challenge_names_its_class_in_the_file_meta_only(phantom, tmp_path):
    ds = dcmread(write_phantom_study(phantom, tmp_path, seed=5, header_style="rsna").files[0])
    assert ds.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert "SOPClassUID" not in ds
    assert "Modality" not in ds
    assert str(ds.PatientName).isdigit()


def test_the_same_seed_gives_the_same_uids_and_another_seed_others(phantom, tmp_path):
    one, two, other = (write_phantom_study(phantom, tmp_path / str(k), seed=s) for k, s in enumerate((5, 5, 6)))
    assert one.series_instance_uids == two.series_instance_uids
    assert not set(one.series_instance_uids) & set(other.series_instance_uids)


def test_labels_lie_on_the_volumes_grid(phantom, tmp_path):
    write_truth(phantom, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), np.where(phantom.labels <= 7, phantom.labels, 0))
    assert image.GetOrigin() == pytest.approx(phantom.volume.affine_lps[:3, 3], abs=1e-3)


def test_a_tilted_study_is_sheared_and_its_truth_complete(tmp_path):
    truth = phantom_to_folder(
        tmp_path, seed=3, fractures=("C5:burst:0.9",), decoys=(), slices=12, matrix=64, tilt_deg=12.0
    )
    files = sorted((tmp_path / "dicom" / "series-2").glob("*.dcm"))
    first, last = dcmread(files[0]), dcmread(files[-1])
    assert len(files) == truth["slices"] == 12
    assert first.ImagePositionPatient[1] == last.ImagePositionPatient[1]
    assert first.ImageOrientationPatient[5] == pytest.approx(np.sin(np.radians(12)), abs=1e-4)
    assert json.loads((tmp_path / "truth.json").read_text())["study_instance_uid"] == first.StudyInstanceUID


def test_left_out_slices_leave_gaps_between_the_first_and_the_last(phantom, tmp_path):
    study = write_phantom_study(phantom, tmp_path, seed=4, localizer=False, missing_slices=2, order="head-first")
    numbers = [int(dcmread(f, stop_before_pixels=True).InstanceNumber) for f in study.files]
    assert len(numbers) == 4
    assert {1, 6} <= set(numbers) <= set(range(1, 7))


def test_slices_sent_twice_share_the_place_and_pixels_and_nothing_else(phantom, tmp_path):
    study = write_phantom_study(phantom, tmp_path, seed=4, localizer=False, duplicate_slices=2)
    images = [hounsfield(f) for f in study.files]
    assert len(images) == 8
    assert len({str(ds.SOPInstanceUID) for ds, _ in images}) == 8
    assert len({int(ds.InstanceNumber) for ds, _ in images}) == 8
    again = [(ds, hu) for ds, hu in images if ds.InstanceNumber > 6]
    for ds, hu in again:
        twin = next(h for d, h in images if d.ImagePositionPatient == ds.ImagePositionPatient and d is not ds)
        assert np.array_equal(hu, twin)


@pytest.mark.parametrize(("order", "rises"), [("head-first", False), ("feet-first", True)])
def test_images_are_numbered_from_the_end_asked_for(phantom, tmp_path, order, rises):
    study = write_phantom_study(phantom, tmp_path, seed=4, localizer=False, order=order)
    by_number = sorted((dcmread(f, stop_before_pixels=True) for f in study.files), key=lambda ds: ds.InstanceNumber)
    z = [float(ds.ImagePositionPatient[2]) for ds in by_number]
    assert z == sorted(z, reverse=not rises)


def test_more_slices_missing_than_lie_between_the_ends_are_refused(phantom, tmp_path):
    with pytest.raises(ValueError, match="5 slices cannot be missing from 6"):
        write_phantom_study(phantom, tmp_path, seed=4, missing_slices=5)
    with pytest.raises(ValueError, match="sideways"):
        write_phantom_study(phantom, tmp_path, seed=4, order="sideways")


def test_the_slice_table_says_of_every_image_what_it_shows(phantom, tmp_path):
    study = write_phantom_study(phantom, tmp_path / "d", seed=5, localizer=False, duplicate_slices=1, missing_slices=1)
    truth = write_truth(phantom, tmp_path, images=study.images)
    with (tmp_path / "slices.csv").open(newline="") as file:
        rows = {int(row["instance_number"]): row for row in csv.DictReader(file)}
    images = {int(ds.InstanceNumber): ds for ds in (dcmread(f, stop_before_pixels=True) for f in study.files)}
    assert rows.keys() == images.keys()
    for number, row in rows.items():
        assert float(row["z_mm"]) == pytest.approx(float(images[number].ImagePositionPatient[2]), abs=1e-3)
        labels = set(phantom.labels[int(row["slice"])].ravel()) & set(range(1, 8))
        assert {k for k in range(1, 8) if row[f"C{k}"] == "1"} == labels
        fractured = set(phantom.fracture_mask[int(row["slice"])].ravel()) - {0}
        assert {k for k in range(1, 8) if row[f"C{k}_fractured"] == "1"} == fractured
        assert bool(row["x"]) == bool(fractured)
    assert len(truth["missing_slices"]) == len(truth["duplicate_slices"]) == 1
    assert any(row["C2_fractured"] == "1" for row in rows.values())


def test_a_slices_box_surrounds_its_fracture(phantom):
    for row in phantom.truth["slice_table"]:
        if not row["box"]:
            continue
        x, y, width, height = row["box"]
        rows, columns = np.nonzero(phantom.fracture_mask[row["slice"]])
        assert x <= columns.min() < columns.max() + 1 <= x + width
        assert y <= rows.min() < rows.max() + 1 <= y + height


def test_the_fracture_mask_lies_on_the_volumes_grid(phantom, tmp_path):
    write_truth(phantom, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "fractures.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), phantom.fracture_mask)
    assert phantom.fracture_mask.any()
    assert image.GetOrigin() == pytest.approx(phantom.volume.affine_lps[:3, 3], abs=1e-3)


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
def test_a_sheared_affine_survives_the_nifti_file(tmp_path, name):
    affine = np.eye(4)
    affine[:3] = [[0.4, 0, 0, -31.5], [0, 0.39, 0, -70.25], [0, 0.08, 0.7, 512.0]]
    voxels = np.random.default_rng(2).integers(0, 8, (5, 6, 7)).astype(np.uint8)
    write_nifti(tmp_path / name, voxels, affine)
    read, placed = read_nifti(tmp_path / name)
    assert np.array_equal(read, voxels)
    assert placed == pytest.approx(affine, abs=1e-4)


def test_what_is_no_nifti_mask_is_refused(tmp_path):
    (tmp_path / "x.nii").write_bytes(b"no" * 400)
    with pytest.raises(ValueError, match="not a NIfTI-1 file"):
        read_nifti(tmp_path / "x.nii")


def test_the_projects_reader_puts_a_damaged_tilted_series_back_on_the_truths_grid(tmp_path):
    options = {"slices": 24, "matrix": 64, "tilt_deg": 8.0, "order": "feet-first", "header_style": "rsna"}
    truth = phantom_to_folder(tmp_path, seed=1, missing_slices=2, duplicate_slices=2, **options)
    read = read_series(sorted((tmp_path / "dicom" / "series-2").glob("*.dcm"))).volume
    labels, affine = read_nifti(tmp_path / "labels.nii.gz")
    assert read.hu.shape == labels.shape == (24, 64, 64)
    assert read.affine_lps == pytest.approx(affine, abs=1e-3)
    kept = [k for k in range(24) if k not in truth["missing_slices"]]
    assert np.median(read.hu[kept][labels[kept] > 0]) > 150
    assert any("duplicate" in note for note in read.notes)
