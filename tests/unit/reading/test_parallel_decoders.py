"""What several threads may decode at once comes out as the plugins give it; what they know better is left to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from inference import decoding
from inference.decoding import FrameSource
from inference.headers import read_header
from inference.parallel_decoders import Samples, decode_in_parallel
from tests.builders.stored_ct import ct_slice, to_jpeg_lossless, write, write_encapsulated

SYNTAXES = {"JPEG Lossless": JPEGLosslessSV1, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}
LAYOUTS = {
    "8 bit": (np.uint8, 8),
    "12 bit": (np.uint16, 12),
    "12 bit signed": (np.int16, 12),
    "16 bit": (np.uint16, 16),
    "16 bit signed": (np.int16, 16),
}


def image(layout: str) -> NDArray[Any]:
    """Values over the whole range, with the largest steps there are between neighbours."""
    dtype, bits = LAYOUTS[layout]
    signed = np.dtype(dtype).kind == "i"
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    values = np.random.default_rng(bits).integers(low, high, (40, 48))
    values[0, ::2], values[0, 1::2], values[1, ::2], values[1, 1::2] = low, high - 1, low, low + (high - low) // 2
    return values.astype(dtype)


def encoded(values: NDArray[Any], bits: int, syntax: str, folder: Path) -> Path:
    """A file of the values in the syntax."""
    plain = write(ct_slice(values, 1, BitsStored=bits, HighBit=bits - 1), folder / "plain.dcm")
    if syntax == JPEGLosslessSV1:
        return to_jpeg_lossless(plain, folder / "coded.dcm")
    dataset = ct_slice(values, 1, BitsStored=bits, HighBit=bits - 1)
    dataset.file_meta = write(dataset, plain) and dataset.file_meta
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(folder / "coded.dcm")
    return folder / "coded.dcm"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frames_come_out_as_from_the_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, layout: str
) -> None:
    values = image(layout)
    header = read_header(encoded(values, LAYOUTS[layout][1], SYNTAXES[syntax], tmp_path))
    here = FrameSource(header).frame(0)
    monkeypatch.setattr(decoding, "decode_in_parallel", lambda frame, syntax, samples: None)
    there = FrameSource(header).frame(0)
    assert here.dtype == there.dtype
    np.testing.assert_array_equal(here, there)
    mask = (1 << LAYOUTS[layout][1]) - 1
    np.testing.assert_array_equal(here & mask, values.view(here.dtype) & mask)


@pytest.mark.parametrize("layout", ["12 bit", "16 bit", "16 bit signed"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_usual_frames_need_no_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, layout: str
) -> None:
    values = image(layout)
    header = read_header(encoded(values, LAYOUTS[layout][1], SYNTAXES[syntax], tmp_path))
    monkeypatch.setattr(decoding, "PLUGINS", {})
    monkeypatch.setattr(decoding, "get_decoder", None)
    np.testing.assert_array_equal(FrameSource(header).frame(0), values.view(np.uint16))


def unfit(frame: bytes, syntax: str = "JPEG-LS", **changes: Any) -> bool:
    announced = {"rows": 40, "columns": 48, "bits_allocated": 16, "bits_stored": 12, "is_signed": False, **changes}
    return decode_in_parallel(frame, SYNTAXES[syntax], Samples(**announced)) is None


def test_frames_that_are_not_as_announced_are_left_to_the_plugins() -> None:
    frame = bytes(imagecodecs.jpegls_encode(image("12 bit")))
    precision = frame[frame.index(b"\xff\xf7") + 4]
    assert not unfit(frame, bits_stored=precision)
    assert unfit(frame, bits_stored=precision, rows=39)
    assert unfit(frame, bits_stored=precision - 1) is (precision < 16)
    assert unfit(frame, bits_allocated=8, bits_stored=8)
    assert unfit(frame[:-2], bits_stored=precision), "the end marker is missing"
    assert unfit(b"\0" + frame, bits_stored=precision)
    assert unfit(frame, "JPEG 2000", bits_stored=precision)
    assert unfit(frame[:30] + b"\xff\xd9", bits_stored=precision), "cut short, then ended"


def test_a_frame_with_restart_intervals_is_left_to_the_plugins(tmp_path: Path) -> None:
    header = read_header(encoded(image("16 bit"), 16, JPEGLosslessSV1, tmp_path))
    source = FrameSource(header)._encoded
    assert source is not None
    (frame,) = source
    assert not unfit(frame, "JPEG Lossless", bits_stored=16)
    assert unfit(frame[:2] + b"\xff\xdd\x00\x04\x00\x01" + frame[2:], "JPEG Lossless", bits_stored=16)
    scan = frame.index(b"\xff\xda")
    shifted = bytearray(frame)
    shifted[scan + 9] = 1
    assert unfit(bytes(shifted), "JPEG Lossless", bits_stored=16), "a point transform"


def test_irreversible_jpeg_2000_is_left_to_the_plugins() -> None:
    values = image("16 bit")
    assert not unfit(imagecodecs.jpeg2k_encode(values, codecformat="J2K", reversible=True), "JPEG 2000", bits_stored=16)
    lossy = imagecodecs.jpeg2k_encode(values, codecformat="J2K", reversible=False, level=50)
    assert unfit(lossy, "JPEG 2000", bits_stored=16)


def test_a_frame_whose_coded_data_fails_is_told_in_the_words_of_a_plugin(tmp_path: Path) -> None:
    values = np.stack([image("16 bit")] * 2)
    frame = bytes(imagecodecs.jpegls_encode(values[0]))
    middle = len(frame) // 2
    damaged = frame[:middle] + b"\xff" * 40 + frame[middle + 40 :]
    files = write_encapsulated(tmp_path, [damaged, frame], values, JPEGLSLossless)
    with pytest.raises(decoding.PixelDataUnreadable, match="cannot be decoded"):
        FrameSource(read_header(files[0])).frame(0)
