"""SEG and SR of every kind of source, judged by programs that are not ours and read back by two ways."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.core.finding import LEVELS, AnalysisResult, LevelStatus, ResultKind, ResultObject
from dicom_node.results.encoder import DicomResultEncoder
from tests.builders.ct import NAMES
from tests.builders.results import make_result
from tests.peers import require, require_file

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENCODER = DicomResultEncoder(manufacturer="the project", software_version="0.1.0", device_serial="42")
SMALL: dict[str, Any] = {"rows": 40, "columns": 48}
SOURCES: dict[str, dict[str, Any]] = {
    "scanner": {},
    "rsna": {"style": "rsna"},
    "enhanced": {"style": "enhanced"},
    "tilted": {"tilt": 17.0},
    "oblique": {"oblique": 12.0, "tilt": 5.0},
    "cut off": {
        "levels": LEVELS[:5],
        "unseen": {"C6": LevelStatus.PARTLY_IN_FIELD_OF_VIEW, "C7": LevelStatus.NOT_ASSESSED},
    },
    "one level": {"levels": ("C4",), "unseen": dict.fromkeys(LEVELS[4:], LevelStatus.NOT_ASSESSED)},
    "gap": {"levels": ("C1", "C2", "C5"), "positive": ()},
    "nothing": {"levels": (), "unseen": dict.fromkeys(LEVELS, LevelStatus.NOT_ASSESSED), "positive": ()},
} | {charset: {"charset": charset} for charset in NAMES if charset}


SEGMENTED = [kind for kind in SOURCES if kind != "nothing"]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A kind of source, its analysis and the objects made of it."""

    kind: str
    result: AnalysisResult
    objects: dict[ResultKind, ResultObject]


@pytest.fixture(scope="module", params=SOURCES)
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return encode(str(request.param), tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module", params=SEGMENTED)
def segmented(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return encode(str(request.param), tmp_path_factory.mktemp("study"))


def encode(kind: str, folder: Path) -> Encoded:
    result = make_result(folder, **SMALL, **SOURCES[kind])
    made = ENCODER.encode(result, revision=1, created_at=AT, out_dir=folder / "out")
    return Encoded(kind=kind, result=result, objects={entry.kind: entry for entry in made})


def test_dciodvfy_knows_the_iod_and_finds_no_error(encoded):
    expected = {ResultKind.SR} if encoded.kind == "nothing" else {ResultKind.SEG, ResultKind.SR}
    assert set(encoded.objects) == expected
    program = Path(sys.executable).with_name("dciodvfy")
    for kind, entry in encoded.objects.items():
        run = subprocess.run([program, "-new", entry.file], capture_output=True, timeout=60)
        said = run.stderr.decode("latin-1").splitlines()
        assert {ResultKind.SEG: "Segmentation", ResultKind.SR: "Comprehensive3DSR"}[kind] in said
        assert [line for line in said if line.startswith("Error")] == []


def test_dsrdump_reads_the_report(encoded):
    shown = subprocess.run(
        [require("dsrdump", "dcmtk"), encoded.objects[ResultKind.SR].file], capture_output=True, timeout=60, check=True
    )
    text = shown.stdout.decode("latin-1")
    assert not [line for line in shown.stderr.decode("latin-1").splitlines() if line.startswith(("E:", "F:"))]
    assert text.startswith("Comprehensive 3D SR Document")
    assert text.count("(POINT,") == text.count('"Measurement Group"')


def expected_masks(result: AnalysisResult) -> dict[tuple[str, int | None], np.ndarray]:
    """The mask by source plane, planes without mask left out."""
    assert result.mask_path is not None
    mask = np.load(result.mask_path)["mask"]
    return {
        (source.sop_instance_uid, source.frame_number): plane
        for source, plane in zip(result.slices, mask, strict=True)
        if plane.any()
    }


def test_the_segmentation_reads_back_with_highdicom_to_the_same_mask(segmented):
    segmentation = hd.seg.segread(segmented.objects[ResultKind.SEG].file)
    numbers = {
        item.segment_label: item.segment_number
        for item in map(segmentation.get_segment_description, segmentation.segment_numbers)
    }
    expected = expected_masks(segmented.result)
    uids = list(dict.fromkeys(uid for uid, _ in expected))
    if segmented.kind == "enhanced":
        frames = [frame for _, frame in expected]
        stack = segmentation.get_pixels_by_source_frame(uids[0], frames, combine_segments=True)
    else:
        stack = segmentation.get_pixels_by_source_instance(uids, combine_segments=True)
    for plane, seen in zip(expected.values(), stack, strict=True):
        for label, level in enumerate(LEVELS, 1):
            np.testing.assert_array_equal(plane == label, seen == numbers.get(level, 255))


def test_the_segmentation_reads_back_without_highdicom_to_the_same_mask(segmented):
    """The standard read by hand: bits in order, one run over all frames, least significant first (PS3.5 8.1.1)."""
    read = dcmread(segmented.objects[ResultKind.SEG].file)
    bits = np.unpackbits(np.frombuffer(read.PixelData, np.uint8), bitorder="little")
    frames = bits[: read.NumberOfFrames * read.Rows * read.Columns].reshape(-1, read.Rows, read.Columns)
    labels = {item.SegmentNumber: LEVELS.index(item.SegmentLabel) + 1 for item in read.SegmentSequence}
    seen: dict[tuple[str, int | None], np.ndarray] = {}
    shared = read.SharedFunctionalGroupsSequence[0]
    for frame, group in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = source.get("ReferencedFrameNumber")
        key = str(source.ReferencedSOPInstanceUID), None if number is None else int(number)
        holder = group if "SegmentIdentificationSequence" in group else shared
        label = labels[holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        plane = seen.setdefault(key, np.zeros((read.Rows, read.Columns), np.uint8))
        assert not plane[frame == 1].any()
        plane[frame == 1] = label
    expected = expected_masks(segmented.result)
    assert set(seen) == set(expected)
    for key, plane in expected.items():
        np.testing.assert_array_equal(seen[key], plane)


def test_the_frames_lie_where_their_source_planes_lie(segmented):
    read = dcmread(segmented.objects[ResultKind.SEG].file)
    places = source_geometry(segmented.result)
    orientation = read.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == [0.5, 0.5]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(
        2.0 * np.cos(np.radians(SOURCES[segmented.kind].get("tilt", 0)))
    )
    for group in read.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        position, cosines = places[str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")]
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, position, atol=1e-5)
        np.testing.assert_allclose(orientation, cosines, atol=1e-7)


def source_geometry(result: AnalysisResult) -> dict[tuple[str, int | None], tuple[list[float], list[float]]]:
    places = {}
    for source in result.slices:
        header = dcmread(source.file, stop_before_pixels=True)
        if source.frame_number is None:
            place = header.ImagePositionPatient, header.ImageOrientationPatient
        else:
            frame = header.PerFrameFunctionalGroupsSequence[source.frame_number - 1]
            shared = header.SharedFunctionalGroupsSequence[0]
            place = (
                frame.PlanePositionSequence[0].ImagePositionPatient,
                shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            )
        places[source.sop_instance_uid, source.frame_number] = place
    return places


def test_demographics_are_those_of_the_images(encoded):
    source = dcmread(encoded.result.slices[0].file, stop_before_pixels=True)
    for entry in encoded.objects.values():
        read = dcmread(entry.file)
        assert read.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "StudyID"):
            assert str(read[keyword].value or "") == str(source.get(keyword) or "")


def test_tracking_uids_tie_segments_to_measurements(segmented):
    segments = {
        item.SegmentLabel: item.TrackingUID for item in dcmread(segmented.objects[ResultKind.SEG].file).SegmentSequence
    }
    report = hd.sr.srread(segmented.objects[ResultKind.SR].file)
    groups = hd.sr.MeasurementReport.from_sequence([report]).get_planar_roi_measurement_groups()
    measured = {group.tracking_identifier: group.tracking_uid for group in groups}
    for level, uid in segments.items():
        assert measured.get(f"{level} vertebra", uid) == uid
    assert len(set(measured.values())) == len(measured)


PIXELMED_JARS = "pixelmed commons-codec hsqldb vecmath slf4j-api slf4j-simple jaxb-api javax.json"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["enhanced", "cut off"])
def test_pixelmed_the_validator_of_the_connectathon_finds_no_error(source, tmp_path):
    require_file(Path("/usr/share/java/pixelmed.jar"), "libpixelmed-java")
    java = require("java", "openjdk-17-jre-headless")
    report = encode(source, tmp_path).objects[ResultKind.SR]
    limits = [f"-Djdk.xml.xpath{name}Limit=0" for name in ("TotalOp", "ExprOp", "ExprGrp")]
    path = ":".join(f"/usr/share/java/{jar}.jar" for jar in PIXELMED_JARS.split())
    said = subprocess.run(
        [java, "-Xmx2g", *limits, "-cp", path, "com.pixelmed.validate.DicomSRValidator", report.file],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    spoken = said.stdout + said.stderr
    assert "Root Template Validation Complete" in spoken
    assert re.findall(r"^Error.*", spoken, re.MULTILINE) == []
