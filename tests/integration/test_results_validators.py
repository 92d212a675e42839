"""Every kind of result of every kind of source, judged by programs that are not ours and read back by three ways."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from dicom_node.core.finding import LEVELS, AnalysisResult, LevelStatus, ResultKind, ResultObject
from dicom_node.results.encoder import DicomResultEncoder
from tests.builders.ct import NAMES
from tests.builders.results import make_result
from tests.builders.views import make_views
from tests.integration.validators import dcentvfy, dciodvfy, dsrdump, pixelmed
from tests.peers import missing

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENCODER = DicomResultEncoder(
    manufacturer="the project",
    software_version="0.1.0",
    device_serial="42",
    kinds_on_request=frozenset({ResultKind.SEG_LABELMAP}),
)
SMALL: dict[str, Any] = {"rows": 40, "columns": 48}
SOURCES: dict[str, dict[str, Any]] = {
    "scanner": {},
    "rsna": {"style": "rsna"},
    "enhanced": {"style": "enhanced"},
    "tilted": {"tilt": 17.0},
    "oblique": {"oblique": 12.0, "tilt": 5.0},
    "prone": {"oblique": 180.0},
    "feet first": {"feet_first": True},
    "all negative": {"positive": ()},
    "all positive": {"positive": LEVELS},
    "cut off": {
        "levels": LEVELS[:5],
        "unseen": {"C6": LevelStatus.PARTLY_IN_FIELD_OF_VIEW, "C7": LevelStatus.NOT_ASSESSED},
    },
    "one level": {"levels": ("C4",), "unseen": dict.fromkeys(LEVELS[4:], LevelStatus.NOT_ASSESSED)},
    "gap": {"levels": ("C1", "C2", "C5"), "positive": ()},
    "nothing": {"levels": (), "unseen": dict.fromkeys(LEVELS, LevelStatus.NOT_ASSESSED), "positive": ()},
    "revision 2": {"positive": ("C2", "C5")},
    "1000 slices": {"n": 1000},
} | {charset: {"charset": charset} for charset in NAMES if charset}

SEGMENTED = [kind for kind in SOURCES if kind != "nothing"]
# ITK's images have orthogonal axes, so dcmqi cannot hold the stack of a tilted gantry, whoever segmented it.
ORTHOGONAL = [kind for kind in SEGMENTED if not SOURCES[kind].get("tilt")]
IODS = {
    ResultKind.SEG: "Segmentation",
    ResultKind.SEG_LABELMAP: "Segmentation",
    ResultKind.SUSPICION_SEG: "Segmentation",
    ResultKind.SR: "Comprehensive3DSR",
    ResultKind.SR_COMPREHENSIVE: "ComprehensiveSR",
    ResultKind.SR_ENHANCED: "EnhancedSR",
    ResultKind.TEXT_SR: "EnhancedSR",
    ResultKind.SC: "SCImage",
    ResultKind.KOS: "KeyObjectSelectionDocument",
    ResultKind.PDF: "EncapsulatedPDF",
}
VERTEBRAE = {ResultKind.SEG, ResultKind.SEG_LABELMAP}
SUSPICION = {ResultKind.SUSPICION_SEG, ResultKind.KOS}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A kind of source, its analysis and the objects made of it; of key images the first."""

    kind: str
    result: AnalysisResult
    made: tuple[ResultObject, ...]

    @property
    def objects(self) -> dict[ResultKind, ResultObject]:
        return {entry.kind: entry for entry in reversed(self.made)}


@pytest.fixture(scope="module")
def encodings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoded]:
    """Each kind of source is encoded once, when it is first asked for."""

    class Encodings(dict[str, Encoded]):
        def __missing__(self, kind: str) -> Encoded:
            self[kind] = encode(kind, tmp_path_factory.mktemp("study"))
            return self[kind]

    return Encodings()


@pytest.fixture(params=SOURCES)
def encoded(request: pytest.FixtureRequest, encodings: dict[str, Encoded]) -> Encoded:
    return encodings[str(request.param)]


@pytest.fixture(params=SEGMENTED)
def segmented(request: pytest.FixtureRequest, encodings: dict[str, Encoded]) -> Encoded:
    return encodings[str(request.param)]


def encode(kind: str, folder: Path) -> Encoded:
    result = make_result(folder, **SMALL, **SOURCES[kind])
    if kind in ("scanner", "all positive"):
        positive = tuple(finding.level for finding in result.findings if finding.is_positive)
        result = dataclasses.replace(result, views_path=make_views(folder / "views", key_levels=positive))
    predecessor: tuple[ResultObject, ...] = ()
    if kind == "revision 2":
        predecessor = ENCODER.encode(result, revision=1, created_at=AT, out_dir=folder / "first")
    made = ENCODER.encode(
        result,
        revision=2 if predecessor else 1,
        created_at=AT,
        out_dir=folder / "out",
        predecessor=predecessor,
    )
    return Encoded(kind=kind, result=result, made=made)


def test_dciodvfy_knows_the_iod_and_finds_no_error(encoded):
    expected = set(IODS) - (VERTEBRAE if encoded.kind == "nothing" else set())
    if not any(finding.is_positive for finding in encoded.result.findings):
        expected -= SUSPICION
    assert set(encoded.objects) == expected
    for entry in encoded.made:
        said = dciodvfy(entry.file)
        assert IODS[entry.kind] in said
        assert [line for line in said if line.startswith("Error")] == [], entry.kind


def test_dcentvfy_finds_one_patient_one_study_and_every_reference(encoded):
    sources = list(dict.fromkeys(source.file for source in encoded.result.slices))
    files = [entry.file for entry in encoded.made]
    if encoded.kind != "rsna":  # whose images do not say what they are, so the program cannot place them
        files += sources
    first = encoded.made[0].file.parents[1] / "first"  # the earlier revision, which the later one names
    files += sorted(first.glob("*.dcm")) if first.exists() else []
    said = {re.sub(r" for file.*", "", line) for line in dcentvfy(files)}
    # In an SR the same number stands in the General Study and in the request, which the program takes for two.
    said = {line for line in said if not re.search(r"AccessionNumber\w*> IE <(Study|Series)> versus", line)}
    if encoded.kind == "rsna":
        said = {line for line in said if "Missing SOPInstanceUID" not in line}
    assert said == set()


def test_dsrdump_reads_the_report_and_the_slices_of_interest(encoded):
    text = dsrdump(encoded.objects[ResultKind.SR].file)
    assert "Comprehensive 3D SR Document" in text
    assert text.count("(POINT,") == text.count('"Measurement Group"')
    if ResultKind.KOS in encoded.objects:
        text = dsrdump(encoded.objects[ResultKind.KOS].file)
        assert '"Of Interest"' in text
        keys = {finding.key_index_zyx[0] for finding in encoded.result.findings if finding.is_positive}
        assert text.count("<contains IMAGE:") == (1 if encoded.kind == "enhanced" else len(keys))


def expected_masks(result: AnalysisResult) -> dict[tuple[str, int | None], np.ndarray]:
    """The mask by source plane, planes without mask left out."""
    assert result.mask_path is not None
    mask = np.load(result.mask_path)["mask"]
    return {
        (source.sop_instance_uid, source.frame_number): plane
        for source, plane in zip(result.slices, mask, strict=True)
        if plane.any()
    }


@pytest.mark.parametrize("kind", sorted(VERTEBRAE))
def test_the_segmentation_reads_back_with_highdicom_to_the_same_mask(segmented, kind):
    segmentation = hd.seg.segread(segmented.objects[kind].file)
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
    seen: dict[tuple[str, int | None], np.ndarray] = {}
    for key, level, frame in frames_of(segmented.objects[ResultKind.SEG]):
        plane = seen.setdefault(key, np.zeros(frame.shape, np.uint8))
        assert not plane[frame == 1].any()
        plane[frame == 1] = LEVELS.index(level) + 1
    expected = expected_masks(segmented.result)
    assert set(seen) == set(expected)
    for key, plane in expected.items():
        np.testing.assert_array_equal(seen[key], plane)


def frames_of(entry: ResultObject) -> Iterator[tuple[tuple[str, int | None], str, np.ndarray]]:
    """Source instance and frame, segment label, and bits [row, column] of each frame of a BINARY segmentation."""
    read = dcmread(entry.file)
    bits = np.unpackbits(np.frombuffer(read.PixelData, np.uint8), bitorder="little")
    frames = bits[: read.NumberOfFrames * read.Rows * read.Columns].reshape(-1, read.Rows, read.Columns)
    labels = {item.SegmentNumber: str(item.SegmentLabel) for item in read.SegmentSequence}
    for frame, group in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = source.get("ReferencedFrameNumber")
        key = str(source.ReferencedSOPInstanceUID), None if number is None else int(number)
        yield key, labels[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber], frame


def test_suspected_regions_are_disjoint_and_hold_the_key_voxel_of_each_positive_level(encoded):
    positive = {finding.level: finding for finding in encoded.result.findings if finding.is_positive}
    if not positive:
        assert ResultKind.SUSPICION_SEG not in encoded.objects
        return
    planes = {(source.sop_instance_uid, source.frame_number): z for z, source in enumerate(encoded.result.slices)}
    seen: dict[str, set[tuple[int, int, int]]] = {}
    for key, label, frame in frames_of(encoded.objects[ResultKind.SUSPICION_SEG]):
        seen.setdefault(label, set()).update((planes[key], int(y), int(x)) for y, x in np.argwhere(frame))
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))
    assert {label.split()[0] for label in seen} == set(positive)
    for level, finding in positive.items():
        assert finding.key_index_zyx in seen[f"{level} suspicion high"]


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


def by_dcmqi(entry: ResultObject, folder: Path) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """By segment label: what dcmqi says of it, and its voxels' centres in LPS mm [n, 3], sorted."""
    reader = Path(sys.executable).with_name("segimage2itkimage")
    if not reader.exists():
        missing(reader.name, "none; from PyPI, dcmqi")
    folder.mkdir()
    subprocess.run(
        [reader, "--inputDICOM", entry.file, "--outputDirectory", folder, "-p", "s"],
        capture_output=True,
        timeout=120,
        check=True,
    )
    said = json.loads((folder / "s-meta.json").read_text())["segmentAttributes"]
    read = {}
    for number, attributes in enumerate(said, 1):
        image = SimpleITK.ReadImage(str(folder / f"s-{number}.nrrd"))
        voxels = SimpleITK.GetArrayFromImage(image)
        for segment in attributes:  # a label map comes as one file
            indices = np.argwhere(voxels == (segment["labelID"] if len(attributes) > 1 else voxels.max()))
            points = [image.TransformContinuousIndexToPhysicalPoint(index[::-1].tolist()) for index in indices]
            read[segment["SegmentLabel"]] = segment, np.array(sorted(np.round(points, 3).tolist()))
    return read


@pytest.mark.parametrize("source", ORTHOGONAL)
def test_dcmqi_reads_every_segmentation_to_the_same_places(encodings, source, tmp_path):
    study = encodings[source]
    mask = np.load(study.result.mask_path)
    binary = by_dcmqi(study.objects[ResultKind.SEG], tmp_path / "seg")
    labelmap = by_dcmqi(study.objects[ResultKind.SEG_LABELMAP], tmp_path / "labelmap")
    assert set(binary) == set(labelmap)
    for level, (segment, points) in binary.items():
        voxels = np.argwhere(mask["mask"] == LEVELS.index(level) + 1)
        homogeneous = np.c_[voxels[:, ::-1], np.ones(len(voxels))]
        expected = np.array(sorted(np.round((homogeneous @ mask["affine_lps"].T)[:, :3], 3).tolist()))
        np.testing.assert_allclose(points, expected, atol=2e-3)
        np.testing.assert_allclose(labelmap[level][1], expected, atol=2e-3)
        assert labelmap[level][0]["labelID"] == LEVELS.index(level) + 1
        assert segment["SegmentedPropertyTypeCodeSequence"]["CodeMeaning"] == f"{level} vertebra"
    if ResultKind.SUSPICION_SEG in study.objects:
        for label, (segment, points) in by_dcmqi(study.objects[ResultKind.SUSPICION_SEG], tmp_path / "s").items():
            level = label.split()[0]
            assert segment["AnatomicRegionSequence"]["CodeMeaning"] == f"{level} vertebra"
            assert segment["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == "72704001"
            assert len(points) > 0


def test_demographics_are_those_of_the_images(encoded):
    source = dcmread(encoded.result.slices[0].file, stop_before_pixels=True)
    for entry in encoded.made:
        read = dcmread(entry.file)
        declared = read.get("SpecificCharacterSet")
        assert declared == source.get("SpecificCharacterSet"), entry.kind
        for keyword in (
            "PatientName",
            "PatientID",
            "IssuerOfPatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyDate",
            "StudyDescription",
            "AccessionNumber",
            "StudyID",
        ):
            assert str(read.get(keyword) or "") == str(source.get(keyword) or ""), (entry.kind, keyword)
        for keyword in ("OtherPatientIDsSequence", "IssuerOfAccessionNumberSequence"):
            assert read.get(keyword) == source.get(keyword), (entry.kind, keyword)


def test_tracking_uids_tie_segments_to_measurements(segmented):
    report = hd.sr.srread(segmented.objects[ResultKind.SR].file)
    groups = hd.sr.MeasurementReport.from_sequence([report]).get_planar_roi_measurement_groups()
    measured = {group.tracking_identifier: group.tracking_uid for group in groups}
    assert len(set(measured.values())) == len(measured)
    for kind in (*VERTEBRAE, ResultKind.SUSPICION_SEG):
        if kind in segmented.objects:
            for item in dcmread(segmented.objects[kind].file).SegmentSequence:
                if item.SegmentLabel != "Background":
                    name = f"{item.SegmentLabel.split()[0]} vertebra"
                    assert measured.get(name, item.TrackingUID) == item.TrackingUID


def test_a_thousand_slices_make_no_object_that_grows_without_bound(encodings):
    study = encodings["1000 slices"]
    pixels = len(study.result.slices) * SMALL["rows"] * SMALL["columns"]
    for kind, entry in study.objects.items():
        size = entry.file.stat().st_size
        match kind:
            case ResultKind.SEG | ResultKind.SEG_LABELMAP:  # a bit or little more a pixel, and what a frame says
                assert size < pixels / 8 + 1500 * len(study.result.slices), kind
            case ResultKind.SC | ResultKind.PDF:
                assert size < 4_000_000, kind
            case _:  # a list of a thousand references takes 110 kB
                assert size < 350_000, kind


@pytest.mark.slow
def test_pixelmed_the_validator_of_the_connectathon_finds_no_error(encodings, tmp_path):
    files = [encodings[kind].objects[ResultKind.KOS].file for kind in ("scanner", "enhanced", "all positive")]
    files.append(encodings["enhanced"].objects[ResultKind.SR].file)
    spoken = pixelmed(files, tmp_path)
    assert set(spoken) == set(files)
    for file, lines in spoken.items():
        assert "Root Template Validation Complete" in lines, file
        assert [line for line in lines if line.startswith("Error")] == [], file
