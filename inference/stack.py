"""Which frames of a series make up its volume, and whether they form one stack of parallel slices.

Decisions from headers alone; the pixels come later, in `inference.reading`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.errors import GeometryUnsupported
from inference.functional_groups import FrameHeader
from inference.geometry import StackGeometry, affine_lps, analyse_stack
from inference.headers import InstanceHeader

MINIMUM_SLICES = 2
ORIENTATION_TOLERANCE_DEG = 0.5
PIXEL_SPACING_TOLERANCE = 1e-3
OFF_LINE_TOLERANCE_MM = 1.0
# A scout or a stray reformat in a series must not keep its 300 slices from being read; a series in which a tenth is
# different is not one stack.
STRAY_SHARE = 0.1
STRAY_TOLERANCE = 0.05  # of a direction cosine, or mm of pixel spacing
# Beyond this many planes for each slice a regular grid would be mostly invented.
MAXIMUM_PLANES_PER_SLICE = 4

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class SourceFrame:
    """One frame of the series: its instance, and its place in it (from 0)."""

    instance: InstanceHeader
    index: int

    @property
    def header(self) -> FrameHeader:
        return self.instance.frames[self.index]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """The frames of a volume in ascending order, one for each position.

    `duplicates` are the frames that another one was preferred to, each with the index of that one in `frames`.
    """

    frames: tuple[SourceFrame, ...]
    duplicates: tuple[tuple[int, SourceFrame], ...]
    geometry: StackGeometry
    notes: tuple[str, ...]

    @property
    def spacing_mm(self) -> float:
        assert self.geometry.spacing_mm is not None  # build_stack refuses a single position
        return self.geometry.spacing_mm

    def affine_lps(self, planes: int) -> NDArray[np.float64]:
        """The affine of a regular grid of so many planes from the first slice to the last."""
        first, last = self.frames[0].header, self.frames[-1].header
        return affine_lps(
            orientation=first.image_orientation or (),
            pixel_spacing_mm=first.pixel_spacing_mm or (),
            first_position=first.image_position or (),
            last_position=last.image_position or (),
            planes=planes,
        )


def build_stack(headers: Iterable[InstanceHeader]) -> Stack:
    """The stack that the instances of one series form; the order in which they are given does not matter.

    Where an Enhanced instance holds several stacks or time points the one with the most frames is taken. Where
    frames share a position, the one with the highest Acquisition Number is, then the highest Instance Number.
    A few strays of another orientation, size or place are left out with a note (see `without_strays`).
    Raises GeometryUnsupported with the value found and the one expected.
    """
    ordered = sorted(headers, key=lambda header: (header.sop_instance_uid, str(header.file)))
    series = _only_series(ordered)
    ordered, stray_notes = without_strays(ordered)
    frames, notes = _image_frames(ordered)
    frames, stack_notes = _largest_stack(frames)
    geometry = _checked_geometry(series, frames)
    kept, duplicates = _one_for_each_position(frames, geometry)
    return Stack(
        frames=kept,
        duplicates=duplicates,
        geometry=geometry,
        notes=(*stray_notes, *notes, *stack_notes, *_frame_of_reference_notes(ordered)),
    )


def without_strays(headers: Sequence[InstanceHeader]) -> tuple[list[InstanceHeader], tuple[str, ...]]:
    """The instances that share orientation, matrix and pixel spacing with nine in ten of the series, and a note.

    Scanners file a scout or a single reformat under the series they belong to. Where no kind makes up nine in ten
    all are returned, and what is wrong with them is for the caller to say.
    """
    images = [header for header in headers if header.frames]
    if not images:
        return list(headers), ()
    typical = Counter(map(_kind, images)).most_common(1)[0][0]
    example = min((header for header in images if _kind(header) == typical), key=lambda header: header.sop_instance_uid)
    strays = {id(header) for header in images if not _could_be_neighbours(header, example)}
    if not 0 < len(strays) <= STRAY_SHARE * len(images):
        return list(headers), ()
    note = f"{len(strays)} images of another orientation, size or pixel spacing, or without a position, left out"
    return [header for header in headers if id(header) not in strays], (note,)


def _kind(header: InstanceHeader) -> Hashable:
    frame = header.frames[0]
    return header.rows, header.columns, frame.image_orientation, frame.pixel_spacing_mm, frame.image_position is None


def _could_be_neighbours(one: InstanceHeader, other: InstanceHeader) -> bool:
    """Coarser than what a stack demands: slices of one stack are never strays of each other."""
    here, there = one.frames[0], other.frames[0]
    pairs = ((here.image_orientation, there.image_orientation), (here.pixel_spacing_mm, there.pixel_spacing_mm))
    return (
        (one.rows, one.columns) == (other.rows, other.columns)
        and (here.image_position is None) == (there.image_position is None)
        and all(a == b or _nearly_equal(a, b) for a, b in pairs)
    )


def _nearly_equal(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> bool:
    return (a is None) == (b is None) and np.allclose(a or 0, b or 0, atol=STRAY_TOLERANCE)


def _only_series(headers: Sequence[InstanceHeader]) -> str:
    uids = {header.series_instance_uid for header in headers}
    if len(uids) != 1:
        raise GeometryUnsupported(", ".join(sorted(uids)), f"{len(uids)} series given, expected one")
    return uids.pop()


def _image_frames(headers: Sequence[InstanceHeader]) -> tuple[list[SourceFrame], tuple[str, ...]]:
    frames = [SourceFrame(instance=header, index=index) for header in headers for index in range(len(header.frames))]
    without = sum(not header.frames for header in headers)
    return frames, (f"{without} instances without an image left out",) if without else ()


def _largest_stack(frames: list[SourceFrame]) -> tuple[list[SourceFrame], tuple[str, ...]]:
    stacks = _grouped(frames, [(f.header.stack_id, f.header.temporal_position_index or 0) for f in frames])
    if len(stacks) < 2:
        return frames, ()
    # The first of equals by its identifiers, so that the choice does not depend on the order of the files.
    (stack_id, time), chosen = max(sorted(stacks.items()), key=lambda item: len(item[1]))
    note = (
        f"{len(stacks)} stacks or time points in the series: stack {stack_id or '(no ID)'}, time point {time or 1} "
        f"with {len(chosen)} of {len(frames)} frames was read"
    )
    return chosen, (note,)


def _checked_geometry(series: str, frames: list[SourceFrame]) -> StackGeometry:
    _demand_slices(series, len(frames))
    _demand_headers(series, frames)
    geometry = _analysed(series, frames)
    if geometry.orientation_spread_deg > ORIENTATION_TOLERANCE_DEG:
        raise GeometryUnsupported(
            series,
            f"mixed orientations: slices differ by {geometry.orientation_spread_deg:.1f} degrees, "
            f"expected at most {ORIENTATION_TOLERANCE_DEG}",
        )
    _demand_slices(series, len(geometry.groups))
    if geometry.off_line_mm > OFF_LINE_TOLERANCE_MM:
        raise GeometryUnsupported(
            series,
            f"positions lie up to {geometry.off_line_mm:.1f} mm off a line, expected {OFF_LINE_TOLERANCE_MM}",
        )
    _demand_finite_grid(series, geometry)
    return geometry


def _demand_slices(series: str, count: int) -> None:
    if count < MINIMUM_SLICES:
        raise GeometryUnsupported(series, f"{count} slices at different positions, expected {MINIMUM_SLICES}")


def _demand_headers(series: str, frames: list[SourceFrame]) -> None:
    for keyword, name in (
        ("image_position", "Image Position (Patient) (0020,0032)"),
        ("image_orientation", "Image Orientation (Patient) (0020,0037)"),
        ("pixel_spacing_mm", "Pixel Spacing (0028,0030)"),
    ):
        missing = sum(getattr(frame.header, keyword) is None for frame in frames)
        if missing:
            raise GeometryUnsupported(series, f"{missing} of {len(frames)} slices have no {name}")
    sizes = sorted({(frame.instance.rows or 0, frame.instance.columns or 0) for frame in frames})
    if len(sizes) > 1:
        listed = ", ".join(f"{rows} x {columns}" for rows, columns in sizes)
        raise GeometryUnsupported(series, f"mixed matrix sizes: {listed} (rows x columns), expected one")
    spacings = np.array([frame.header.pixel_spacing_mm for frame in frames])
    if np.ptp(spacings, axis=0).max() > PIXEL_SPACING_TOLERANCE * spacings.min():
        raise GeometryUnsupported(
            series,
            f"mixed pixel spacings: {spacings.min():.4f} to {spacings.max():.4f} mm, expected one",
        )


def _analysed(series: str, frames: list[SourceFrame]) -> StackGeometry:
    try:
        return analyse_stack(
            [frame.header.image_position or () for frame in frames],
            [frame.header.image_orientation or () for frame in frames],
        )
    except ValueError as error:
        raise GeometryUnsupported(series, str(error)) from error


def _demand_finite_grid(series: str, geometry: StackGeometry) -> None:
    assert geometry.spacing_mm is not None
    planes, slices = round(geometry.coverage_mm / geometry.spacing_mm) + 1, len(geometry.groups)
    if planes > MAXIMUM_PLANES_PER_SLICE * slices:
        raise GeometryUnsupported(
            series,
            f"{slices} slices {geometry.spacing_mm:.2f} mm apart are spread over {geometry.coverage_mm:.0f} mm "
            f"(largest gap {geometry.largest_gap_mm:.0f} mm): a regular grid would be mostly interpolated",
        )


def _one_for_each_position(
    frames: list[SourceFrame], geometry: StackGeometry
) -> tuple[tuple[SourceFrame, ...], tuple[tuple[int, SourceFrame], ...]]:
    kept: list[SourceFrame] = []
    duplicates: list[tuple[int, SourceFrame]] = []
    for place, group in enumerate(geometry.groups):
        first, *others = sorted((frames[index] for index in group), key=_preference, reverse=True)
        kept.append(first)
        duplicates.extend((place, other) for other in others)
    return tuple(kept), tuple(duplicates)


def _preference(frame: SourceFrame) -> tuple[int, int, str, int]:
    """The latest acquisition, then the latest instance: what a scanner repeats, it repeats for a reason."""
    instance = frame.instance
    acquisition = -1 if instance.acquisition_number is None else instance.acquisition_number
    number = -1 if instance.instance_number is None else instance.instance_number
    return acquisition, number, instance.sop_instance_uid, frame.index


def _frame_of_reference_notes(headers: Sequence[InstanceHeader]) -> tuple[str, ...]:
    uids = {header.frame_of_reference_uid for header in headers} - {""}
    if len(uids) < 2:
        return ()
    return (f"{len(uids)} Frame of Reference UIDs in the series, expected one: the first slice's is used",)


def _grouped(frames: list[SourceFrame], keys: list[_Key]) -> dict[_Key, list[SourceFrame]]:
    groups: dict[_Key, list[SourceFrame]] = {}
    for frame, key in zip(frames, keys, strict=True):
        groups.setdefault(key, []).append(frame)
    return groups
