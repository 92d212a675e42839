"""A series of DICOM files becomes one volume of Hounsfield units whose affine is true everywhere.

1. Headers, unless the caller has them; from them the stack (`inference.stack`), or the reason why there is none.
2. The pixels, in parallel, straight into the int16 result: no second copy of the series exists. A slice that is not
   compressed, or was decoded before (`inference.decoded`), is read to where it stays and turned into Hounsfield units
   there.
3. Duplicates are compared with the slice that was preferred to them.
4. Where spacing is uneven or slices are missing, a regular grid is filled by linear interpolation along z.

Whatever was assumed or repaired on the way is a sentence in the notes. Whether a gap is too large to analyse is
for the selection to decide, from `inference.series_facts`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.decoded import InstanceFrames
from inference.decoding import is_encapsulated
from inference.errors import PixelDataUnreadable
from inference.geometry import GridPlan, StackGeometry, plan_grid
from inference.headers import InstanceHeader, PixelDescription, read_header
from inference.hounsfield import Padding, StoredValues, padding_of, to_hounsfield
from inference.stack import SourceFrame, Stack, build_stack
from inference.volume import Volume

Progress = Callable[[str, int, int], None]

_MAXIMUM_THREADS = 8
_MOST_AT_A_TIME = 8

_Task = tuple[SourceFrame, NDArray[np.int16]]
_Work = Callable[[SourceFrame, NDArray[np.int16]], set[str]]


@dataclass(frozen=True, kw_only=True)
class SliceRef:
    """The frame that a plane of the volume came from: what SR and SEG refer to.

    `frame_number` counts from 1 within its instance and is None for a classic instance.
    """

    sop_instance_uid: str
    sop_class_uid: str
    file: Path
    frame_number: int | None
    position_mm_lps: tuple[float, ...] | None
    instance_number: int | None


@dataclass(frozen=True, kw_only=True)
class SeriesVolume:
    """The volume, the source frame of each of its planes, and what had to be assumed or repaired.

    `slices[k]` is the frame at `volume.hu[k]`, or the nearest one where that plane was interpolated: in a series
    that was resampled a frame may stand at several planes, or at none. Of the compressed frames that were read
    `decoded_before` lay decoded already and `decoded_now` did not.
    """

    volume: Volume
    slices: tuple[SliceRef, ...]
    notes: tuple[str, ...]
    decoded_before: int = 0
    decoded_now: int = 0


def read_series(
    files_or_headers: Iterable[Path | str | InstanceHeader],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    decoded: Mapping[Path, Path] | None = None,
) -> SeriesVolume:
    """Read the instances of one series, given in any order, into a volume.

    z runs along the slice normal as `inference.geometry` defines it: for an axial series index 0 is the most
    inferior slice. `threads` defaults to the processors there are, at most eight. `progress` is called in the
    calling thread with ("read", frames done, frames in all). `decoded` says for an instance's file where its frames
    may lie decoded; what is not there or not right is decoded here, and the volume is the same.

    Raises UnreadableInstance for a file without a usable header, GeometryUnsupported where the instances are no
    stack of parallel slices of one size, PixelDataUnreadable where pixels are missing or cannot be decoded.
    """
    headers = [item if isinstance(item, InstanceHeader) else read_header(item) for item in files_or_headers]
    stack = build_stack(headers)
    workers = max(1, threads or min(os.cpu_count() or 1, _MAXIMUM_THREADS))
    pixels = _Pixels(stack, workers, progress, decoded or {})
    hu, pixel_notes = pixels.read()
    plan = plan_grid(stack.geometry.offsets_mm, stack.spacing_mm)
    notes = (*stack.notes, *pixel_notes, *_grid_notes(stack.geometry, plan))
    if not plan.is_identity:
        hu = _resampled(hu, plan)
    volume = Volume(
        hu=hu,
        affine_lps=stack.affine_lps(len(hu)),
        frame_of_reference_uid=stack.frames[0].instance.frame_of_reference_uid,
        notes=notes,
    )
    return SeriesVolume(
        volume=volume,
        slices=tuple(_reference(stack.frames[k]) for k in plan.nearest),
        notes=notes,
        decoded_before=pixels.were_decoded.count(True),
        decoded_now=pixels.were_decoded.count(False),
    )


def _each(work: _Work, tasks: Sequence[_Task]) -> list[set[str]]:
    return [work(frame, plane) for frame, plane in tasks]


class _Pixels:
    """Reads the frames of a stack in parallel, and counts what was odd about them.

    `were_decoded` has for each compressed frame that was read whether it lay decoded already.
    """

    def __init__(self, stack: Stack, workers: int, progress: Progress | None, decoded: Mapping[Path, Path]) -> None:
        self._stack = stack
        self._workers = workers
        self._progress = progress
        self._decoded = decoded
        self._shared: dict[str, InstanceFrames] = {}
        self._oddities: Counter[str] = Counter()
        self.were_decoded: list[bool] = []

    def read(self) -> tuple[NDArray[np.int16], tuple[str, ...]]:
        """HU [slice, row, column] in the order of the stack's frames, and the notes."""
        stack = self._stack
        instance = stack.frames[0].instance
        hu = np.empty((len(stack.frames), instance.rows or 0, instance.columns or 0), dtype=np.int16)
        self._open_multiframe()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="read") as pool:
            self._finish(pool, self._fill, [(frame, hu[k]) for k, frame in enumerate(stack.frames)])
            self._finish(pool, self._compare, [(frame, hu[k]) for k, frame in stack.duplicates], len(hu))
        return hu, tuple(text.format(count=count) for text, count in sorted(self._oddities.items()))

    def _open_multiframe(self) -> None:
        for frame in self._stack.frames:
            uid = frame.instance.sop_instance_uid
            if frame.instance.number_of_frames > 1 and uid not in self._shared:
                self._shared[uid] = self._opened(frame.instance)

    def _opened(self, instance: InstanceHeader) -> InstanceFrames:
        return InstanceFrames(instance, self._decoded.get(instance.file))

    def _finish(self, pool: ThreadPoolExecutor, work: _Work, tasks: Sequence[_Task], before: int = 0) -> None:
        """Do the work for each task, a few at a time: handing a thread one slice takes as long as reading it."""
        total, done = len(self._stack.frames) + len(self._stack.duplicates), before
        size = min(max(len(tasks) // (4 * self._workers), 1), _MOST_AT_A_TIME)
        futures = [pool.submit(_each, work, tasks[at : at + size]) for at in range(0, len(tasks), size)]
        try:
            for future in as_completed(futures):
                for oddities in future.result():
                    self._oddities.update(oddities)
                    done += 1
                    if self._progress is not None:
                        self._progress("read", done, total)
        finally:
            # Nothing is left to cancel unless a frame failed or the caller's progress raised.
            for future in futures:
                future.cancel()

    def _fill(self, frame: SourceFrame, out: NDArray[np.int16]) -> set[str]:
        instance = frame.instance
        source = self._shared.get(instance.sop_instance_uid) or self._opened(instance)
        patterns, was_decoded = source.frame(frame.index, room=out.view(np.uint16))
        if is_encapsulated(instance):
            self.were_decoded.append(was_decoded)
        meaning, oddities = _meaning(frame, patterns)
        to_hounsfield(patterns, meaning, out)
        return oddities

    def _compare(self, frame: SourceFrame, kept: NDArray[np.int16]) -> set[str]:
        other = np.empty_like(kept)
        oddities = self._fill(frame, other)
        if np.array_equal(other, kept):
            return oddities | {"{count} duplicate slices with identical pixels dropped"}
        return oddities | {
            "{count} slices dropped that share a position with one of a later acquisition or instance number, "
            "with other pixels"
        }


def _meaning(frame: SourceFrame, patterns: NDArray[np.unsignedinteger]) -> tuple[StoredValues, set[str]]:
    """What the frame's bit patterns stand for, and what is odd about it."""
    header, pixels = frame.header, frame.instance.pixels
    assert pixels is not None  # InstanceFrames refuses an instance without
    oddities = set()
    if header.rescale_slope is None or header.rescale_intercept is None:
        oddities.add("{count} slices without Rescale Slope or Intercept: 1 and 0 taken")
    if frame.instance.photometric_interpretation == "MONOCHROME1":
        # Concerns display only: Hounsfield units are the rescaled stored values all the same (PS3.3 C.7.6.3.1.2).
        oddities.add("{count} slices are MONOCHROME1: stored values taken as they are")
    slope = 1.0 if header.rescale_slope is None else header.rescale_slope
    try:
        meaning, padding = _stored(pixels, slope, header.rescale_intercept or 0.0)
    except ValueError as error:
        instance = frame.instance
        raise PixelDataUnreadable(instance.file, instance.transfer_syntax_uid, str(error)) from error
    if padding is None:
        return meaning, oddities
    honoured, why_not = _honoured(padding, patterns)
    return (padding.applied_to(meaning) if honoured else meaning), oddities | why_not


def _stored(pixels: PixelDescription, slope: float, intercept: float) -> tuple[StoredValues, Padding | None]:
    return _stored_as(
        (pixels.bits_allocated, pixels.bits_stored, pixels.high_bit, pixels.is_signed),
        (slope, intercept),
        (pixels.padding_value, pixels.padding_range_limit),
    )


@lru_cache(maxsize=64)
def _stored_as(
    layout: tuple[int, int, int, bool], rescale: tuple[float, float], padding: tuple[int | None, int | None]
) -> tuple[StoredValues, Padding | None]:
    """Worked out once for a series. Raises ValueError where the bits do not fit their container."""
    allocated, stored, high_bit, is_signed = layout
    meaning = StoredValues(
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        is_signed=is_signed,
        slope=rescale[0],
        intercept=rescale[1],
    )
    return meaning, padding_of(meaning, *padding)


def _honoured(padding: Padding, patterns: NDArray[np.unsignedinteger]) -> tuple[bool, set[str]]:
    """Padding that looks like a measurement counts only where it reaches a corner of the image.

    Padding fills what the reconstruction circle leaves of the square. Writers that put an ordinary value such as
    0 (water) in Pixel Padding Value without padding anything would else punch holes into the patient.
    """
    corners = patterns[[0, 0, -1, -1], [0, -1, 0, -1]]
    if padding.is_impossible_value or padding.contains(corners).any():
        return True, set()
    if not padding.contains(patterns).any():
        return False, set()
    return False, {"{count} slices hold their Pixel Padding Value inside the image only: taken as measured"}


def _resampled(hu: NDArray[np.int16], plan: GridPlan) -> NDArray[np.int16]:
    grid = np.empty((len(plan.lower), *hu.shape[1:]), dtype=np.int16)
    for plane, below, weight in zip(grid, plan.lower, plan.weight, strict=True):
        if weight == 0:
            plane[:] = hu[below]
        else:
            mixed = hu[below] * np.float32(1 - weight) + hu[below + 1] * np.float32(weight)
            plane[:] = np.rint(mixed)
    return grid


def _grid_notes(geometry: StackGeometry, plan: GridPlan) -> tuple[str, ...]:
    notes = [
        f"gap of {gap.mm:.1f} mm between slices {gap.before + 1} and {gap.before + 2}, "
        f"spacing elsewhere {geometry.spacing_mm:.2f} mm"
        for gap in geometry.gaps
    ]
    if not plan.is_identity:
        interpolated = int(np.count_nonzero(plan.weight))
        notes.append(
            f"uneven spacing: {len(geometry.groups)} slices put on a regular grid of {len(plan.lower)} planes, "
            f"{interpolated} of them interpolated"
        )
    return tuple(notes)


def _reference(frame: SourceFrame) -> SliceRef:
    return SliceRef(
        sop_instance_uid=frame.instance.sop_instance_uid,
        sop_class_uid=frame.instance.sop_class_uid,
        file=frame.instance.file,
        frame_number=frame.header.frame_number,
        position_mm_lps=frame.instance.image_position if frame.header.frame_number is None else None,
        instance_number=frame.instance.instance_number,
    )
