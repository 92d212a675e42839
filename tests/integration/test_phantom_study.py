import json

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from dicom_node.demo.phantom_study import SYNTAXES, parse_fracture, phantom_to_folder, write_phantom_study, write_truth
from inference.synthetic import draw_spec, make_phantom


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
