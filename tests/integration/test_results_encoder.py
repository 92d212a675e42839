"""The encoder as the node calls it."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.core.finding import LEVELS, Outcome, ResultKind
from dicom_node.results.encoder import DicomResultEncoder
from tests.builders.results import make_result
from tests.builders.views import make_views

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ENCODER = DicomResultEncoder(manufacturer="the project", software_version="0.1.0", device_serial="42")
SMALL = {"n": 24, "rows": 32, "columns": 32}


def encode(result, out_dir: Path, **more):
    return ENCODER.encode(result, **{"revision": 1, "created_at": AT, "out_dir": out_dir} | more)


def test_seg_comes_before_sr_and_the_page_lies_beside_them(tmp_path: Path):
    views = make_views(tmp_path / "views")
    result = dataclasses.replace(make_result(tmp_path, **SMALL), views_path=views)
    objects = encode(result, tmp_path / "out")
    assert [made.kind for made in objects] == [ResultKind.SEG, ResultKind.SR]
    for made in objects:
        read = dcmread(made.file)
        assert (read.SOPClassUID, read.SOPInstanceUID, read.SeriesInstanceUID) == (
            made.sop_class_uid,
            made.sop_instance_uid,
            made.series_instance_uid,
        )
        assert read.StudyInstanceUID == result.study_instance_uid
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"seg.dcm", "sr.dcm", "report.html", "pictures"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Doe^Jane" in page
    assert page.count("data:image/png") == 2


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    result = make_result(tmp_path, **SMALL)
    first, second = (encode(result, tmp_path / name) for name in ("a", "b"))
    assert [made.file.read_bytes() for made in first] == [made.file.read_bytes() for made in second]


@pytest.mark.parametrize("outcome", [Outcome.NOT_APPLICABLE, Outcome.FAILED])
def test_a_study_without_findings_gets_a_page_and_no_object(tmp_path: Path, outcome):
    result = dataclasses.replace(make_result(tmp_path, **SMALL), outcome=outcome, reason="no cervical spine here")
    assert encode(result, tmp_path / "out") == ()
    assert "no cervical spine here" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("levels", [(), None])
def test_without_any_mask_there_is_a_report_and_no_segmentation(tmp_path: Path, levels):
    result = make_result(tmp_path, levels=levels if levels is not None else LEVELS, **SMALL)
    if levels is None:
        result = dataclasses.replace(result, mask_path=None)
    assert [made.kind for made in encode(result, tmp_path / "out")] == [ResultKind.SR]


def test_views_that_cannot_be_drawn_hold_nothing_back(tmp_path: Path):
    result = dataclasses.replace(make_result(tmp_path, **SMALL), views_path=tmp_path / "nowhere")
    objects = encode(result, tmp_path / "out")
    assert len(objects) == 2
    assert (tmp_path / "out" / "report.html").exists()


def test_the_maker_and_the_weights_are_named_in_both_objects(tmp_path: Path):
    for made in encode(make_result(tmp_path, **SMALL), tmp_path / "out"):
        read = dcmread(made.file)
        assert (read.Manufacturer, read.ManufacturerModelName, read.SoftwareVersions, read.DeviceSerialNumber) == (
            "the project",
            "cspine-node",
            "0.1.0",
            "42",
        )
        ours = read.ContributingEquipmentSequence[0]
        assert ours.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert ours.DeviceUID.startswith("2.25.")
        assert "synthetic data" in ours.ContributionDescription
