"""Which series of a study may hold a cervical spine worth reading, best first.

Two steps: rules that reject a series, in a fixed order, each with the figures behind it; then a ranking of the
rest. Nothing here looks at Body Part Examined, Study or Series Description: they are wrong too often (observed in
the field). A head, chest or whole-body series therefore stays a candidate, and the model decides on the pixels.

A thick series is rejected even where it is the only one: a fracture line is thinner than such a slice, and a
negative answer read from it would be worth less than the plain statement that there was nothing to read.

How to edit: a new rule is a function that returns its detail (or None) and a row in `_RULES`; the order of the
rows decides which reason is given where several apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.core.finding import SeriesRejection
from dicom_node.core.series import SeriesFacts


@dataclass(frozen=True, kw_only=True)
class SelectionRules:
    """The limits. Lengths in mm, angles in degrees.

    `max_angle_deg` leaves room for gantry tilt and for stacks angled along the neck; sagittal and coronal are 90
    degrees away. A gap counts only where it exceeds both limits, so that uneven thin spacing is not a gap.
    """

    min_images: int = 20
    min_coverage_mm: float = 40.0
    max_angle_deg: float = 30.0
    max_thickness_mm: float = 3.0
    max_spacing_mm: float = 3.5
    max_gap_ratio: float = 2.5
    max_gap_mm: float = 4.0
    max_duplicate_fraction: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`candidates` are Series Instance UIDs, best first; every other series is in `rejected`, sorted by UID."""

    candidates: tuple[str, ...]
    rejected: tuple[SeriesRejection, ...]


def rank_series(facts: Sequence[SeriesFacts], rules: SelectionRules) -> Selection:
    """Sort the series of a study into candidates, best first, and rejected ones; the order of `facts` is irrelevant.

    Best: bone kernel before unknown before soft, then thin before thick (in steps of a quarter millimetre, so that
    0.6 and 0.625 mm are equals), then the longest coverage, then Series Number and UID, so that the answer is stable.
    """
    rejected, candidates = [], []
    for series in facts:
        rejection = reject(series, rules)
        if rejection is None:
            candidates.append(series)
        else:
            rejected.append(rejection)
    return Selection(
        candidates=tuple(series.series_instance_uid for series in sorted(candidates, key=_rank)),
        rejected=tuple(sorted(rejected, key=lambda rejection: rejection.series_instance_uid)),
    )


def reject(series: SeriesFacts, rules: SelectionRules) -> SeriesRejection | None:
    """The first rule that leaves the series out; None where it is a candidate."""
    for rule, check in _RULES:
        detail = check(series, rules)
        if detail is not None:
            return SeriesRejection(series_instance_uid=series.series_instance_uid, rule=rule, detail=detail)
    return None


def ranked_lower(series: SeriesFacts, chosen: SeriesFacts) -> SeriesRejection:
    """Why a candidate was not analysed: the figures of both, in the order of the ranking."""
    detail = f"{_figures(series)}; the chosen series has {_figures(chosen)}"
    return SeriesRejection(series_instance_uid=series.series_instance_uid, rule="ranked_lower", detail=detail)


def _not_ct(series: SeriesFacts, rules: SelectionRules) -> str | None:
    if series.is_ct:
        return None
    return f"modality {series.modality or 'not stated'}, and the images do not look like CT"


def _localizer(series: SeriesFacts, rules: SelectionRules) -> str | None:
    return f"a localizer of {_images(series.image_count)}" if series.is_localizer else None


def _secondary(series: SeriesFacts, rules: SelectionRules) -> str | None:
    if not series.is_secondary:
        return None
    return series.secondary_reason or "the image type says derived or secondary"


def _too_few_images(series: SeriesFacts, rules: SelectionRules) -> str | None:
    if series.image_count < rules.min_images:
        return f"{_images(series.image_count)}, at least {rules.min_images} are needed"
    if series.coverage_mm is not None and series.coverage_mm < rules.min_coverage_mm:
        return f"the images cover {series.coverage_mm:.0f} mm, at least {rules.min_coverage_mm:g} mm are needed"
    return None


def _non_axial(series: SeriesFacts, rules: SelectionRules) -> str | None:
    if series.angle_deg is None or series.angle_deg <= rules.max_angle_deg:
        return None
    name = f"{series.orientation}: " if series.orientation else ""
    return (
        f"{name}the slice normal is {series.angle_deg:.0f} degrees off the head-foot axis,"
        f" at most {rules.max_angle_deg:g} are read"
    )


def _too_thick(series: SeriesFacts, rules: SelectionRules) -> str | None:
    # Headers round: 3.0 mm is often stored as 3.0000001.
    tolerance_mm = 0.01
    thickness, spacing = series.slice_thickness_mm, series.spacing_mm
    if thickness is not None and thickness > rules.max_thickness_mm + tolerance_mm:
        return f"slice thickness {thickness:.2f} mm, at most {rules.max_thickness_mm:g} mm is read"
    if spacing is not None and spacing > rules.max_spacing_mm + tolerance_mm:
        return f"slice spacing {spacing:.2f} mm, at most {rules.max_spacing_mm:g} mm is read"
    return None


def _gaps(series: SeriesFacts, rules: SelectionRules) -> str | None:
    gap, spacing = series.largest_gap_mm, series.spacing_mm
    if gap is None or spacing is None or gap <= rules.max_gap_mm or gap <= rules.max_gap_ratio * spacing:
        return None
    return f"a gap of {gap:.1f} mm between slices that are {spacing:.2f} mm apart elsewhere"


def _duplicates(series: SeriesFacts, rules: SelectionRules) -> str | None:
    if series.duplicate_count <= rules.max_duplicate_fraction * series.image_count:
        return None
    return (
        f"{series.duplicate_count} of {series.image_count} images lie at a position taken already:"
        " interleaved phases or reconstructions"
    )


def _geometry(series: SeriesFacts, rules: SelectionRules) -> str | None:
    if series.geometry_problem:
        return series.geometry_problem
    missing = [
        name
        for name, value in (("slice orientation", series.angle_deg), ("slice spacing", series.spacing_mm))
        if value is None
    ]
    return f"the headers give no {' and no '.join(missing)}" if missing else None


_Check = Callable[[SeriesFacts, SelectionRules], str | None]

_RULES: tuple[tuple[str, _Check], ...] = (
    ("not_ct", _not_ct),
    ("localizer", _localizer),
    ("secondary", _secondary),
    ("too_few_images", _too_few_images),
    ("non_axial", _non_axial),
    ("too_thick", _too_thick),
    ("gaps", _gaps),
    ("duplicates", _duplicates),
    ("geometry", _geometry),
)

RULE_NAMES: tuple[str, ...] = tuple(name for name, _ in _RULES)

_KERNEL_RANK = {True: 0, None: 1, False: 2}


def _rank(series: SeriesFacts) -> tuple[int, int, float, float, str]:
    number = float("inf") if series.series_number is None else float(series.series_number)
    return (
        _KERNEL_RANK[series.is_bone_kernel],
        round((_thinness_mm(series) or 99.0) / 0.25),
        -(series.coverage_mm or 0.0),
        number,
        series.series_instance_uid,
    )


def _thinness_mm(series: SeriesFacts) -> float | None:
    return series.slice_thickness_mm if series.slice_thickness_mm is not None else series.spacing_mm


def _figures(series: SeriesFacts) -> str:
    kernel = {True: "bone kernel", False: "soft kernel", None: "unknown kernel"}[series.is_bone_kernel]
    named = f"{kernel} {series.kernel}" if series.kernel else kernel
    thinness = _thinness_mm(series)
    thick = "unknown thickness" if thinness is None else f"{thinness:.2f} mm slices"
    cover = "unknown coverage" if series.coverage_mm is None else f"{series.coverage_mm:.0f} mm coverage"
    return f"{named}, {thick}, {cover}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
