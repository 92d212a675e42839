"""Frames that were decoded before anybody asked for them, one file an instance: a cache, and never more than that.

A reader takes a frame from such a file where everything about it is right, and decodes the instance itself otherwise:
with the file and without it the answer is the same, bit for bit. So the file is written without a sync, and may be cut,
damaged, of another version or gone at any time.

    offset  bytes
    0       8      magic
    8       32     SHA-256 of the instance's data set, which is also the file's name
    40      16     what decoded it: the transfer syntax, the decoders' versions, and our own code that drives them
    56      16     rows, columns, frames, bytes of a sample, each unsigned, little endian
    72      4 n    CRC-32 of each frame
    ..      4      CRC-32 of all that stands before
    ..             the frames as bit patterns, little endian, one behind the other

How to edit safely: another layout gets another magic. A change of how frames are decoded needs nothing: the source of
the modules that do it is part of what is compared.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import sys
import zlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference import codestream_headers, decoding, parallel_decoders, rle_segments
from inference.decoding import FrameSource
from inference.errors import PixelDataUnreadable
from inference.headers import InstanceHeader

_MAGIC = b"CSPDEC02"
# As the node names them (core.data_set_digest), which inference must not import.
_DIGEST = re.compile(r"b3-[0-9a-f]{60}|[0-9a-f]{64}")
_layout = struct.Struct("<8s64s16s4L")
_crc = struct.Struct("<L")
_OUR_CODE = (decoding, parallel_decoders, rle_segments, codestream_headers)
_PACKAGES = (
    *("imagecodecs", "pydicom", "python-gdcm", "pyjpegls", "pillow"),
    *("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
)


class NoRoom(Exception):
    """The frames take more than they may."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"the decoded frames take {needed_bytes} bytes")
        self.needed_bytes = needed_bytes


def store_frames(header: InstanceHeader, target: Path, *, most_bytes: int) -> int:
    """`target`, named by the SHA-256 of the instance's data set, holds all frames of the instance; returns its size.

    Written beside it and renamed, for its owner alone. Whatever is raised, there is no new file: PixelDataUnreadable
    where one frame cannot be decoded, NoRoom where the file would be larger than `most_bytes`, OSError.
    """
    source = FrameSource(header)
    promise, shape = _promise(header, target.stem), (header.rows or 0, header.columns or 0)
    dtype = np.dtype(f"<u{_sample_bytes(header)}")
    size = _head_bytes(header) + header.number_of_frames * _frame_bytes(header)
    if size > most_bytes:
        raise NoRoom(size)
    part = target.with_suffix(".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as stream:
            stream.seek(_head_bytes(header))
            checks = []
            for index in range(header.number_of_frames):
                frame = source.frame(index)
                if frame.shape != shape or frame.dtype.itemsize != dtype.itemsize:
                    found = f"{frame.dtype} of shape {frame.shape}"
                    raise PixelDataUnreadable(header.file, header.transfer_syntax_uid, f"decodes to {found}")
                content = np.ascontiguousarray(frame, dtype).view(np.uint8).data
                checks.append(_crc.pack(zlib.crc32(content)))
                stream.write(content)
            head = b"".join((promise, *checks))
            stream.seek(0)
            stream.write(head + _crc.pack(zlib.crc32(head)))
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size


class InstanceFrames:
    """The frames of one instance as `FrameSource` gives them: taken from `decoded` where that fits, decoded otherwise.

    Raises as `FrameSource`, and nothing because of `decoded`.
    """

    def __init__(self, header: InstanceHeader, decoded: Path | None = None) -> None:
        self._header = header
        self._decoded = decoded
        self._checks = b"" if decoded is None else _checks_in(decoded, header)
        self._source = None if self._checks else FrameSource(header)

    def frame(self, index: int, *, room: NDArray[np.uint16] | None = None) -> tuple[NDArray[np.unsignedinteger], bool]:
        """Bit patterns [row, column] of frame `index`, and whether they had been decoded before.

        `room` as for `FrameSource.frame`; it may be written to and not be the answer.
        """
        ready = self._ready(index, room) if self._checks else None
        if ready is not None:
            return ready, True
        if self._source is None:  # by several threads at worst, each of which then decodes its own frame
            self._source = FrameSource(self._header)
        return self._source.frame(index, room=room), False

    def _ready(self, index: int, room: NDArray[np.uint16] | None) -> NDArray[np.unsignedinteger] | None:
        header, count = self._header, _frame_bytes(self._header)
        dtype = np.dtype(f"<u{_sample_bytes(header)}")
        shape = (header.rows or 0, header.columns or 0)
        frame: NDArray[np.unsignedinteger] = np.empty(shape, dtype) if room is None or room.dtype != dtype else room
        content = frame.reshape(-1).view(np.uint8).data
        assert self._decoded is not None
        try:
            with self._decoded.open("rb", buffering=0) as stream:
                got = os.preadv(stream.fileno(), [content], _head_bytes(header) + index * count)
        except OSError:
            return None
        is_whole = got == count and zlib.crc32(content) == _crc.unpack_from(self._checks, 4 * index)[0]
        return frame.astype(dtype.newbyteorder("="), copy=False) if is_whole else None


def _checks_in(file: Path, header: InstanceHeader) -> bytes:
    """The checksums of the frames in `file` where it is of this instance; empty where it is not, or not whole."""
    if header.pixels is None:
        return b""
    try:
        with file.open("rb", buffering=0) as stream:
            head = stream.read(_head_bytes(header))
            size = os.fstat(stream.fileno()).st_size
        promise = _promise(header, file.stem)
    except (OSError, ValueError):  # not there, or not named by a digest
        return b""
    is_whole = (
        len(head) == _head_bytes(header)
        and size == len(head) + header.number_of_frames * _frame_bytes(header)
        and _crc.pack(zlib.crc32(head[: -_crc.size])) == head[-_crc.size :]
    )
    return head[_layout.size : -_crc.size] if is_whole and head.startswith(promise) else b""


def _promise(header: InstanceHeader, digest: str) -> bytes:
    """How a file of this instance's frames begins. Raises ValueError where `digest` is none."""
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError(f"{digest!r} is no digest of a data set")
    return _layout.pack(
        _MAGIC,
        digest.encode(),
        _decoders(header.transfer_syntax_uid),
        header.rows or 0,
        header.columns or 0,
        header.number_of_frames,
        _sample_bytes(header),
    )


def _head_bytes(header: InstanceHeader) -> int:
    return _layout.size + _crc.size * (header.number_of_frames + 1)


def _sample_bytes(header: InstanceHeader) -> int:
    return 0 if header.pixels is None else header.pixels.bits_allocated // 8


def _frame_bytes(header: InstanceHeader) -> int:
    return (header.rows or 0) * (header.columns or 0) * _sample_bytes(header)


@lru_cache(maxsize=32)
def _decoders(transfer_syntax_uid: str) -> bytes:
    digest = hashlib.sha256(f"{transfer_syntax_uid} {sys.version_info[:2]}".encode())
    for package in _PACKAGES:
        digest.update(f" {package} {_version(package)}".encode())
    for module in _OUR_CODE:
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.digest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
