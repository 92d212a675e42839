"""The segmentation of the vertebrae: one segment for each level in the mask, BINARY or LABELMAP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import LEVELS, BundleIdentity
from dicom_node.results import codes, segmentation
from dicom_node.results.identity import ObjectIdentity, tracking_id
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import SourceSeries

_NAMING = segmentation.Naming(
    content_label="CERVICAL_SPINE",
    content_description="Vertebrae C1-C7, AI",
    series_description="AI cervical spine: vertebrae C1-C7",
)
_NAMING_LABELMAP = segmentation.Naming(
    content_label="CERVICAL_SPINE",
    content_description="Vertebrae C1-C7, AI",
    series_description="AI cervical spine: vertebrae C1-C7, label map",
)


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
            if labels.ndim != 3 or labels.dtype != np.uint8 or affine.shape != (4, 4):
                raise ValueError(f"{labels.dtype} {labels.shape} where uint8 [z, y, x] is expected")
            if "start_zyx" in arrays:
                labels = _on_whole_grid(labels, arrays["start_zyx"], arrays["shape_zyx"])
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise EncodingInvalid(f"the mask {file.name} cannot be read: {error}") from error
    return Mask(labels=labels, affine_lps=np.asarray(affine, dtype=np.float64))


def _on_whole_grid(box: NDArray[np.uint8], start: NDArray[np.int64], shape: NDArray[np.int64]) -> NDArray[np.uint8]:
    # Pages of zeros that nobody touches cost no memory.
    whole = np.zeros(tuple(int(n) for n in shape), dtype=np.uint8)
    z, y, x = (slice(int(first), int(first) + n) for first, n in zip(start, box.shape, strict=True))
    whole[z, y, x] = box
    return whole


def vertebrae(mask: Mask, sources: SourceSeries) -> segmentation.Labels | None:
    """The box of the grid that holds every vertebra, labels 1-7 = C1-C7; None where the mask is empty.

    Raises EncodingInvalid where mask and source do not fit.
    """
    _check_fit(mask, sources)
    planes = np.flatnonzero(mask.labels.any(axis=(1, 2)))
    if not planes.size:
        return None
    z = _from_first_to_last(planes)
    flat = mask.labels[z].max(axis=0)
    y, x = (_from_first_to_last(places) for places in flat.nonzero())
    return segmentation.Labels(
        values=mask.labels[z, y, x], start_zyx=(z.start, y.start, x.start), affine_lps=mask.affine_lps
    )


def build_segmentation(
    labels: segmentation.Labels,
    sources: SourceSeries,
    bundle: BundleIdentity,
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    """BINARY, segments numbered from 1 without gaps, so a missing level moves those below it up (PS3.3 C.8.20.2)."""
    levels = _levels_in(labels.values)
    numbers = np.zeros(256, dtype=np.uint8)
    for number, level in enumerate(levels, 1):
        numbers[LEVELS.index(level) + 1] = number
    renumbered = segmentation.Labels(
        values=numbers[labels.values], start_zyx=labels.start_zyx, affine_lps=labels.affine_lps
    )
    segments = [_description(number, level, bundle, equipment, identity) for number, level in enumerate(levels, 1)]
    return segmentation.build(renumbered, segments, _NAMING, sources, equipment, identity)


def build_labelmap(
    labels: segmentation.Labels,
    sources: SourceSeries,
    bundle: BundleIdentity,
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    """LABELMAP, run-length encoded; a segment's number is its level's, 1-7 = C1-C7, whichever are there."""
    segments = [
        _description(LEVELS.index(level) + 1, level, bundle, equipment, identity) for level in _levels_in(labels.values)
    ]
    kind = hd.seg.SegmentationTypeValues.LABELMAP
    return segmentation.build(labels, segments, _NAMING_LABELMAP, sources, equipment, identity, kind=kind)


def _check_fit(mask: Mask, sources: SourceSeries) -> None:
    expected = (len(sources.frames), sources.rows, sources.columns)
    if mask.labels.shape != expected:
        raise EncodingInvalid(f"the mask is {mask.labels.shape} [z, y, x], the analysed series {expected}")
    if mask.labels.max(initial=0) > len(LEVELS):
        raise EncodingInvalid(f"the mask holds label {mask.labels.max()}, expected 0 to {len(LEVELS)}")


def _from_first_to_last(places: NDArray[np.intp]) -> slice:
    return slice(int(places.min()), int(places.max()) + 1)


def _levels_in(labels: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(level for label, level in enumerate(LEVELS, 1) if (labels == label).any())


def _description(
    number: int, level: str, bundle: BundleIdentity, equipment: Equipment, identity: ObjectIdentity
) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=level,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.VERTEBRA[level],
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=segmentation.algorithm(bundle, equipment),
        tracking_uid=identity.tracking[level],
        tracking_id=tracking_id(level),
        display_color=hd.color.CIELabColor.from_rgb(*codes.COLOURS[level].rgb),
    )
