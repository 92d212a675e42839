"""Damaged codestreams are told apart before a decoder that would end the process sees them."""

from __future__ import annotations

import struct

import pytest

from inference.codestream_headers import jpeg_2000_fault, jpeg_fault
from inference.rle_segments import decode_rle

START, END = b"\xff\xd8", b"\xff\xd9"
TABLE = b"\xff\xc4" + struct.pack(">H", 3) + b"\0"
SCAN = b"\xff\xda" + struct.pack(">H", 8) + bytes(6) + b"\x12\x34"


def frame_header(
    precision: int = 12, rows: int = 4, columns: int = 6, marker: int = 0xC3, components: int = 1
) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">HBHHB", 11, precision, rows, columns, components) + bytes(3)


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        pytest.param(START + frame_header() + TABLE + SCAN + END, "", id="good"),
        pytest.param(START + TABLE + b"\xff" + frame_header() + SCAN + END, "", id="table first, fill byte"),
        pytest.param(b"\0\0" + frame_header(), "does not start", id="no start"),
        pytest.param(START + frame_header(precision=156) + TABLE + SCAN, "156 bits, expected 2 to 16", id="precision"),
        pytest.param(START + frame_header(rows=5) + TABLE + SCAN, "5 x 6 with 1 components, expected 4 x 6", id="rows"),
        pytest.param(START + frame_header(components=3) + TABLE + SCAN, "with 3 components", id="components"),
        pytest.param(START + frame_header() + SCAN, "no JPEG Huffman table", id="no table"),
        pytest.param(START + TABLE + SCAN, "no JPEG frame header", id="no frame header"),
        pytest.param(START + frame_header(marker=0xC9) + TABLE + SCAN, "no JPEG frame header", id="arithmetic coding"),
        pytest.param(START + frame_header() + b"\xaa" + TABLE[1:] + SCAN, "no JPEG marker at byte 15", id="marker"),
        pytest.param(START + frame_header() + TABLE, "no JPEG scan", id="no scan"),
        pytest.param(START + frame_header()[:9], "cut short", id="cut"),
    ],
)
def test_the_markers_of_a_jpeg_frame_are_checked(stream: bytes, fault: str) -> None:
    found = jpeg_fault(stream, rows=4, columns=6, bits_allocated=16)
    assert found == "" if fault == "" else fault in found


def test_a_jpeg_ls_frame_needs_no_huffman_table() -> None:
    stream = START + frame_header(marker=0xF7) + SCAN + END
    assert jpeg_fault(stream, rows=4, columns=6, bits_allocated=16) == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({}, ""), ({"precision": 47}, "47 bits"), ({"rows": 9}, "9 x 6"), ({"components": 3}, "3 components")],
)
@pytest.mark.parametrize("boxes", [b"", b"\0\0\0\x0cjP  \r\n\x87\n"])
def test_the_size_segment_of_a_jpeg_2000_frame_is_checked(changes: dict[str, int], fault: str, boxes: bytes) -> None:
    wanted = {"precision": 12, "rows": 4, "components": 1, **changes}
    sizes = struct.pack(">HHIIIIIIIIH", 41, 0, 6, wanted["rows"], 0, 0, 6, 4, 0, 0, wanted["components"])
    stream = boxes + b"\xff\x4f\xff\x51" + sizes + bytes([wanted["precision"] - 1, 1, 1])
    found = jpeg_2000_fault(stream, rows=4, columns=6, bits_allocated=16)
    assert found == "" if fault == "" else fault in found
    assert jpeg_2000_fault(stream[:20], rows=4, columns=6, bits_allocated=16)


def rle(*segments: bytes, count: int | None = None) -> bytes:
    starts = [64 + sum(map(len, segments[:k])) for k in range(len(segments))]
    header = struct.pack("<16I", len(segments) if count is None else count, *starts, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def test_rle_segments_hold_the_most_significant_byte_first() -> None:
    # 0xFD repeats the next byte four times; 0x03 copies the next four.
    frame = rle(b"\xfd\x01", b"\x03\x0a\x0b\x0c\x0d")
    values = decode_rle(frame, pixels=4, bytes_each=2).view("<u2").ravel()
    assert values.tolist() == [0x10A, 0x10B, 0x10C, 0x10D]


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        pytest.param(rle(b"\xfd\x01", b"\x81\x01"), "segment 2 unpacks to 128 bytes, expected 4", id="too long"),
        pytest.param(rle(b"\xfd\x01", b"\xff\x01"), "segment 2 unpacks to 2 bytes", id="too short"),
        pytest.param(rle(b"\xfd\x01", b"\xfd\x01", count=1), "1 segments, expected 2", id="segment count"),
        pytest.param(rle(b"\xfd\x01", b"\xfd\x01")[:66], "expected 64 and ascending", id="cut"),
        pytest.param(b"\2", "expected", id="no header"),
    ],
)
def test_a_damaged_rle_frame_is_a_value_error(frame: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        decode_rle(frame, pixels=4, bytes_each=2)
