"""From a mask to a segmentation: which plane, which number, which reference."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import ResultKind, SourceSlice
from dicom_node.results.identity import identify
from dicom_node.results.provenance import Equipment
from dicom_node.results.seg import Mask, build_labelmap, build_segmentation, read_mask, vertebrae
from dicom_node.results.sources import read_sources
from inference.headers import read_header
from inference.reading import read_series
from tests.builders.ct import affine_lps, make_ct_series
from tests.builders.results import BUNDLE, make_result, source_slices
from tests.unit.results.test_identity import RESULT

EQUIPMENT = Equipment(manufacturer="m", software_version="1", device_serial="1")
IDENTITY = identify(ResultKind.SEG, RESULT, revision=1)
SHAPE = (6, 16, 12)
SPACING = (2.0, 0.5, 0.75)


@pytest.fixture
def slices(tmp_path: Path) -> tuple[SourceSlice, ...]:
    return source_slices(make_ct_series(tmp_path, n=6, rows=16, columns=12, spacing=SPACING))


def segment(labels: np.ndarray, slices: tuple[SourceSlice, ...], affine: np.ndarray | None = None):
    affine = affine_lps(*SHAPE, SPACING) if affine is None else affine
    sources = read_sources(slices, study_instance_uid="1.2.3")
    bones = vertebrae(Mask(labels=labels, affine_lps=affine), sources)
    assert bones is not None
    return build_segmentation(bones, sources, BUNDLE, EQUIPMENT, IDENTITY)


def boxes(**places: tuple[slice, slice, slice]) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for level, place in places.items():
        labels[place] = int(level[1])
    return labels


def test_segments_are_numbered_without_gaps_and_keep_their_names(slices):
    labels = boxes(C2=np.s_[4:5, 2:4, 2:4], C5=np.s_[2:3, 2:4, 2:4], C6=np.s_[1:2, 2:4, 2:4])
    segments = segment(labels, slices).SegmentSequence
    assert [(item.SegmentNumber, item.SegmentLabel) for item in segments] == [(1, "C2"), (2, "C5"), (3, "C6")]
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in segments] == [
        "39976000",
        "36978003",
        "36054005",
    ]
    assert len({tuple(item.RecommendedDisplayCIELabValue) for item in segments}) == 3
    assert [item.TrackingUID for item in segments] == [IDENTITY.tracking[level] for level in ("C2", "C5", "C6")]


def test_the_whole_series_is_referenced_though_only_planes_with_mask_are_stored(slices):
    made = segment(boxes(C1=np.s_[3:5, 2:4, 2:4]), slices)
    referenced = [item.ReferencedSOPInstanceUID for item in made.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert referenced == [source.sop_instance_uid for source in slices]
    assert made.NumberOfFrames == 2
    assert made.BodyPartExamined == "CSPINE"


def test_planes_that_share_an_instance_take_the_mask_of_the_nearest_z(slices):
    # The volume was resampled to 1 mm over slices 2 mm apart: z 0 1 2 3 ... lie on instances 0 0 1 1 ..., and the
    # even z are the exact ones.
    labels = np.zeros((12, 16, 12), np.uint8)
    labels[4, 2, 3] = labels[5, 9, 9] = labels[6, 2, 4] = 1
    affine = affine_lps(12, 16, 12, (1.0, 0.5, 0.75))
    affine[:3, 3] = affine_lps(*SHAPE, SPACING)[:3, 3]
    made = segment(labels, tuple(slices[z // 2] for z in range(12)), affine)
    frames = {
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID: plane
        for group, plane in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array, strict=True)
    }
    assert {uid: np.argwhere(plane).tolist() for uid, plane in frames.items()} == {
        slices[2].sop_instance_uid: [[2, 3]],
        slices[3].sop_instance_uid: [[2, 4]],
    }


def test_an_empty_mask_has_no_vertebrae(slices):
    mask = Mask(labels=np.zeros(SHAPE, np.uint8), affine_lps=affine_lps(*SHAPE, SPACING))
    assert vertebrae(mask, read_sources(slices, study_instance_uid="1.2.3")) is None


def test_a_label_map_numbers_its_segments_by_level_and_holds_every_voxel(slices):
    labels = boxes(C2=np.s_[4:5, 2:4, 2:4], C5=np.s_[2:3, 2:4, 2:9], C7=np.s_[1:3, 12:16, 9:12])
    sources = read_sources(slices, study_instance_uid="1.2.3")
    bones = vertebrae(Mask(labels=labels, affine_lps=affine_lps(*SHAPE, SPACING)), sources)
    identity = identify(ResultKind.SEG_LABELMAP, RESULT, revision=1)
    made = build_labelmap(bones, sources, BUNDLE, EQUIPMENT, identity)
    named = {item.SegmentNumber: item.SegmentLabel for item in made.SegmentSequence}
    assert named == {0: "Background", 2: "C2", 5: "C5", 7: "C7"}
    assert made.PixelPaddingValue == 0
    frames = {
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID: plane
        for group, plane in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array, strict=True)
    }
    for source, plane in zip(slices, labels, strict=True):
        if plane.any():
            np.testing.assert_array_equal(frames.pop(source.sop_instance_uid), plane)
    assert frames == {}


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [(np.zeros((6, 12, 16), np.uint8), "the mask is"), (np.full(SHAPE, 8, np.uint8), "label 8")],
)
def test_a_mask_that_does_not_fit_is_refused(slices, labels, complaint):
    with pytest.raises(EncodingInvalid, match=complaint):
        segment(labels, slices)


def test_a_mask_file_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "mask.npz").write_bytes(b"no archive")
    with pytest.raises(EncodingInvalid, match=r"mask\.npz"):
        read_mask(tmp_path / "mask.npz")


def test_orientation_that_jitters_in_the_last_digits_is_one_volume(tmp_path: Path):
    files = make_ct_series(tmp_path, n=6, rows=16, columns=12, spacing=SPACING)
    jittery = dcmread(files[3])
    jittery.ImageOrientationPatient = [1, 0.0000002, 0, 0, 1, 0]
    jittery.save_as(files[3])
    assert segment(boxes(C1=np.s_[1:5, 2:4, 2:4]), source_slices(files)).NumberOfFrames == 4


def test_a_source_without_position_is_refused_in_words(tmp_path: Path):
    files = make_ct_series(tmp_path, n=2, rows=16, columns=12)
    broken = dcmread(files[1])
    del broken.ImagePositionPatient
    broken.save_as(files[1])
    with pytest.raises(EncodingInvalid, match="ImagePositionPatient"):
        read_sources(source_slices(files), study_instance_uid="1.2.3")


def test_what_the_analysis_kept_of_the_headers_is_as_good_as_the_headers(tmp_path: Path):
    files = make_ct_series(tmp_path, n=5, rows=16, columns=12, spacing=(0.7, 0.5, 0.75))
    read_again = read_sources(source_slices(files), study_instance_uid="1.2.3")
    kept = tuple(
        SourceSlice(
            sop_instance_uid=reference.sop_instance_uid,
            sop_class_uid=reference.sop_class_uid,
            file=reference.file,
            position_mm_lps=reference.position_mm_lps,
            instance_number=reference.instance_number,
        )
        for reference in read_series([read_header(file) for file in files]).slices
    )
    by_uid = {frame.sop_instance_uid: frame for frame in read_again.frames}
    for file in files:
        if file != kept[0].file:
            file.unlink()
    frames = read_sources(kept, study_instance_uid="1.2.3").frames
    assert [vars(by_uid[frame.sop_instance_uid]) for frame in frames] == [vars(frame) for frame in frames]
    assert all(frame.image_number is not None for frame in frames)


def test_a_source_file_that_is_gone_is_refused(tmp_path: Path):
    result = make_result(tmp_path, n=12, rows=16, columns=16)
    result.slices[4].file.unlink()
    with pytest.raises(EncodingInvalid, match="can no longer be read"):
        read_sources(result.slices, study_instance_uid="1.2.3")


def test_a_source_without_frame_of_reference_gets_one_of_its_own(tmp_path: Path):
    first, second = (
        read_sources(
            source_slices(make_ct_series(tmp_path / seed, n=2, rows=16, columns=12, style="rsna", seed=seed)),
            study_instance_uid="1.2.3",
        )
        for seed in "ab"
    )
    assert first.frame_of_reference_uid.startswith("2.25.")
    assert first.frame_of_reference_uid != second.frame_of_reference_uid
