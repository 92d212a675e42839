"""A look at a JPEG codestream's markers before GDCM decodes it.

GDCM's JPEG codec ends the process (a segmentation fault, or an exception nobody can catch) on streams whose header
is damaged: a precision it has no codec for, no Huffman table, another size than announced. Those are all visible in
the few marker segments before the entropy-coded data (ITU-T T.81 B.2), so they are checked here. Damage further in
gives an error, or voxels that nothing can tell from good ones.
"""

from __future__ import annotations

_START_OF_IMAGE = b"\xff\xd8"
_HUFFMAN_TABLE, _START_OF_SCAN = 0xC4, 0xDA
# Baseline, extended, lossless (Huffman): the processes DICOM has (PS3.5 8.2.1).
_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC3})
_FILL = 0xFF


def jpeg_fault(frame: bytes, *, rows: int, columns: int, bits_allocated: int) -> str:
    """What is wrong with the markers of a single-component JPEG image of this size; empty where nothing is."""
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
        if marker in _FRAME_MARKERS and len(body) >= 6:
            size = body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
        has_table |= marker == _HUFFMAN_TABLE
        if marker == _START_OF_SCAN:
            return _frame_fault(size, has_table, (rows, columns), bits_allocated)
        at += 2 + length
    return "has no JPEG scan"


def _frame_fault(
    size: tuple[int, int, int, int] | None, has_table: bool, expected: tuple[int, int], bits_allocated: int
) -> str:
    if size is None:
        return "has no JPEG frame header of a supported process"
    precision, rows, columns, components = size
    if not has_table:
        return "has no JPEG Huffman table"
    if not 2 <= precision <= bits_allocated:
        return f"has JPEG samples of {precision} bits, expected 2 to {bits_allocated}"
    if (rows, columns) != expected or components != 1:
        return (
            f"holds a JPEG image of {rows} x {columns} with {components} components, "
            f"expected {expected[0]} x {expected[1]} with 1"
        )
    return ""
