"""A SEG of any labels on the analysed grid: BINARY or LABELMAP (PS3.3 A.51).

highdicom builds the object around a single stand-in plane that looks like a CT image: every attribute but the frames
is its work and its checks. The frames are then laid out here, because highdicom spends a millisecond on each and a
neck has hundreds. `tests/unit/results/test_segmentation.py` holds the frames against those that highdicom makes.

One path serves scanners' single frames, RSNA-style files and Enhanced CT: the references name the real instances and
frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless
from pydicom.valuerep import format_number_as_ds

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import BundleIdentity
from dicom_node.results import codes
from dicom_node.results.frame_pixels import Canvas, packed, run_lengths
from dicom_node.results.identity import ObjectIdentity
from dicom_node.results.provenance import Equipment, blank_study
from dicom_node.results.references import encoded, put, refer
from dicom_node.results.sources import SourceFrame, SourceSeries

_SPACING_TOLERANCE_MM = 0.01
_MAX_DS_CHARACTERS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """A box of labels on the analysed grid: `values` uint8 [z, y, x], 0 for none, whose first voxel is `start_zyx`.

    `affine_lps` belongs to the whole grid, (x, y, z, 1) to LPS mm.
    """

    values: NDArray[np.uint8]
    start_zyx: tuple[int, int, int]
    affine_lps: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the object and its series are called."""

    content_label: str
    content_description: str
    series_description: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plane:
    """A source plane and its labels, [row, column] of the box."""

    frame: SourceFrame
    labels: NDArray[np.uint8]


def build(
    labels: Labels,
    segments: Sequence[hd.seg.SegmentDescription],
    naming: Naming,
    sources: SourceSeries,
    equipment: Equipment,
    identity: ObjectIdentity,
    *,
    kind: hd.seg.SegmentationTypeValues = hd.seg.SegmentationTypeValues.BINARY,
) -> Dataset:
    """The segmentation without demographics and times; a label is the number of its segment.

    Planes without any label are left out. Raises EncodingInvalid where labels and source do not fit.
    """
    stack = _planes(labels, sources)
    spacing_mm = _even_spacing_mm([plane.frame for plane in stack], sources)
    planes = [plane for plane in stack if plane.labels.any()]
    if not planes:
        raise EncodingInvalid("there is no label to make a segmentation of")
    try:
        stand_in = _stand_in(planes[0].frame, spacing_mm, sources, labels)
        target = _around_one_plane(stand_in, segments, naming, equipment, identity, kind)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodingInvalid(f"the segmentation cannot be built: {error}") from error
    _, row, column = labels.start_zyx
    canvas = Canvas(rows=sources.rows, columns=sources.columns, row=row, column=column)
    if kind is hd.seg.SegmentationTypeValues.BINARY:
        numbers = [segment.segment_number for segment in segments]
        layout = [(number, k) for number in numbers for k, plane in enumerate(planes) if (plane.labels == number).any()]
        target.PixelData = packed((planes[k].labels == number for number, k in layout), canvas)
    else:
        layout = [(0, k) for k in range(len(planes))]
        target.PixelData = run_lengths((plane.labels for plane in planes), canvas)
        target.file_meta.TransferSyntaxUID = RLELossless
    target["PixelData"].VR = "OB"
    target.NumberOfFrames = len(layout)
    target.PerFrameFunctionalGroupsSequence = _groups(target, planes, layout)
    _refer_to(target, sources)
    _settle_dimension_uid(target, identity.dimension_organization_uid)
    target.BodyPartExamined = "CSPINE"
    return target


def algorithm(bundle: BundleIdentity, equipment: Equipment) -> hd.AlgorithmIdentificationSequence:
    """The weights that drew the segments (PS3.3 Table 10-19)."""
    return hd.AlgorithmIdentificationSequence(
        name=bundle.name,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=bundle.version,
        source=equipment.manufacturer,
        parameters={"bundle_sha256": bundle.sha256}
        | ({"levels_named_by": bundle.levels_named_by} if bundle.levels_named_by else {}),
    )


def _planes(labels: Labels, sources: SourceSeries) -> list[_Plane]:
    """The distinct source planes of the box, in the order of z, with the labels they get.

    Where resampling put several z on one plane, the plane gets the labels of the z nearest to it.
    """
    nearest: dict[tuple[str, int | None], int] = {}
    for z in range(labels.start_zyx[0], labels.start_zyx[0] + len(labels.values)):
        key = sources.frames[z].key
        if key not in nearest or _distance_mm(z, labels, sources) < _distance_mm(nearest[key], labels, sources):
            nearest[key] = z
    return [_Plane(frame=sources.frames[z], labels=labels.values[z - labels.start_zyx[0]]) for z in nearest.values()]


def _distance_mm(z: int, labels: Labels, sources: SourceSeries) -> float:
    centre = labels.affine_lps[:3, 3] + z * labels.affine_lps[:3, 2]
    return float(abs((centre - np.asarray(sources.frames[z].position_mm_lps)) @ sources.normal))


def _around_one_plane(
    stand_in: Dataset,
    segments: Sequence[hd.seg.SegmentDescription],
    naming: Naming,
    equipment: Equipment,
    identity: ObjectIdentity,
    kind: hd.seg.SegmentationTypeValues,
) -> Dataset:
    """highdicom's object with each segment's number on one pixel of one plane."""
    numbers = [segment.segment_number for segment in segments]
    pixels = np.zeros((1, stand_in.Rows, stand_in.Columns), dtype=np.uint8)
    pixels.reshape(-1)[: len(numbers)] = numbers
    target = hd.seg.Segmentation(
        source_images=[stand_in],
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=list(segments),
        series_instance_uid=identity.series_instance_uid,
        series_number=identity.series_number,
        sop_instance_uid=identity.sop_instance_uid,
        instance_number=identity.instance_number,
        manufacturer=equipment.manufacturer,
        manufacturer_model_name=equipment.model_name,
        software_versions=equipment.software_version,
        device_serial_number=equipment.device_serial,
        content_label=naming.content_label,
        content_description=naming.content_description,
        series_description=naming.series_description,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    if "SpacingBetweenSlices" not in stand_in:  # of a single plane highdicom says 1 mm
        del target.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    return target


def _stand_in(frame: SourceFrame, spacing_mm: float | None, sources: SourceSeries, labels: Labels) -> Dataset:
    """A single-frame CT header at the place of this plane, complete where the source may not be."""
    image = blank_study(sources.study_instance_uid)
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = frame.sop_instance_uid
    image.SeriesInstanceUID = sources.series_instance_uid
    image.FrameOfReferenceUID = sources.frame_of_reference_uid
    image.Modality = "CT"
    image.Rows, image.Columns = sources.rows, sources.columns
    image.PixelSpacing = list(sources.pixel_spacing_mm)
    # What the headers say, else the distance of the slices along the normal.
    image.SliceThickness = sources.slice_thickness_mm or float(abs(labels.affine_lps[:3, 2] @ sources.normal))
    if spacing_mm is not None:
        image.SpacingBetweenSlices = spacing_mm
    # The same orientation for all: scanners' headers jitter in the last digits, and one volume has one orientation.
    image.ImageOrientationPatient = list(sources.orientation)
    image.ImagePositionPatient = list(frame.position_mm_lps)
    return image


def _even_spacing_mm(frames: list[SourceFrame], sources: SourceSeries) -> float | None:
    """The distance of neighbouring planes along the normal, None where it varies.

    highdicom works it out only for stacks along the normal; with gantry tilt it would stay unsaid.
    """
    places = np.array([frame.position_mm_lps for frame in frames]) @ sources.normal
    steps = np.abs(np.diff(places))
    if not steps.size or np.ptp(steps) > _SPACING_TOLERANCE_MM:
        return None
    return round(float(steps.mean()), 6)


def _groups(target: Dataset, planes: list[_Plane], layout: Sequence[tuple[int, int]]) -> list[Dataset]:
    """The functional groups of each (segment number or 0, index of its plane)."""
    pattern = target.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    purpose = encoded(pattern.SourceImageSequence[0].PurposeOfReferenceCodeSequence)
    code = encoded(pattern.DerivationCodeSequence)
    derivations = [_derivation(plane.frame, purpose, code) for plane in planes]
    positions = [_item(ImagePositionPatient=[_ds(value) for value in p.frame.position_mm_lps]) for p in planes]
    identifications = {number: _item(ReferencedSegmentNumber=number) for number in {number for number, _ in layout}}
    groups = []
    for number, k in layout:
        group = Dataset()
        group.DerivationImageSequence = [derivations[k]]
        group.FrameContentSequence = [_item(DimensionIndexValues=[number, k + 1] if number else [k + 1])]
        group.PlanePositionSequence = [positions[k]]
        if number:
            group.SegmentIdentificationSequence = [identifications[number]]
        groups.append(group)
    shared = target.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        del shared.SegmentIdentificationSequence
    return groups


def _derivation(frame: SourceFrame, purpose: bytes, code: bytes) -> Dataset:
    """How a frame came about; `purpose` and `code` are highdicom's codes, encoded."""
    source = _item(
        ReferencedSOPClassUID=frame.sop_class_uid,
        ReferencedSOPInstanceUID=frame.sop_instance_uid,
        SpatialLocationsPreserved="YES",
    )
    if frame.frame_number is not None:
        source.ReferencedFrameNumber = frame.frame_number
    put(source, "PurposeOfReferenceCodeSequence", purpose)
    derivation = _item(SourceImageSequence=[source])
    put(derivation, "DerivationCodeSequence", code)
    return derivation


def _ds(value: float) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_DS_CHARACTERS else format_number_as_ds(value)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _refer_to(target: Dataset, sources: SourceSeries) -> None:
    """The reference list is the whole analysed series.

    Viewers find the series to overlay through the Referenced Series Sequence (PS3.3 C.12.2); the frames without a
    label were analysed as well.
    """
    series = _item(SeriesInstanceUID=sources.series_instance_uid)
    refer(series, "ReferencedInstanceSequence", sources.instances)
    target.ReferencedSeriesSequence = [series]
    refer(target, "SourceImageSequence", sources.instances)


def _settle_dimension_uid(target: Dataset, uid: str) -> None:
    """highdicom draws a random Dimension Organization UID; the same input must give the same bytes."""
    target.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for dimension in target.DimensionIndexSequence:
        dimension.DimensionOrganizationUID = uid
