"""Key images as Secondary Captures: the drawn pixels, where they come from, and that they are marked."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.core.finding import ResultKind
from dicom_node.results import pictures
from dicom_node.results.captures import Capture, build_capture, captures_of
from dicom_node.results.identity import identify
from dicom_node.results.provenance import Equipment, stamp_times
from dicom_node.results.sources import read_sources
from dicom_node.results.views import read_views
from dicom_node.results.words import Words
from tests.builders.results import make_result
from tests.builders.views import make_views

EQUIPMENT = Equipment(manufacturer="m", software_version="1", device_serial="1")
SUMMARY = Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8))


@pytest.fixture
def result(tmp_path: Path):
    return make_result(tmp_path, n=24, rows=16, columns=16)


@pytest.fixture
def sources(result):
    return read_sources(result.slices, study_instance_uid=result.study_instance_uid)


def build(capture: Capture, result, sources, instance: int = 1):
    identity = identify(ResultKind.SC, result, revision=1, instance=instance)
    return build_capture(capture, "synthetic data only", sources, EQUIPMENT, identity)


def test_the_pixels_are_the_picture_and_are_marked_as_annotated(result, sources):
    (summary,) = captures_of(SUMMARY, (), result, sources)
    made = build(summary, result, sources)
    np.testing.assert_array_equal(made.pixel_array, np.asarray(SUMMARY))
    assert (made.Modality, made.ConversionType, made.BurnedInAnnotation) == ("OT", "WSD", "YES")
    assert made.DerivationDescription == "Findings of an AI analysis, as text"
    assert made.ImageComments == "AI result, not a diagnosis. Trained on synthetic data."
    assert made.BodyPartExamined == "CSPINE"


def test_each_picture_refers_to_the_slices_to_go_to(result, sources, tmp_path: Path):
    views = read_views(make_views(tmp_path / "views"))
    drawn = pictures.draw_pictures(views, {}, pictures.Captions(words=Words(), notice="n"))
    summary, sagittal, axial = (build(each, result, sources) for each in captures_of(SUMMARY, drawn, result, sources))
    levels = {finding.level: sources.frames[finding.key_index_zyx[0]] for finding in result.findings}
    everywhere = [frame.sop_instance_uid for frame in levels.values()]
    for whole in (summary, sagittal):
        assert [item.ReferencedSOPInstanceUID for item in whole.SourceImageSequence] == list(dict.fromkeys(everywhere))
    assert [i.ReferencedSOPInstanceUID for i in axial.SourceImageSequence] == [levels["C2"].sop_instance_uid]
    assert list(sagittal.PatientOrientation) == ["P", "F"]


def test_frames_of_a_multiframe_source_are_named(tmp_path: Path):
    result = make_result(tmp_path, n=24, rows=16, columns=16, style="enhanced")
    sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
    (summary,) = captures_of(SUMMARY, (), result, sources)
    (item,) = build(summary, result, sources).SourceImageSequence
    expected = sorted({finding.key_index_zyx[0] + 1 for finding in result.findings})
    assert list(item.ReferencedFrameNumber) == expected


def test_all_captures_are_one_series_of_several_instances(result, sources):
    (summary,) = captures_of(SUMMARY, (), result, sources)
    one, two = (build(summary, result, sources, instance) for instance in (1, 2))
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert [one.InstanceNumber, two.InstanceNumber] == [1, 2]


def test_the_time_of_capture_is_the_given_one(result, sources):
    (summary,) = captures_of(SUMMARY, (), result, sources)
    made = build(summary, result, sources)
    made.TimezoneOffsetFromUTC = "+0100"
    stamp_times(made, datetime(2026, 1, 2, 23, 30, tzinfo=UTC))
    assert (made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture) == ("20260103", "003000.000000")
