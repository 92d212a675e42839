"""What an analysis leaves for the study page's viewer, in a folder of the job: the neck small enough to travel.

    ct.nii.gz          the CT around the spine, one byte a voxel, thinned where it was finer than a screen needs
    vertebrae.nii.gz   0 background, 1-7 = C1-C7, on the same grid
    suspicion.nii.gz   0 nothing, 1-3 the bands of suspicion, on the same grid; not there where no level is suspicious
    study.json         what stands beside them (`Viewing`); written last, so that where it is the others are

NIfTI-1 because browsers' viewers read it. None of the files names a patient. They lie in the job's folder, which
retention removes, and are made with the umask of the node.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CT, VERTEBRAE, SUSPICION, STUDY = "ct.nii.gz", "vertebrae.nii.gz", "suspicion.nii.gz", "study.json"
VOLUMES = (CT, VERTEBRAE, SUSPICION)
GRID = "grid.json"

LOWEST_HU, HU_A_STEP = -400, 8
"""A byte b of `ct.nii.gz` stands for LOWEST_HU + b * HU_A_STEP: up to 1640 HU, in steps below the noise of a scan."""

_UINT8 = 2
_HEADER_BYTES = 352
_SCANNER_ANATOMICAL = 1

Triple = tuple[int, int, int]
Point = tuple[float, float, float]
Matrix = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class ViewerGrid:
    """The viewer's voxels on the analysed grid: `shape_zyx` blocks of `step_zyx` voxels from `start_zyx` on.

    `affine_lps` maps the viewer's (x, y, z, 1) to LPS mm, at the middle of a block.
    """

    start_zyx: Triple
    step_zyx: Triple
    shape_zyx: Triple
    affine_lps: Matrix


@dataclass(frozen=True, kw_only=True)
class LevelPlace:
    """Where to look for a level: `point_mm_lps` on its key slice, which is `slice_index` of the analysed series."""

    level: str
    point_mm_lps: Point
    slice_index: int | None
    image_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Viewing:
    """`study.json`. `curve` has a number in [0, 1] for each slice of the analysed series, the lowest slice first:
    how suspicious its most suspicious place is, as a share of its level's peak times that level's probability.

    `axis_mm_lps` are the first and the last slice's points in the middle of the neck. Colours are (r, g, b).
    """

    grid: ViewerGrid
    levels: tuple[LevelPlace, ...]
    curve: tuple[float, ...]
    axis_mm_lps: tuple[Point, Point]
    level_colours: dict[str, Triple] = field(default_factory=dict)
    band_colours: dict[str, Triple] = field(default_factory=dict)
    has_suspicion: bool = False

    def as_json(self) -> dict[str, Any]:
        """For the page's script."""
        return asdict(self)


def write_grid(folder: Path, grid: ViewerGrid) -> None:
    """For whoever adds the overlays. Raises OSError."""
    _write_whole(folder / GRID, [json.dumps(asdict(grid)).encode()])


def read_grid(folder: Path) -> ViewerGrid:
    """Raises OSError, ValueError, KeyError or TypeError where it cannot be read."""
    return _grid(json.loads((folder / GRID).read_text()))


def write_viewing(folder: Path, viewing: Viewing) -> None:
    """The folder is complete. Raises OSError."""
    _write_whole(folder / STUDY, [json.dumps(viewing.as_json()).encode()])


def read_viewing(folder: Path) -> Viewing | None:
    """None where there is none, or one that this version did not write."""
    try:
        raw = json.loads((folder / STUDY).read_text())
        return Viewing(
            grid=_grid(raw["grid"]),
            levels=tuple(
                LevelPlace(**{**each, "point_mm_lps": _point(each["point_mm_lps"])}) for each in raw["levels"]
            ),
            curve=tuple(float(value) for value in raw["curve"]),
            axis_mm_lps=(_point(raw["axis_mm_lps"][0]), _point(raw["axis_mm_lps"][1])),
            level_colours={name: _triple(rgb) for name, rgb in raw["level_colours"].items()},
            band_colours={name: _triple(rgb) for name, rgb in raw["band_colours"].items()},
            has_suspicion=bool(raw["has_suspicion"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def viewer_folder(job_folder: Path) -> Path | None:
    """The complete folder of the job's latest attempt that has one."""
    complete = sorted(job_folder.glob(f"attempt-*/viewer/{STUDY}"), key=lambda path: (path.stat().st_mtime, str(path)))
    return complete[-1].parent if complete else None


def write_volume(
    file: Path, grid: ViewerGrid, planes: Iterable[bytes], *, slope: float = 1.0, first: float = 0.0
) -> None:
    """`file` holds the planes of `grid`, the lowest first, one byte a voxel [y, x]; a byte b stands for
    `first` + b * `slope`. Raises OSError, and ValueError where planes and grid do not fit.
    """
    wanted = grid.shape_zyx[0] * grid.shape_zyx[1] * grid.shape_zyx[2]
    packer = zlib.compressobj(level=1, wbits=31, strategy=zlib.Z_RLE)  # noise gains nothing from a search for repeats
    pieces, count = [packer.compress(_header(grid, slope, first))], 0
    for plane in planes:
        count += len(plane)
        pieces.append(packer.compress(plane))
    if count != wanted:
        raise ValueError(f"{file.name}: {count} voxels for a grid of {wanted}")
    _write_whole(file, [*pieces, packer.flush()])


def _header(grid: ViewerGrid, slope: float, first: float) -> bytes:
    """NIfTI-1, single file; coordinates are RAS+, so x and y of LPS change their signs."""
    z, y, x = grid.shape_zyx
    rows = [[-value for value in row] if axis < 2 else list(row) for axis, row in enumerate(grid.affine_lps[:3])]
    spacing = [sum(row[column] ** 2 for row in rows) ** 0.5 for column in range(3)]
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _UINT8, 8)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, float(_HEADER_BYTES), slope, first)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, _SCANNER_ANATOMICAL)
    for axis, row in enumerate(rows):
        struct.pack_into("<4f", header, 280 + 16 * axis, *row)
    header[344:348] = b"n+1\0"
    return bytes(header)


def _write_whole(file: Path, pieces: Sequence[bytes]) -> None:
    temporary = file.with_name(file.name + ".part")
    with temporary.open("wb") as writing:
        writing.writelines(pieces)
    os.replace(temporary, file)


def _grid(raw: dict[str, Any]) -> ViewerGrid:
    return ViewerGrid(
        start_zyx=_triple(raw["start_zyx"]),
        step_zyx=_triple(raw["step_zyx"]),
        shape_zyx=_triple(raw["shape_zyx"]),
        affine_lps=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in raw["affine_lps"]),
    )


def _triple(values: Sequence[Any]) -> Triple:
    a, b, c = values
    return int(a), int(b), int(c)


def _point(values: Sequence[Any]) -> Point:
    a, b, c = values
    return float(a), float(b), float(c)
