"""The segmentation of the vertebrae: SEG, BINARY, one segment for each level in the mask (PS3.3 A.51).

highdicom builds it from stand-ins of the source planes, each looking like a single-frame CT image. That gives one
path for scanners' single frames, RSNA-style files and Enhanced CT; the references are then set to the real
instances and frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import LEVELS, BundleIdentity
from dicom_node.core.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.identity import ObjectIdentity, tracking_id
from dicom_node.results.provenance import Equipment, blank_study
from dicom_node.results.sources import SourceFrame, SourceSeries

_SPACING_TOLERANCE_MM = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """`labels` uint8 [z, y, x], 0 background, 1-7 = C1-C7; `affine_lps` maps (x, y, z, 1) to LPS mm."""

    labels: NDArray[np.uint8]
    affine_lps: NDArray[np.float64]


def read_mask(file: Path) -> Mask:
    """Raises EncodingInvalid where the file is not what `AnalysisResult.mask_path` promises."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            labels, affine = arrays["mask"], arrays["affine_lps"]
    except (OSError, KeyError, ValueError) as error:
        raise EncodingInvalid(f"the mask {file.name} cannot be read: {error}") from error
    if labels.ndim != 3 or labels.dtype != np.uint8 or affine.shape != (4, 4):
        raise EncodingInvalid(f"the mask {file.name} is {labels.dtype} {labels.shape}, expected uint8 [z, y, x]")
    return Mask(labels=labels, affine_lps=np.asarray(affine, dtype=np.float64))


def build_segmentation(
    mask: Mask, sources: SourceSeries, bundle: BundleIdentity, equipment: Equipment, identity: ObjectIdentity
) -> Dataset | None:
    """The segmentation without demographics and times, or None where the mask is empty.

    Raises EncodingInvalid where mask and source do not fit.
    """
    _check_fit(mask, sources)
    frames, planes = _planes_with_mask(mask, sources)
    levels = _levels_in(planes)
    if not levels:
        return None
    try:
        segmentation = hd.seg.Segmentation(
            source_images=_stand_ins(frames, sources, mask),
            pixel_array=_renumbered(planes, levels),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _description(number, level, bundle, equipment, identity) for number, level in enumerate(levels, 1)
            ],
            series_instance_uid=identity.series_instance_uid,
            series_number=identity.series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial,
            content_label="CERVICAL_SPINE",
            content_description="Vertebrae C1-C7, AI",
            series_description="AI cervical spine: vertebrae C1-C7",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=True,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodingInvalid(f"the segmentation cannot be built: {error}") from error
    _refer_to(segmentation, sources, {_stand_in_uid(frame): frame for frame in frames})
    _settle_dimension_uid(segmentation, identity.dimension_organization_uid)
    segmentation.BodyPartExamined = "CSPINE"
    return segmentation


def _check_fit(mask: Mask, sources: SourceSeries) -> None:
    expected = (len(sources.frames), sources.rows, sources.columns)
    if mask.labels.shape != expected:
        raise EncodingInvalid(f"the mask is {mask.labels.shape} [z, y, x], the analysed series {expected}")
    if mask.labels.max(initial=0) > len(LEVELS):
        raise EncodingInvalid(f"the mask holds label {mask.labels.max()}, expected 0 to {len(LEVELS)}")


def _planes_with_mask(mask: Mask, sources: SourceSeries) -> tuple[list[SourceFrame], NDArray[np.uint8]]:
    """The distinct source planes from the first to the last with mask, in the order of z, and their labels.

    Where resampling put several z on one plane, the plane gets the labels of the z nearest to it.
    """
    occupied = np.flatnonzero(mask.labels.any(axis=(1, 2)))
    if not occupied.size:
        return [], mask.labels[:0]
    nearest: dict[tuple[str, int | None], int] = {}
    for z in range(occupied[0], occupied[-1] + 1):
        key = sources.frames[z].key
        if key not in nearest or _distance_mm(z, mask, sources) < _distance_mm(nearest[key], mask, sources):
            nearest[key] = z
    chosen = list(nearest.values())
    is_one_run = chosen == list(range(chosen[0], chosen[-1] + 1))
    planes = mask.labels[chosen[0] : chosen[-1] + 1] if is_one_run else mask.labels[chosen]
    return [sources.frames[z] for z in chosen], planes


def _distance_mm(z: int, mask: Mask, sources: SourceSeries) -> float:
    centre = mask.affine_lps[:3, 3] + z * mask.affine_lps[:3, 2]
    return float(abs((centre - np.asarray(sources.frames[z].position_mm_lps)) @ sources.normal))


def _levels_in(planes: NDArray[np.uint8]) -> tuple[str, ...]:
    counts = np.zeros(256, dtype=np.int64)
    for plane in planes:
        counts += np.bincount(plane.ravel(), minlength=256)
    return tuple(level for label, level in enumerate(LEVELS, 1) if counts[label])


def _renumbered(planes: NDArray[np.uint8], levels: tuple[str, ...]) -> NDArray[np.uint8]:
    """Segment numbers of a BINARY segmentation run from 1 without gaps, so a missing level moves those below it up."""
    if levels == LEVELS[: len(levels)]:
        return planes
    numbers = np.zeros(256, dtype=np.uint8)
    for number, level in enumerate(levels, 1):
        numbers[LEVELS.index(level) + 1] = number
    return numbers[planes]


def _thickness_mm(mask: Mask, sources: SourceSeries) -> float:
    """What the headers say, else the distance of the slices along the normal."""
    return sources.slice_thickness_mm or float(abs(mask.affine_lps[:3, 2] @ sources.normal))


def _stand_in_uid(frame: SourceFrame) -> str:
    if frame.frame_number is None:
        return frame.sop_instance_uid
    return derived_uid(frame.sop_instance_uid, "frame", str(frame.frame_number))


def _stand_ins(frames: list[SourceFrame], sources: SourceSeries, mask: Mask) -> list[Dataset]:
    thickness_mm = _thickness_mm(mask, sources)
    spacing_mm = _even_spacing_mm(frames, sources)
    return [_stand_in(frame, sources, thickness_mm, spacing_mm) for frame in frames]


def _stand_in(frame: SourceFrame, sources: SourceSeries, thickness_mm: float, spacing_mm: float | None) -> Dataset:
    image = blank_study(sources.study_instance_uid)
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = _stand_in_uid(frame)
    image.SeriesInstanceUID = sources.series_instance_uid
    image.FrameOfReferenceUID = sources.frame_of_reference_uid
    image.Modality = "CT"
    image.Rows, image.Columns = sources.rows, sources.columns
    image.PixelSpacing = list(sources.pixel_spacing_mm)
    image.SliceThickness = thickness_mm
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


def _description(
    number: int, level: str, bundle: BundleIdentity, equipment: Equipment, identity: ObjectIdentity
) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=level,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.VERTEBRA[level],
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=bundle.name,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=bundle.version,
            source=equipment.manufacturer,
            parameters={"bundle_sha256": bundle.sha256}
            | ({"levels_named_by": bundle.levels_named_by} if bundle.levels_named_by else {}),
        ),
        tracking_uid=identity.tracking[level],
        tracking_id=tracking_id(level),
        display_color=hd.color.CIELabColor.from_rgb(*codes.COLOURS[level].rgb),
    )


def _refer_to(segmentation: Dataset, sources: SourceSeries, frames: dict[str, SourceFrame]) -> None:
    """References name real instances and frames, and the reference list is the whole analysed series.

    Viewers find the series to overlay through the Referenced Series Sequence (PS3.3 C.12.2); the frames with an
    empty mask were analysed as well.
    """
    instances = []
    for sop_class_uid, sop_instance_uid in sources.instances:
        instance = Dataset()
        instance.ReferencedSOPClassUID = sop_class_uid
        instance.ReferencedSOPInstanceUID = sop_instance_uid
        instances.append(instance)
    segmentation.SourceImageSequence = instances
    series = Dataset()
    series.SeriesInstanceUID = sources.series_instance_uid
    series.ReferencedInstanceSequence = instances
    segmentation.ReferencedSeriesSequence = [series]
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        source_image = group.DerivationImageSequence[0].SourceImageSequence[0]
        frame = frames.get(str(source_image.ReferencedSOPInstanceUID))
        if frame is not None:  # None: highdicom shares the item among a plane's segments, and it is done already
            source_image.ReferencedSOPClassUID = frame.sop_class_uid
            source_image.ReferencedSOPInstanceUID = frame.sop_instance_uid
            if frame.frame_number is not None:
                source_image.ReferencedFrameNumber = frame.frame_number


def _settle_dimension_uid(segmentation: Dataset, uid: str) -> None:
    """highdicom draws a random Dimension Organization UID; the same input must give the same bytes."""
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for dimension in segmentation.DimensionIndexSequence:
        dimension.DimensionOrganizationUID = uid
