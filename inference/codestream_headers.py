"""A look at a codestream's header before a native decoder sees the rest.

GDCM ends the process (a segmentation fault, or an exception nobody can catch) on streams whose header is damaged: a
precision it has no codec for, no Huffman table, another size than announced. Those are all visible in the few marker
segments before the coded data (ITU-T T.81 B.2, T.87 C.2, T.800 A.5.1), so they are checked here. Damage further in
gives an error, or voxels that nothing can tell from good ones.
"""

from __future__ import annotations

import struct

_START_OF_IMAGE = b"\xff\xd8"
_HUFFMAN_TABLE, _START_OF_SCAN = 0xC4, 0xDA
# Baseline, extended, lossless (Huffman): the processes DICOM has (PS3.5 8.2.1).
_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC3})
_JPEG_LS_FRAME = 0xF7
_FILL = 0xFF
_JPEG_2000_START = b"\xff\x4f\xff\x51"


def jpeg_fault(frame: bytes, *, rows: int, columns: int, bits_allocated: int) -> str:
    """What is wrong with the markers of a one-component JPEG or JPEG-LS image of this size; empty where nothing is."""
    if not frame.startswith(_START_OF_IMAGE):
        return "does not start with a JPEG start-of-image marker"
    size: tuple[int, int, int, int] | None = None
    has_table, at = False, 2
    while at + 4 <= len(frame):
        marker = frame[at + 1]
        if frame[at] != _FILL:
            return f"no JPEG marker at byte {at}"
        if marker == _FILL:
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        body = frame[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            return f"the JPEG segment at byte {at} is cut short"
        has_table |= marker in (_HUFFMAN_TABLE, _JPEG_LS_FRAME)
        if (marker in _FRAME_MARKERS or marker == _JPEG_LS_FRAME) and len(body) >= 6:
            size = body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
        if marker == _START_OF_SCAN:
            return _frame_fault(size, has_table, (rows, columns), bits_allocated)
        at += 2 + length
    return "has no JPEG scan"


def jpeg_2000_fault(frame: bytes, *, rows: int, columns: int, bits_allocated: int) -> str:
    """What is wrong with the size segment of a one-component JPEG 2000 image; empty where nothing is."""
    at = frame.find(_JPEG_2000_START)
    if at < 0 or len(frame) < at + 43:
        return "has no JPEG 2000 codestream header"
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    (components,) = struct.unpack_from(">H", frame, at + 40)
    size = (frame[at + 42] & 0x7F) + 1, bottom - top, right - left, components
    return _frame_fault(size, True, (rows, columns), bits_allocated)


def _frame_fault(
    size: tuple[int, int, int, int] | None, has_table: bool, expected: tuple[int, int], bits_allocated: int
) -> str:
    if size is None:
        return "has no JPEG frame header of a supported process"
    precision, rows, columns, components = size
    if not has_table:
        return "has no JPEG Huffman table"
    if not 2 <= precision <= bits_allocated:
        return f"has samples of {precision} bits, expected 2 to {bits_allocated}"
    if (rows, columns) != expected or components != 1:
        return (
            f"holds an image of {rows} x {columns} with {components} components, "
            f"expected {expected[0]} x {expected[1]} with 1"
        )
    return ""
