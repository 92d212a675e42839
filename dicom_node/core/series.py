"""What is known of a series before a model looks at it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """Facts read from the headers of one series; None where the headers are silent.

    `spacing_mm` is the median distance between neighbouring slice positions along the normal (slice spacing, not
    slice thickness); `angle_deg` lies between the slice normal and the patient's head-foot axis;
    `coverage_mm` is measured along the normal from first to last slice position plus one spacing.
    """

    series_instance_uid: str
    is_ct: bool
    modality: str = ""
    is_localizer: bool = False
    is_secondary: bool = False
    secondary_reason: str = ""
    orientation: str = ""
    angle_deg: float | None = None
    image_count: int = 0
    slice_thickness_mm: float | None = None
    spacing_mm: float | None = None
    largest_gap_mm: float | None = None
    duplicate_count: int = 0
    coverage_mm: float | None = None
    pixel_spacing_mm: float | None = None
    kernel: str = ""
    is_bone_kernel: bool | None = None
    series_number: int | None = None
    description: str = ""
    geometry_problem: str = ""
