"""What a selection needs to know of a series, from headers alone. Facts, no decisions.

Which of these facts speak against a series, and from which value on, is `dicom_node.core.selection`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from inference.errors import GeometryUnsupported
from inference.functional_groups import FrameHeader
from inference.geometry import StackGeometry, analyse_stack
from inference.headers import InstanceHeader
from inference.stack import build_stack, without_strays

CT_CLASSES = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
SECONDARY_CAPTURE_CLASSES = frozenset(
    {
        SecondaryCaptureImageStorage,
        MultiFrameSingleBitSecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)

_CT_INTERCEPT = -1000.0

# Words within the values of Image Type (0008,0008). LOCALIZER is the standard's (PS3.3 C.8.2.1.1.1).
_LOCALIZER_WORDS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM", "SCANO"})
# Observed in the field, with Enhanced CT's value 4 (PS3.3 C.8.16.1.4) among them. DERIVED alone is not listed:
# iterative reconstructions and anonymised originals are labelled so.
_DERIVED_WORDS = frozenset(
    {
        *("SECONDARY", "MPR", "REFORMATTED", "RESAMPLED", "CURVED", "CPR", "PROJECTION", "MIP", "MINIP"),
        *("MAX_IP", "MIN_IP", "VOLREN", "VRT", "SSD", "3D", "RENDERED", "SCREEN", "DOSE", "DOSE_INFO"),
        *("DOSE_REPORT", "PROTOCOL", "REPORT", "SUBTRACTION", "VOLUME_RENDER", "SURFACE_RENDER"),
        *("CURVED_MPR", "STREAKS", "RESULT"),
    }
)
_LOCALIZER_DESCRIPTION = re.compile(r"\b(scouts?|topograms?|topo|surviews?|scanograms?|locali[sz]ers?)\b", re.I)


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """One series in millimetres and degrees; None where the headers do not say.

    `modality` is the header's, or "CT" inferred where that element is missing. `secondary_reason` names what made
    the series secondary. `orientation` is axial, sagittal, coronal, oblique, "mixed" where slices are not
    parallel, or "" without positions; `angle_deg` is between slice normal and patient z. `instance_count` counts
    SOP Instances, `image_count` frames. `spacing_mm` is the typical distance of neighbouring positions,
    `largest_gap_mm` the largest one, `coverage_mm` the distance between the first and the last slice centre plus
    one spacing. `pixel_spacing_mm` is the larger of rows' and columns'. `is_bone_kernel` is None where the kernel
    is missing or unknown. `geometry_problem` is why `read_series` will refuse the series, or empty.
    """

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    description: str
    modality: str
    sop_class_uid: str
    is_ct: bool
    is_localizer: bool
    is_secondary: bool
    secondary_reason: str
    orientation: str
    angle_deg: float | None
    tilt_deg: float | None
    instance_count: int
    image_count: int
    slice_thickness_mm: float | None
    spacing_mm: float | None
    largest_gap_mm: float | None
    gap_count: int
    is_uneven: bool
    duplicate_count: int
    coverage_mm: float | None
    pixel_spacing_mm: float | None
    kernel: str
    is_bone_kernel: bool | None
    rows: int | None
    columns: int | None
    body_part_examined: str
    geometry_problem: str


def series_facts(headers: Sequence[InstanceHeader]) -> SeriesFacts:
    """The facts of one series from its instances' headers, in any order. Raises ValueError for none.

    A few strays (a scout filed under the series) count for nothing, as `read_series` leaves them out.
    """
    if not headers:
        raise ValueError("a series needs at least one instance")
    headers, _ = without_strays(headers)
    first = min(headers, key=lambda header: (not header.frames, header.sop_instance_uid))
    frames = [frame for header in headers for frame in header.frames]
    geometry = _geometry(frames)
    reasons = [_secondary_reason(header) for header in headers]
    return SeriesFacts(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        series_number=first.series_number,
        description=first.series_description,
        modality=first.modality or ("CT" if _is_ct(first) else ""),
        sop_class_uid=first.sop_class_uid,
        is_ct=_mostly(_is_ct(header) for header in headers),
        is_localizer=_mostly(_is_localizer(header) for header in headers),
        is_secondary=_mostly(bool(reason) for reason in reasons),
        secondary_reason=max(reasons, key=reasons.count) if _mostly(bool(reason) for reason in reasons) else "",
        orientation=_orientation(geometry),
        angle_deg=geometry.angle_deg if geometry else None,
        tilt_deg=geometry.tilt_deg if geometry else None,
        instance_count=len(headers),
        image_count=len(frames),
        slice_thickness_mm=_median([frame.slice_thickness_mm for frame in frames]),
        spacing_mm=geometry.spacing_mm if geometry else None,
        largest_gap_mm=geometry.largest_gap_mm if geometry else None,
        gap_count=len(geometry.gaps) if geometry else 0,
        is_uneven=geometry.is_uneven if geometry else False,
        duplicate_count=geometry.duplicate_count if geometry else 0,
        coverage_mm=_coverage(geometry),
        pixel_spacing_mm=_pixel_spacing(frames),
        kernel=first.convolution_kernel,
        is_bone_kernel=is_bone_kernel(first.convolution_kernel),
        rows=first.rows,
        columns=first.columns,
        body_part_examined=first.body_part_examined,
        geometry_problem=_geometry_problem(headers),
    )


# Siemens: a letter for the body region, one for the type, a sharpness: B70f, Br60d, Hr64, H60s.
_SIEMENS = re.compile(r"(?P<family>[A-Z][A-Z]?)(?P<sharpness>\d{2})[A-Z]?")
# Toshiba and Canon: FC30 to FC39 bone, FC80 to FC86 bone of high resolution.
_TOSHIBA = re.compile(r"FC(?P<number>\d{2})")
_LUNG_FAMILIES = frozenset({"BL", "QL"})
_GE = {"BONE": True, "BONEPLUS": True, "EDGE": True, "SOFT": False, "STANDARD": False, "DETAIL": False}
_GE |= {"LUNG": False, "CHEST": False}
_PHILIPS = {"D": True, "E": True, "YC": True, "YD": True, "YE": True, "A": False, "B": False, "C": False}
_PHILIPS |= {"L": False, "YA": False, "YB": False, "UA": False, "UB": False, "UC": False}


def is_bone_kernel(kernel: str) -> bool | None:
    """Whether a Convolution Kernel (0018,1210) sharpens for bone; None for a name that is not known here.

    The names are the vendors' own, observed in the field. Values after the first (Siemens: strength of the
    iterative reconstruction) do not matter.
    """
    name = kernel.split("\\")[0].strip().upper()
    if toshiba := _TOSHIBA.match(name):
        return 30 <= int(toshiba["number"]) <= 39 or 80 <= int(toshiba["number"]) <= 86
    if siemens := _SIEMENS.fullmatch(name):
        return int(siemens["sharpness"]) >= 60 and siemens["family"] not in _LUNG_FAMILIES
    if name in _PHILIPS:
        return _PHILIPS[name]
    if name in _GE:
        return _GE[name]
    return True if "BONE" in name else None


def _is_ct(header: InstanceHeader) -> bool:
    if not header.frames:
        return False
    if header.sop_class_uid not in ("", *SECONDARY_CAPTURE_CLASSES):
        return header.sop_class_uid in CT_CLASSES
    if header.modality:
        return header.modality == "CT"
    # Nothing says what it is. Only CT stores its values a thousand and more above what they mean.
    intercept = header.frames[0].rescale_intercept
    return intercept is not None and intercept <= _CT_INTERCEPT


def _is_localizer(header: InstanceHeader) -> bool:
    if _words(header) & _LOCALIZER_WORDS:
        return True
    # "AXIAL" in Image Type outweighs a description; protocols are named after their first step.
    return "AXIAL" not in header.image_type and bool(_LOCALIZER_DESCRIPTION.search(header.series_description))


def _secondary_reason(header: InstanceHeader) -> str:
    if header.sop_class_uid in SECONDARY_CAPTURE_CLASSES:
        return "a Secondary Capture"
    if _words(header) & _DERIVED_WORDS:
        return f"Image Type {'/'.join(header.image_type)}"
    return ""


def _words(header: InstanceHeader) -> set[str]:
    """The values of Image Type and the words within them: `CSA 3D EDITOR` has the word `3D`."""
    return {word for value in header.image_type for word in (value, *value.split(" "))}


def _geometry(frames: Sequence[FrameHeader]) -> StackGeometry | None:
    placed = [
        (frame.image_position, frame.image_orientation)
        for frame in frames
        if frame.image_position is not None and frame.image_orientation is not None
    ]
    try:
        return analyse_stack(*zip(*placed, strict=True)) if placed else None
    except ValueError:
        return None


def _orientation(geometry: StackGeometry | None) -> str:
    if geometry is None:
        return ""
    return "mixed" if geometry.orientation_spread_deg > 1.0 else geometry.orientation


def _coverage(geometry: StackGeometry | None) -> float | None:
    return geometry.coverage_mm + (geometry.spacing_mm or 0.0) if geometry else None


def _geometry_problem(headers: Sequence[InstanceHeader]) -> str:
    try:
        build_stack(headers)
    except GeometryUnsupported as error:
        return error.why
    return ""


def _pixel_spacing(frames: Sequence[FrameHeader]) -> float | None:
    return next((max(frame.pixel_spacing_mm) for frame in frames if frame.pixel_spacing_mm), None)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value]
    return float(np.median(known)) if known else None


def _mostly(answers: Iterable[bool]) -> bool:
    listed = list(answers)
    return sum(listed) * 2 > len(listed)
