"""What each frame of an instance says of itself: one answer for classic and for Enhanced objects.

A classic CT Image has its position, spacing and rescale at the top level. An Enhanced CT Image (PS3.3 A.38) has
them in functional groups (C.7.6.16), each either shared by all frames or given per frame; the top level is the
last resort, for converters that leave a group out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from inference import elements
from inference.elements import Source


@dataclass(frozen=True, kw_only=True)
class FrameHeader:
    """Geometry (LPS mm) and rescale of one frame; None where the header does not say.

    `frame_number` counts from 1 as in the standard and is None for a classic instance. `pixel_spacing_mm` is
    (between rows, between columns), PS3.3 10.7.1.3. `stack_id` and `temporal_position_index` separate the stacks
    and time points that one Enhanced instance may hold.
    """

    frame_number: int | None
    image_orientation: tuple[float, ...] | None
    image_position: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slice_thickness_mm: float | None
    rescale_slope: float | None
    rescale_intercept: float | None
    convolution_kernel: str
    stack_id: str
    temporal_position_index: int | None


def frame_headers(dataset: Source) -> tuple[FrameHeader, ...]:
    """The frames in the order in which their pixels are stored."""
    count = max(elements.integer(dataset, "NumberOfFrames") or 1, 1)
    shared = elements.items(dataset, "SharedFunctionalGroupsSequence")
    per_frame = elements.items(dataset, "PerFrameFunctionalGroupsSequence")
    if not shared and not per_frame:
        classic = count == 1 and not elements.has(dataset, "NumberOfFrames")
        return tuple(_frame([dataset], None if classic else index + 1) for index in range(count))
    frames = []
    for index in range(count):
        groups = [*per_frame[index : index + 1], *shared[:1]]
        frames.append(_frame([*_macros(groups), dataset], index + 1))
    return tuple(frames)


_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTReconstructionSequence",
    "FrameContentSequence",
)


def _macros(groups: list[Dataset]) -> Iterator[Dataset]:
    """The items of the functional groups that matter here, per-frame ones before shared ones."""
    for group in groups:
        for keyword in _MACROS:
            yield from elements.items(group, keyword)[:1]


def _frame(sources: Sequence[Source], frame_number: int | None) -> FrameHeader:
    return FrameHeader(
        frame_number=frame_number,
        image_orientation=_numbers(sources, "ImageOrientationPatient", 6),
        image_position=_numbers(sources, "ImagePositionPatient", 3),
        pixel_spacing_mm=_positive(_numbers(sources, "PixelSpacing", 2)),
        slice_thickness_mm=_number(sources, "SliceThickness"),
        rescale_slope=_number(sources, "RescaleSlope"),
        rescale_intercept=_number(sources, "RescaleIntercept"),
        convolution_kernel=_kernel(sources),
        stack_id=next((value for source in sources if (value := elements.text(source, "StackID"))), ""),
        temporal_position_index=_temporal_position(sources),
    )


def _numbers(sources: Sequence[Source], keyword: str, count: int) -> tuple[float, ...] | None:
    found = (elements.numbers(source, keyword, count) for source in sources)
    return next((values for values in found if values is not None), None)


def _number(sources: Sequence[Source], keyword: str) -> float | None:
    found = (elements.number(source, keyword) for source in sources)
    return next((value for value in found if value is not None), None)


def _positive(spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return spacing if spacing and min(spacing) > 0 else None


def _kernel(sources: Sequence[Source]) -> str:
    """Multi-valued kernels (Siemens: `Br64d\\3`) keep all their values."""
    found = ("\\".join(elements.texts(source, "ConvolutionKernel")) for source in sources)
    return next((kernel for kernel in found if kernel), "")


def _temporal_position(sources: Sequence[Source]) -> int | None:
    """Temporal Position Index (0020,9128) is UL: its raw value is not text."""
    for source in sources:
        if elements.has(source, "TemporalPositionIndex"):
            value = source.get("TemporalPositionIndex") if isinstance(source, Dataset) else None
            return int(value) if isinstance(value, int) else None
    return None
