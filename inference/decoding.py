"""The stored pixels of a file, frame by frame, as bit patterns.

Uncompressed pixels are read straight from their place in the file to their place in the volume; encapsulated ones are
cut into frames here and decoded: RLE by its segments, the usual lossless frames by decoders that several threads can
run at once (`inference.parallel_decoders`), and whatever is left by pydicom's plugins, of which none releases the
interpreter lock. Which goes first is measured (`tests/benchmarks/bench_reading.py`).

Memory: beside the caller's own, one instance's encoded bytes and one decoded frame for each thread.

What is missing is an error: a file that ends before its pixels do is never filled up with zeros.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from inference.codestream_headers import jpeg_2000_fault, jpeg_fault
from inference.errors import PixelDataUnreadable
from inference.headers import UNDEFINED_LENGTH, InstanceHeader, PixelDescription
from inference.parallel_decoders import Samples, decode_in_parallel
from inference.rle_segments import decode_rle

# Fastest first; a plugin that is not installed or fails is followed by the next.
PLUGINS: dict[str, tuple[str, ...]] = {
    JPEGBaseline8Bit: ("gdcm", "pylibjpeg", "pillow"),
    JPEGExtended12Bit: ("pylibjpeg", "gdcm"),
    JPEGLossless: ("gdcm", "pylibjpeg"),
    JPEGLosslessSV1: ("gdcm", "pylibjpeg"),
    JPEGLSLossless: ("pyjpegls", "pylibjpeg"),
    JPEGLSNearLossless: ("pyjpegls", "pylibjpeg"),
    JPEG2000Lossless: ("gdcm", "pylibjpeg"),
    JPEG2000: ("gdcm", "pylibjpeg"),
    HTJ2KLossless: ("pylibjpeg",),
    HTJ2KLosslessRPCL: ("pylibjpeg",),
    HTJ2K: ("pylibjpeg",),
}

_HEADER_CHECKS: dict[str, Callable[..., str]] = {
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), jpeg_fault),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), jpeg_fault),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), jpeg_2000_fault),
}
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"


class FrameSource:
    """The frames of one instance, ready to be read in any order and from several threads.

    Opening an encapsulated or deflated instance reads its encoded pixels once. Raises PixelDataUnreadable where
    they are not all there.
    """

    def __init__(self, header: InstanceHeader) -> None:
        self._header = header
        self._pixels = _described(header)
        self._encoded: list[bytes] | None = None
        self._inflated: bytes | None = None
        if header.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            self._inflated = _inflated(header, self._frame_bytes * header.number_of_frames)
        elif is_encapsulated(header):
            self._encoded = _encoded_frames(header, self._pixels)
        else:
            self._check_length()

    def frame(self, index: int, *, room: NDArray[np.uint16] | None = None) -> NDArray[np.unsignedinteger]:
        """Bit patterns [row, column] of frame `index` (from 0), uint8 or uint16, native byte order.

        `room` is a contiguous array of the frame's shape that may be written to: a 16-bit frame that needs no decoding
        is read into it and is it. Without room, or for any other frame, the answer is an array of its own.
        """
        if self._encoded is not None:
            return _decode(self._header, self._pixels, self._encoded[index])
        return self._native(index, room).reshape(self._header.rows or 0, self._header.columns or 0)

    @property
    def _frame_bytes(self) -> int:
        return (self._header.rows or 0) * (self._header.columns or 0) * (self._pixels.bits_allocated // 8)

    def _native(self, index: int, room: NDArray[np.uint16] | None) -> NDArray[np.unsignedinteger]:
        count, start = self._frame_bytes, self._frame_bytes * index
        dtype = self._stored_dtype()
        if self._inflated is not None:
            return np.frombuffer(self._inflated, dtype, count // dtype.itemsize, start)
        flat: NDArray[np.unsignedinteger]
        if room is not None and room.dtype == dtype:
            flat = room.reshape(-1)
        else:
            flat = np.empty(count // dtype.itemsize, dtype)
        got = _read_into(flat, self._header.file, (self._pixels.offset or 0) + start)
        if got != count:
            raise _unreadable(self._header, f"truncated: {got} of {count} bytes of frame {index + 1}")
        return flat if dtype.isnative else flat.astype(dtype.newbyteorder("="))

    def _stored_dtype(self) -> np.dtype[np.unsignedinteger]:
        order = ">" if self._header.transfer_syntax_uid == ExplicitVRBigEndian else "<"
        return np.dtype(f"{order}u{self._pixels.bits_allocated // 8}")

    def _check_length(self) -> None:
        header, pixels = self._header, self._pixels
        expected = self._frame_bytes * header.number_of_frames
        if pixels.offset is None or pixels.length is None:
            raise _unreadable(header, "has no Pixel Data (7FE0,0010)")
        present = max(min(pixels.length, header.file.stat().st_size - pixels.offset), 0)
        if present < expected:
            raise _unreadable(header, f"truncated: {present} of {expected} bytes of pixel data")


def _read_into(values: NDArray[np.unsignedinteger], file: Path, offset: int) -> int:
    """Fill the values with the file's bytes from the offset on; how many there were. Raises OSError."""
    with file.open("rb", buffering=0) as stream:
        return os.preadv(stream.fileno(), [values.view(np.uint8).data], offset)


def _described(header: InstanceHeader) -> PixelDescription:
    pixels = header.pixels
    if pixels is None or not header.rows or not header.columns:
        raise _unreadable(header, "is no image: it has no rows and columns")
    if header.samples_per_pixel != 1:
        raise _unreadable(header, f"has {header.samples_per_pixel} samples per pixel, expected 1")
    if pixels.bits_allocated not in (8, 16):
        raise _unreadable(header, f"has {pixels.bits_allocated} bits allocated, expected 8 or 16")
    return pixels


def is_encapsulated(header: InstanceHeader) -> bool:
    """Whether the pixels have to be decoded (PS3.5 A.4)."""
    return _is_encapsulated(header.transfer_syntax_uid)


@lru_cache(maxsize=64)
def _is_encapsulated(transfer_syntax_uid: str) -> bool:
    uid = UID(transfer_syntax_uid)
    return uid.is_transfer_syntax and uid.is_encapsulated


def _inflated(header: InstanceHeader, expected: int) -> bytes:
    """The pixel data of a deflated data set (PS3.5 A.5), which has to be inflated as a whole."""
    try:
        data = bytes(dcmread(header.file).get("PixelData", b""))
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise _unreadable(header, f"cannot be inflated: {error}") from error
    if len(data) < expected:
        raise _unreadable(header, f"truncated: {len(data)} of {expected} bytes of pixel data")
    return data


def _encoded_frames(header: InstanceHeader, pixels: PixelDescription) -> list[bytes]:
    """The encoded frames of an encapsulated value (PS3.5 A.4), one bytes object each."""
    if pixels.offset is None:
        raise _unreadable(header, "has no Pixel Data (7FE0,0010)")
    if pixels.length != UNDEFINED_LENGTH:
        raise _unreadable(header, "has pixel data of a defined length, expected encapsulated fragments")
    with header.file.open("rb") as stream:
        stream.seek(pixels.offset)
        value = stream.read()
    _offset_table, *fragments = _items(header, value)
    if len(fragments) == header.number_of_frames:
        return fragments
    if header.number_of_frames == 1 and fragments:
        return [b"".join(fragments)]
    return _joined_frames(header, pixels, value)


def _items(header: InstanceHeader, value: bytes) -> list[bytes]:
    """The basic offset table and the fragments.

    A missing sequence delimiter is forgiven, a missing byte is not.
    """
    found: list[bytes] = []
    at = 0
    while at + 8 <= len(value) and value[at : at + 4] == _ITEM:
        length = int.from_bytes(value[at + 4 : at + 8], "little")
        if at + 8 + length > len(value):
            present = len(value) - at - 8
            raise _unreadable(header, f"truncated: fragment {len(found)} has {present} of {length} bytes")
        found.append(value[at + 8 : at + 8 + length])
        at += 8 + length
    if not found:
        raise _unreadable(header, "truncated: no item in the encapsulated pixel data")
    rest = value[at : at + 4]
    if not (_SEQUENCE_DELIMITER.startswith(rest) or _ITEM.startswith(rest)):
        raise _unreadable(header, f"damaged: no item at byte {at} of the encapsulated pixel data")
    return found


def _joined_frames(header: InstanceHeader, pixels: PixelDescription, value: bytes) -> list[bytes]:
    """Frames of several fragments each, told apart by the offset tables or the codec's own markers."""
    try:
        count, offsets = header.number_of_frames, pixels.extended_offsets
        frames = list(generate_frames(value, number_of_frames=count, extended_offsets=offsets))
    except (ValueError, EOFError, struct.error) as error:
        raise _unreadable(header, f"frames cannot be told apart: {error}") from error
    if len(frames) != count:
        raise _unreadable(header, f"truncated: {len(frames)} of {count} frames")
    return frames


def _decode(header: InstanceHeader, pixels: PixelDescription, frame: bytes) -> NDArray[np.unsignedinteger]:
    if header.transfer_syntax_uid == RLELossless:
        return _decode_rle(header, pixels, frame)
    _check_codestream_header(header, pixels, frame)
    decoded_at_once = decode_in_parallel(frame, header.transfer_syntax_uid, _samples(header, pixels))
    return _decode_by_plugin(header, pixels, frame) if decoded_at_once is None else decoded_at_once


def _decode_by_plugin(header: InstanceHeader, pixels: PixelDescription, frame: bytes) -> NDArray[np.unsignedinteger]:
    decoder = _decoder(header)
    installed = decoder.available_plugins
    failures = []
    for plugin in PLUGINS.get(header.transfer_syntax_uid, installed):
        if plugin not in installed:
            continue
        try:
            decoded, _ = decoder.as_array(
                encapsulate([frame], has_bot=False), raw=True, decoding_plugin=plugin, **_options(header, pixels)
            )
        except (RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
            failures.append(" ".join(str(error).split()))
            continue
        size = pixels.bits_allocated // 8
        return decoded.astype(f"i{size}", copy=False).view(f"u{size}")
    raise _unreadable(header, "; ".join(["cannot be decoded", *failures, *_missing(decoder)]))


def _samples(header: InstanceHeader, pixels: PixelDescription) -> Samples:
    return Samples(
        rows=header.rows or 0,
        columns=header.columns or 0,
        bits_allocated=pixels.bits_allocated,
        bits_stored=pixels.bits_stored,
        is_signed=pixels.is_signed,
    )


def _decode_rle(header: InstanceHeader, pixels: PixelDescription, frame: bytes) -> NDArray[np.unsignedinteger]:
    rows, columns, size = header.rows or 0, header.columns or 0, pixels.bits_allocated // 8
    try:
        unpacked = decode_rle(frame, pixels=rows * columns, bytes_each=size)
    except ValueError as error:
        raise _unreadable(header, f"damaged: {error}") from error
    return unpacked.view(f"<u{size}").reshape(rows, columns)


def _check_codestream_header(header: InstanceHeader, pixels: PixelDescription, frame: bytes) -> None:
    check = _HEADER_CHECKS.get(header.transfer_syntax_uid)
    if check is None:
        return
    rows, columns = header.rows or 0, header.columns or 0
    fault = check(frame, rows=rows, columns=columns, bits_allocated=pixels.bits_allocated)
    if fault:
        raise _unreadable(header, f"damaged: {fault}")


def _options(header: InstanceHeader, pixels: PixelDescription) -> dict[str, Any]:
    """What pydicom has to know to decode one frame without its data set."""
    return {
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.photometric_interpretation or "MONOCHROME2",
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.is_signed),
        "pixel_keyword": "PixelData",
    }


def _decoder(header: InstanceHeader) -> Decoder:
    try:
        decoder = get_decoder(header.transfer_syntax_uid)
    except NotImplementedError as error:
        raise _unreadable(header, "no decoder exists for this transfer syntax") from error
    if not decoder.is_available:
        raise _unreadable(header, "; ".join(["no decoder is installed", *_missing(decoder)]))
    return decoder


def _missing(decoder: Decoder) -> list[str]:
    return [f"not installed: {plugin}" for plugin in decoder.missing_dependencies]


def _unreadable(header: InstanceHeader, why: str) -> PixelDataUnreadable:
    uid = header.transfer_syntax_uid
    name = UID(uid).name if uid else ""
    return PixelDataUnreadable(header.file, uid if name in ("", uid) else f"{name}, {uid}", why)
