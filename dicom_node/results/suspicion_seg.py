"""The segmentation of the suspected regions: a segment for each band of each positive level."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.core.finding import BundleIdentity
from dicom_node.results import codes, segmentation
from dicom_node.results.identity import ObjectIdentity, tracking_id
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import SourceSeries
from dicom_node.results.suspicion import Band, SuspectedRegions

_NAMING = segmentation.Naming(
    content_label="FRACTURE_REGION",
    content_description="Where levels look fractured to the AI",
    series_description="AI cervical spine: suspected fracture regions",
)


def build_suspicion(
    regions: SuspectedRegions,
    sources: SourceSeries,
    bundle: BundleIdentity,
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    """BINARY; the bands of a level carry the Tracking UID of the level's measurement group in the SR.

    Raises EncodingInvalid where regions and source do not fit.
    """
    segments = [
        _description(number, level, band, segmentation.algorithm(bundle, equipment), identity)
        for number, (level, band) in enumerate(regions.parts, 1)
    ]
    return segmentation.build(regions.labels, segments, _NAMING, sources, equipment, identity)


def _description(
    number: int, level: str, band: Band, algorithm: hd.AlgorithmIdentificationSequence, identity: ObjectIdentity
) -> hd.seg.SegmentDescription:
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"{level} suspicion {band.name}",
        segmented_property_category=codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
        segmented_property_type=codes.FRACTURE,
        anatomic_regions=[codes.VERTEBRA[level]],
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=identity.tracking[level],
        tracking_id=tracking_id(level),
        display_color=hd.color.CIELabColor.from_rgb(*band.rgb),
    )
    description.SegmentDescription = (
        f"{100 * band.from_share:.0f} to {100 * band.to_share:.0f} % of the highest suspicion in {level}: an"
        " explanation by the model, not the outline of a fracture"
    )
    return description
