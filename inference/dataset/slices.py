"""The slices of a study one by one, from headers alone: as they lie in the folder, and as they lie in the patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.dataset.rsna_study import dicom_files
from inference.errors import GeometryUnsupported, UnreadableInstance
from inference.geometry import affine_lps
from inference.headers import UNDEFINED_LENGTH, InstanceHeader, read_header
from inference.stack import Stack, build_stack

_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_TAIL_BYTES: Final = 65_536


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderSlice:
    """One file: its number (None where its name is none), its header, and what is wrong with it (None: nothing).

    A file without a usable header has none.
    """

    file: Path
    header: InstanceHeader | None
    damage: str | None

    @property
    def number(self) -> int | None:
        """The number in the file's name."""
        return int(self.file.stem) if self.file.stem.isdigit() else None


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedSlice:
    """One slice of a stack, `position` from the most inferior (0).

    `affine_lps` maps (x, y, 0, 1) pixel-centre indices of the slice to LPS mm. `spacing_mm` is the distance to the
    next slice, of the last one to the one before.
    """

    number: int | None
    position: int
    header: InstanceHeader
    affine_lps: NDArray[np.float64]
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.header.rows or 0, self.header.columns or 0


@dataclass(frozen=True, kw_only=True)
class StudySlices:
    """The slices of a study. `placed` is empty where they form no stack; `notes` say why, and what was left out.

    `direction` is 1 where the files' numbers rise towards the head, -1 where they fall.
    """

    files: tuple[FolderSlice, ...]
    placed: tuple[PlacedSlice, ...]
    direction: int
    notes: tuple[str, ...]


def study_slices(folder: Path) -> StudySlices:
    """The slices of a study's folder. No pixels are decoded; a file whose pixels are cut off counts as damaged."""
    files = tuple(_looked_at(path) for path in dicom_files(folder))
    damaged = tuple(f"{slice_.file.name}: {slice_.damage}" for slice_ in files if slice_.damage)
    usable = [slice_.header for slice_ in files if slice_.header is not None and not slice_.damage]
    try:
        stack = build_stack(usable)
    except GeometryUnsupported as error:
        return StudySlices(files=files, placed=(), direction=1, notes=(*damaged, error.why))
    placed = _placed(stack)
    notes = (*damaged, *stack.notes, *_duplicate_notes(stack))
    return StudySlices(files=files, placed=placed, direction=_direction(placed), notes=notes)


def _looked_at(path: Path) -> FolderSlice:
    try:
        header = read_header(path)
    except UnreadableInstance as error:
        return FolderSlice(file=path, header=None, damage=error.why)
    return FolderSlice(file=path, header=header, damage=_damage(header))


def _damage(header: InstanceHeader) -> str | None:
    """What a look at the file's length says about its pixels; None for nothing."""
    pixels = header.pixels
    if pixels is None:
        return "no image"
    if pixels.offset is None or pixels.length is None:
        return None  # a deflated data set: only decoding tells
    size = header.file.stat().st_size
    if pixels.length != UNDEFINED_LENGTH:
        missing = pixels.offset + pixels.length - size
        return f"{missing} bytes of its pixels are missing" if missing > 0 else None
    with header.file.open("rb") as file:
        file.seek(max(pixels.offset, size - _TAIL_BYTES))
        return None if _DELIMITER in file.read() else "the end of its compressed pixels is missing"


def _placed(stack: Stack) -> tuple[PlacedSlice, ...]:
    offsets = np.asarray(stack.geometry.offsets_mm)
    steps = np.diff(offsets)
    spacings = [*steps, steps[-1]]
    out = []
    for position, (frame, spacing) in enumerate(zip(stack.frames, spacings, strict=True)):
        where = frame.header
        corner = np.asarray(where.image_position or (), dtype=float)
        affine = affine_lps(
            orientation=where.image_orientation or (),
            pixel_spacing_mm=where.pixel_spacing_mm or (),
            first_position=corner,
            last_position=corner + stack.geometry.direction * float(spacing),
            planes=2,
        )
        name = frame.instance.file.stem
        out.append(
            PlacedSlice(
                number=int(name) if name.isdigit() else None,
                position=position,
                header=frame.instance,
                affine_lps=affine,
                spacing_mm=float(spacing),
            )
        )
    return tuple(out)


def _direction(placed: Iterable[PlacedSlice]) -> int:
    numbers = [slice_.number for slice_ in placed if slice_.number is not None]
    return -1 if numbers and numbers[-1] < numbers[0] else 1


def _duplicate_notes(stack: Stack) -> tuple[str, ...]:
    return (f"{len(stack.duplicates)} duplicate slices left out",) if stack.duplicates else ()
