"""NIfTI-1 files of label masks, written and read by their affine alone (no orientation is assumed)."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES: Final = 352
_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_TYPES: Final = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


def write_nifti(path: Path, voxels: NDArray[np.uint8], affine_lps: NDArray[np.floating]) -> None:
    """uint8 [z, y, x] as NIfTI-1 (gzipped where `path` ends in .gz) with its sform in RAS.

    `affine_lps` maps (x, y, z, 1) indices to LPS mm and may be sheared, as a tilted gantry's is: the sform holds it.
    """
    voxels = np.ascontiguousarray(voxels, dtype=np.uint8)
    nz, ny, nx = voxels.shape
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, nx, ny, nz, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1.0, *np.linalg.norm(affine_lps[:3, :3], axis=0), 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<fff", header, 108, float(_HEADER_BYTES), 1.0, 0.0)
    header[123] = 2
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *(_TO_RAS @ affine_lps)[:3].ravel())
    header[344:348] = b"n+1\0"
    if path.suffix == ".gz":
        with gzip.GzipFile(path, "wb", compresslevel=3, mtime=0) as packed:
            packed.write(bytes(header) + voxels.tobytes())
    else:
        path.write_bytes(bytes(header) + voxels.tobytes())


def read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels [z, y, x] as stored and the LPS affine (4 x 4, of (x, y, z, 1) indices) of a 3D NIfTI-1 file.

    The sform says where the voxels lie, or where there is none the qform. Raises ValueError for what is no such file,
    has neither, or has a data type or scaling that masks do not have.
    """
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    order = "<" if raw[:4] == struct.pack("<i", 348) else ">"
    if len(raw) < _HEADER_BYTES or struct.unpack_from(f"{order}i", raw)[0] != 348 or raw[344:347] != b"n+1":
        raise ValueError(f"{path} is not a NIfTI-1 file")
    dims = struct.unpack_from(f"{order}8h", raw, 40)
    kind, (qform, sform) = struct.unpack_from(f"{order}h", raw, 70)[0], struct.unpack_from(f"{order}hh", raw, 252)
    offset, slope, intercept = struct.unpack_from(f"{order}fff", raw, 108)
    if dims[0] < 3 or any(n > 1 for n in dims[4 : dims[0] + 1]) or kind not in _TYPES:
        raise ValueError(f"{path} is not one volume of plain numbers (dimensions {dims}, type {kind})")
    if (sform <= 0 and qform <= 0) or slope not in (0.0, 1.0) or intercept:
        raise ValueError(f"{path} has neither sform nor qform, or scaled values")
    shape = (dims[3], dims[2], dims[1])
    voxels = np.frombuffer(raw, f"{order}{_TYPES[kind]}", int(np.prod(shape)), int(offset)).reshape(shape)
    rows = np.reshape(struct.unpack_from(f"{order}12f", raw, 280), (3, 4)) if sform > 0 else _qform(raw, order)
    return voxels, _TO_RAS @ np.vstack([rows, [0, 0, 0, 1]])


def _qform(raw: bytes, order: str) -> NDArray[np.float64]:
    """The first three rows of the affine to RAS mm that a header states as a rotation (NIfTI-1 standard, method 2)."""
    qfac, *sizes = struct.unpack_from(f"{order}4f", raw, 76)
    b, c, d, *offset = struct.unpack_from(f"{order}6f", raw, 256)
    a = max(0.0, 1.0 - (b * b + c * c + d * d)) ** 0.5
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    return np.column_stack([turn * (sizes[0], sizes[1], sizes[2] * (-1.0 if qfac < 0 else 1.0)), offset])
