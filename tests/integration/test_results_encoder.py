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


ALWAYS = [
    ResultKind.SEG,
    ResultKind.SUSPICION_SEG,
    ResultKind.SR,
    ResultKind.SR_COMPREHENSIVE,
    ResultKind.SR_ENHANCED,
    ResultKind.TEXT_SR,
    ResultKind.SC,
    ResultKind.KOS,
    ResultKind.PDF,
]


def kinds(objects) -> list[ResultKind]:
    """In the order in which they were made, each once."""
    return list(dict.fromkeys(made.kind for made in objects))


def test_every_kind_is_made_in_order_and_the_page_lies_beside_them(tmp_path: Path):
    views = make_views(tmp_path / "views")
    result = dataclasses.replace(make_result(tmp_path, **SMALL), views_path=views)
    objects = encode(result, tmp_path / "out")
    assert kinds(objects) == ALWAYS
    series = {}
    for made in objects:
        read = dcmread(made.file)
        assert (read.SOPClassUID, read.SOPInstanceUID, read.SeriesInstanceUID) == (
            made.sop_class_uid,
            made.sop_instance_uid,
            made.series_instance_uid,
        )
        assert read.StudyInstanceUID == result.study_instance_uid
        series.setdefault(made.kind, set()).add((read.SeriesInstanceUID, read.SeriesNumber, read.SeriesDescription))
    assert all(len(own) == 1 for own in series.values())
    assert len(set.union(*series.values())) == len(ALWAYS)
    assert len({made.sop_instance_uid for made in objects}) == len(objects)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(made.file.name for made in objects),
        "report.html",
        "pictures",
    }
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Doe, Jane" in page
    assert page.count("data:image/png") == 2


def test_kinds_on_request_are_made_where_a_peer_asks(tmp_path: Path):
    asked = dataclasses.replace(ENCODER, kinds_on_request=lambda: frozenset({ResultKind.SEG_LABELMAP}))
    objects = asked.encode(make_result(tmp_path, **SMALL), revision=1, created_at=AT, out_dir=tmp_path / "out")
    assert kinds(objects) == [ResultKind.SEG, ResultKind.SEG_LABELMAP, *ALWAYS[1:]]


def test_a_negative_study_has_no_suspected_region_and_no_slice_of_interest(tmp_path: Path):
    objects = encode(make_result(tmp_path, positive=(), **SMALL), tmp_path / "out")
    assert kinds(objects) == [kind for kind in ALWAYS if kind not in (ResultKind.SUSPICION_SEG, ResultKind.KOS)]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    views = make_views(tmp_path / "views")
    result = dataclasses.replace(make_result(tmp_path, **SMALL), views_path=views)
    first, second = (encode(result, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.file.read_bytes() == other.file.read_bytes(), one.kind


@pytest.mark.parametrize("outcome", [Outcome.NOT_APPLICABLE, Outcome.FAILED])
def test_a_study_without_findings_gets_a_page_and_no_object(tmp_path: Path, outcome):
    result = dataclasses.replace(make_result(tmp_path, **SMALL), outcome=outcome, reason="no cervical spine here")
    assert encode(result, tmp_path / "out") == ()
    assert "no cervical spine here" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("levels", [(), None])
def test_without_any_mask_there_is_no_segmentation_of_vertebrae(tmp_path: Path, levels):
    result = make_result(tmp_path, levels=levels if levels is not None else LEVELS, positive=(), **SMALL)
    if levels is None:
        result = dataclasses.replace(result, mask_path=None)
    made = kinds(encode(result, tmp_path / "out"))
    assert ResultKind.SEG not in made
    assert {ResultKind.SR, ResultKind.TEXT_SR, ResultKind.SC} <= set(made)


def test_views_that_cannot_be_drawn_hold_nothing_back(tmp_path: Path):
    result = dataclasses.replace(make_result(tmp_path, **SMALL), views_path=tmp_path / "nowhere")
    objects = encode(result, tmp_path / "out")
    assert kinds(objects) == ALWAYS
    assert [made.file.name for made in objects if made.kind is ResultKind.SC] == ["sc_1.dcm"]  # the page of findings
    assert (tmp_path / "out" / "report.html").exists()


def test_suspicion_maps_that_cannot_be_read_leave_the_key_voxel(tmp_path: Path):
    result = make_result(tmp_path, **SMALL)
    result.suspicion_path.write_bytes(b"torn")
    objects = encode(result, tmp_path / "out")
    assert kinds(objects) == ALWAYS
    (regions,) = (dcmread(made.file) for made in objects if made.kind is ResultKind.SUSPICION_SEG)
    assert [item.SegmentLabel for item in regions.SegmentSequence] == ["C2 suspicion high"]
    assert regions.pixel_array.sum() == 1


def test_the_maker_and_the_weights_are_named_in_every_object(tmp_path: Path):
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
