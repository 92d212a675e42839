"""Decoders that let the interpreter go: JPEG Lossless, JPEG-LS and reversible JPEG 2000 frames, in as many threads as
there are processors.

The plugins that pydicom knows hold the interpreter lock while they decode, so a second thread gains nothing from them.
imagecodecs drives a JPEG Lossless decoder, CharLS and OpenJPEG without it. What it is given it answers exactly as
the plugins do, and only that: the frame's own marker segments say whether (ITU-T T.81 B.2, T.87 C.2, T.800 A.5, A.6).
Everything else gets None here and goes to the plugins, a frame that fails here as well: they say what is wrong with it,
in the words they always had.

- The samples have the bits that the data set announces, or the whole container's; a signed JPEG Lossless or JPEG-LS
  frame the whole container's, for only then is the sign where everybody looks for it.
- The frame ends in its end marker: one that was cut short may be filled up without a word.
- JPEG Lossless has no restart intervals and no point transform: not every decoder heeds them.
- JPEG 2000 is reversible: of the irreversible wavelet two builds of OpenJPEG may round differently.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

_JPEG_START, _END = b"\xff\xd8", b"\xff\xd9"
_LOSSLESS_FRAME, _JPEG_LS_FRAME, _SCAN, _RESTART_INTERVAL = 0xC3, 0xF7, 0xDA, 0xDD
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_CODING_STYLE, _FIRST_TILE = 0x52, 0x90
_REVERSIBLE = 1


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a data set says about the samples of its frames."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool


def decode_in_parallel(frame: bytes, syntax: str, samples: Samples) -> NDArray[np.unsignedinteger] | None:
    """Bit patterns [row, column] of an encoded frame, uint8 or uint16; None where it is for the plugins to decode.

    May be called from several threads at once, which then run at once.
    """
    known = _DECODERS.get(syntax)
    if known is None or not frame.endswith((_END, _END + b"\0")):
        return None
    is_fit, decode = known
    try:
        if not is_fit(frame, samples):
            return None
        decoded = decode(frame)
    except (RuntimeError, ValueError, struct.error, IndexError):
        return None
    size = samples.bits_allocated // 8
    if decoded.shape != (samples.rows, samples.columns) or decoded.dtype.itemsize != size:
        return None
    return decoded.view(f"u{size}")


def _is_plain_jpeg_lossless(frame: bytes, samples: Samples) -> bool:
    return _is_plain_jpeg(frame, samples, _LOSSLESS_FRAME)


def _is_plain_jpeg_ls(frame: bytes, samples: Samples) -> bool:
    return _is_plain_jpeg(frame, samples, _JPEG_LS_FRAME)


def _is_plain_jpeg(frame: bytes, samples: Samples, frame_marker: int) -> bool:
    """One frame of one component whose samples are what the data set says, in one scan."""
    if not frame.startswith(_JPEG_START):
        return False
    precision, at = 0, 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", frame, at)
        if fill != 0xFF or length < 2 or marker == _RESTART_INTERVAL:
            return False
        if marker == frame_marker:
            precision, *size, components = struct.unpack_from(">BHHB", frame, at + 4)
            if size != [samples.rows, samples.columns] or components != 1:
                return False
        elif marker == _SCAN:
            point_transform = frame[at + 1 + length]
            return point_transform == 0 and _is_announced(precision, samples, must_fill=samples.is_signed)
        at += 2 + length


def _is_reversible_jpeg_2000(frame: bytes, samples: Samples) -> bool:
    if not frame.startswith(_JPEG_2000_START):
        return False
    (right, bottom, left, top) = struct.unpack_from(">4I", frame, 8)
    (components,) = struct.unpack_from(">H", frame, 40)
    is_signed, precision = bool(frame[42] & 0x80), (frame[42] & 0x7F) + 1
    if (bottom - top, right - left, components) != (samples.rows, samples.columns, 1):
        return False
    if is_signed != samples.is_signed or not _is_announced(precision, samples, must_fill=False):
        return False
    at = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", frame, at)
        if fill != 0xFF or length < 2 or marker == _FIRST_TILE:
            return False
        if marker == _CODING_STYLE:
            return frame[at + 13] == _REVERSIBLE
        at += 2 + length


def _is_announced(precision: int, samples: Samples, *, must_fill: bool) -> bool:
    """Whether samples of so many bits come out in the data set's container with the meaning it gives them."""
    if precision == samples.bits_allocated:
        return True
    fits = samples.bits_allocated - 8 < precision < samples.bits_allocated
    return fits and precision == samples.bits_stored and not must_fill


_Fit = Callable[[bytes, Samples], bool]
_Decode = Callable[[bytes], NDArray[Any]]
_DECODERS: dict[str, tuple[_Fit, _Decode]] = {
    JPEGLossless: (_is_plain_jpeg_lossless, imagecodecs.jpegsof3_decode),
    JPEGLosslessSV1: (_is_plain_jpeg_lossless, imagecodecs.jpegsof3_decode),
    JPEGLSLossless: (_is_plain_jpeg_ls, imagecodecs.jpegls_decode),
    JPEGLSNearLossless: (_is_plain_jpeg_ls, imagecodecs.jpegls_decode),
    JPEG2000Lossless: (_is_reversible_jpeg_2000, imagecodecs.jpeg2k_decode),
    JPEG2000: (_is_reversible_jpeg_2000, imagecodecs.jpeg2k_decode),
}
