"""The key object selection: the slices that a suspicious level was seen on, and nothing else."""

import dataclasses
from pathlib import Path

import pytest

from dicom_node.core.finding import ResultKind
from dicom_node.results.identity import identify
from dicom_node.results.key_objects import build_key_objects, key_frames
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import read_sources
from tests.builders.results import make_result

EQUIPMENT = Equipment(manufacturer="m", software_version="1", device_serial="1")


def selection(folder: Path, **more):
    result = make_result(folder, n=24, rows=16, columns=16, **more)
    sources = read_sources(result.slices, study_instance_uid=result.study_instance_uid)
    return result, sources, key_frames(result, sources)


def build(result, sources, frames):
    identity = identify(ResultKind.KOS, result, revision=1)
    return build_key_objects(frames, "Suspicious for fracture: C2.", sources, EQUIPMENT, identity)


def test_the_key_slice_of_each_positive_level_is_of_interest(tmp_path: Path):
    result, sources, frames = selection(tmp_path, positive=("C2", "C5"))
    made = build(result, sources, frames)
    slices = [sources.frames[f.key_index_zyx[0]].sop_instance_uid for f in result.findings if f.is_positive]
    title = made.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodeMeaning) == ("113000", "Of Interest")
    images = [item for item in made.ContentSequence if item.ValueType == "IMAGE"]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images] == slices
    assert not any("ConceptNameCodeSequence" in item for item in images)  # TID 2010 rows 5 to 8 have none
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == slices


def test_the_most_suspicious_level_comes_first(tmp_path: Path):
    result, sources, _ = selection(tmp_path, positive=("C2", "C5"))
    findings = tuple(dataclasses.replace(f, probability=0.99) if f.level == "C5" else f for f in result.findings)
    frames = key_frames(dataclasses.replace(result, findings=findings), sources)
    (first,) = (f for f in findings if f.level == "C5")
    assert frames[0] == sources.frames[first.key_index_zyx[0]]


def test_two_levels_on_one_slice_name_it_once(tmp_path: Path):
    result, sources, _ = selection(tmp_path, positive=("C2", "C5"))
    findings = tuple(dataclasses.replace(finding, key_index_zyx=(7, 3, 3)) for finding in result.findings)
    assert key_frames(dataclasses.replace(result, findings=findings), sources) == (sources.frames[7],)


def test_a_negative_study_calls_a_reader_to_nothing(tmp_path: Path):
    assert selection(tmp_path, positive=())[2] == ()


def test_frames_of_a_multiframe_source_are_named(tmp_path: Path):
    result, sources, frames = selection(tmp_path, positive=("C2",), style="enhanced")
    (image,) = (i for i in build(result, sources, frames).ContentSequence if i.ValueType == "IMAGE")
    assert image.ReferencedSOPSequence[0].ReferencedFrameNumber == frames[0].frame_number


@pytest.mark.parametrize("style", ["scanner", "rsna"])
def test_the_image_number_is_the_one_in_the_header(tmp_path: Path, style):
    _, sources, _ = selection(tmp_path, style=style)
    assert [frame.image_number for frame in sources.frames] == list(range(1, 25))
