"""The frames laid out here are the ones that highdicom would make, only sooner."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import ResultKind
from dicom_node.results import codes, provenance, segmentation
from dicom_node.results.identity import identify
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import read_sources
from tests.builders.ct import affine_lps, make_ct_series
from tests.builders.results import BUNDLE, source_slices
from tests.unit.results.test_identity import RESULT

EQUIPMENT = Equipment(manufacturer="m", software_version="1", device_serial="1")
IDENTITY = identify(ResultKind.SEG, RESULT, revision=1)
NAMING = segmentation.Naming(content_label="L", content_description="d", series_description="s")
SHAPE = (9, 10, 11)  # 110 pixels: frames do not end on whole bytes


def drawn() -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.uint8)
    labels[0] = labels[-1] = 0
    labels[4] = 2  # one label alone on a plane
    return labels


def descriptions(count: int) -> list[hd.seg.SegmentDescription]:
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"part {number}",
            segmented_property_category=codes.ANATOMICAL_STRUCTURE,
            segmented_property_type=codes.VERTEBRA["C2"],
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=segmentation.algorithm(BUNDLE, EQUIPMENT),
        )
        for number in range(1, count + 1)
    ]


@pytest.fixture
def series(tmp_path: Path):
    files = make_ct_series(tmp_path, n=SHAPE[0], rows=SHAPE[1], columns=SHAPE[2], tilt=13.0)
    return files, read_sources(source_slices(files), study_instance_uid="1.2.3")


def build(labels: np.ndarray, sources, kind=hd.seg.SegmentationTypeValues.BINARY, start=(0, 0, 0)):
    placed = segmentation.Labels(
        values=labels, start_zyx=start, affine_lps=affine_lps(*SHAPE, (2.0, 0.5, 0.5), tilt=13.0)
    )
    count = int(labels.max())
    return segmentation.build(placed, descriptions(count), NAMING, sources, EQUIPMENT, IDENTITY, kind=kind)


def by_highdicom(labels: np.ndarray, files: list[Path], kind: hd.seg.SegmentationTypeValues):
    return hd.seg.Segmentation(
        source_images=[dcmread(file) for file in files],
        pixel_array=labels,
        segmentation_type=kind,
        segment_descriptions=descriptions(3),
        series_instance_uid=IDENTITY.series_instance_uid,
        series_number=IDENTITY.series_number,
        sop_instance_uid=IDENTITY.sop_instance_uid,
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="cspine-node",
        software_versions="1",
        device_serial_number="1",
        content_label="L",
        content_description="d",
        series_description="s",
        omit_empty_frames=True,
    )


def said_of_frames(data_set) -> dict[tuple, tuple]:
    """By source instance and segment: what the functional groups say, and the pixels."""
    shared = data_set.SharedFunctionalGroupsSequence[0]
    said = {}
    for group, pixels in zip(data_set.PerFrameFunctionalGroupsSequence, data_set.pixel_array, strict=True):
        derivation = group.DerivationImageSequence[0]
        source = derivation.SourceImageSequence[0]
        number = None
        if "SegmentIdentificationSequence" in group:
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        said[source.ReferencedSOPInstanceUID, number] = (
            [float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient],
            source.ReferencedSOPClassUID,
            source.SpatialLocationsPreserved,
            source.PurposeOfReferenceCodeSequence[0].CodeValue,
            derivation.DerivationCodeSequence[0].CodeValue,
            {element.keyword for element in group},
            {element.keyword for element in shared},
            pixels.tobytes(),
        )
    return said


KINDS = [hd.seg.SegmentationTypeValues.BINARY, hd.seg.SegmentationTypeValues.LABELMAP]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_frames_and_attributes_are_those_of_highdicom(series, kind):
    files, sources = series
    ours, theirs = build(drawn(), sources, kind), by_highdicom(drawn(), files, kind)
    assert said_of_frames(ours) == said_of_frames(theirs)
    measures = ours.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == pytest.approx(2.0 * np.cos(np.radians(13.0)))
    missing = {element.keyword for element in theirs} - {element.keyword for element in ours}
    assert missing <= set(provenance._STUDY_KEYWORDS)  # which come with `take_over_study`


def test_dimension_indices_count_segments_and_planes_in_the_order_of_frames(series):
    _, sources = series
    made = build(drawn(), sources)
    indices = [
        tuple(group.FrameContentSequence[0].DimensionIndexValues) for group in made.PerFrameFunctionalGroupsSequence
    ]
    assert indices == sorted(indices)
    assert len(set(indices)) == len(indices) == made.NumberOfFrames
    assert indices[0] == (1, 1)
    assert max(index[1] for index in indices) == SHAPE[0] - 2  # the empty planes at both ends are left out


def test_labels_in_a_box_lie_where_the_whole_grid_has_them(series):
    _, sources = series
    whole = np.zeros(SHAPE, np.uint8)
    whole[3:6, 4:7, 2:5] = 1
    boxed = build(whole[3:6, 4:7, 2:5].copy(), sources, start=(3, 4, 2))
    assert said_of_frames(boxed) == said_of_frames(build(whole, sources))


def test_a_label_map_is_run_length_encoded(series):
    assert build(drawn(), series[1], KINDS[1]).file_meta.TransferSyntaxUID == RLELossless


def test_no_label_at_all_is_refused(series):
    labels = np.zeros(SHAPE, np.uint8)
    placed = segmentation.Labels(values=labels, start_zyx=(0, 0, 0), affine_lps=np.eye(4))
    with pytest.raises(EncodingInvalid, match="no label"):
        segmentation.build(placed, descriptions(1), NAMING, series[1], EQUIPMENT, IDENTITY)


def spacing_of(made) -> float | None:
    return made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].get("SpacingBetweenSlices")


def test_planes_left_out_in_the_middle_do_not_change_the_spacing(series):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1] = labels[2] = labels[6] = 1
    assert spacing_of(build(labels, series[1])) == pytest.approx(2.0 * np.cos(np.radians(13.0)))


def test_planes_at_uneven_distances_have_no_spacing(tmp_path: Path):
    files = make_ct_series(tmp_path, n=SHAPE[0], rows=SHAPE[1], columns=SHAPE[2])
    moved = dcmread(files[4])
    moved.ImagePositionPatient[2] += 0.5
    moved.save_as(files[4])
    sources = read_sources(source_slices(files), study_instance_uid="1.2.3")
    assert spacing_of(build(drawn(), sources)) is None
