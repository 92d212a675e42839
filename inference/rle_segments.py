"""An RLE Lossless frame (PS3.5 G) from its byte segments.

pylibjpeg-rle decodes whole frames too, but answers a damaged segment that unpacks to more than the frame with a
panic, which is no Exception and would end the worker. Segment by segment it is as fast and always answers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rle.utils import decode_segment

_HEADER_BYTES = 64


def decode_rle(frame: bytes, *, pixels: int, bytes_each: int) -> NDArray[np.uint8]:
    """The frame's bytes [pixel, byte], least significant byte first.

    Segments hold one byte of every pixel each, the most significant first. Raises ValueError for a damaged frame.
    """
    starts = _segment_starts(frame, bytes_each)
    unpacked = np.empty((pixels, bytes_each), dtype=np.uint8)
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(frame)], strict=True)):
        segment = decode_segment(frame[start:end])
        # A segment of odd length is padded by one byte, and some writers pad the image's bytes with it.
        if not pixels <= len(segment) <= pixels + 1:
            raise ValueError(f"RLE segment {number + 1} unpacks to {len(segment)} bytes, expected {pixels}")
        unpacked[:, bytes_each - 1 - number] = np.frombuffer(segment, np.uint8, pixels)
    return unpacked


def _segment_starts(frame: bytes, bytes_each: int) -> list[int]:
    header = np.frombuffer(frame[:_HEADER_BYTES].ljust(_HEADER_BYTES, b"\0"), "<u4")
    if header[0] != bytes_each:
        raise ValueError(f"RLE header counts {header[0]} segments, expected {bytes_each}")
    starts = [int(start) for start in header[1 : 1 + bytes_each]]
    ascending = all(low < high for low, high in zip(starts, [*starts[1:], len(frame)], strict=True))
    if starts[0] != _HEADER_BYTES or not ascending:
        raise ValueError(f"RLE segments start at {starts} of {len(frame)} bytes, expected 64 and ascending")
    return starts
