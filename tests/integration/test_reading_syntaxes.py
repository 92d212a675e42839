"""The same series in every transfer syntax gives the same voxels; what cannot be decoded is an error."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from inference.decoding import FrameSource
from inference.errors import PixelDataUnreadable, ReadingError
from inference.headers import read_header
from inference.reading import read_series
from tests.builders import htj2k_frames
from tests.builders.stored_ct import ct_slice, enhanced_ct, to_jpeg_lossless, write, write_encapsulated, write_slices


def noisy(dtype: type, bits: int, count: int = 3) -> NDArray[np.generic]:
    """Stored values [z, 64, 48] over the whole range of so many bits."""
    signed = np.dtype(dtype).kind == "i"
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    return np.random.default_rng(bits).integers(low, high, (count, 64, 48)).astype(dtype)


STORED = {
    "16 bit signed": (np.int16, 16, 0),
    "12 bit unsigned": (np.uint16, 12, -1024),
    "12 bit signed": (np.int16, 12, 0),
    "16 bit unsigned": (np.uint16, 16, -32768),
}


def _native(syntax: str) -> Callable[[Path, Path], None]:
    def convert(source: Path, target: Path) -> None:
        dataset = dcmread(source)
        list(dataset.iterall())  # raw values keep the byte order they were read in
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        dataset.set_original_encoding(implicit, little)
        dataset.save_as(target)

    return convert


def _compressed(syntax: str) -> Callable[[Path, Path], None]:
    def convert(source: Path, target: Path) -> None:
        dataset = dcmread(source)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(target)

    return convert


def _jpeg_lossless(source: Path, target: Path) -> None:
    to_jpeg_lossless(source, target)


CONVERSIONS = {
    "implicit": _native(ImplicitVRLittleEndian),
    "big endian": _native(ExplicitVRBigEndian),
    "deflated": _native(DeflatedExplicitVRLittleEndian),
    "RLE": _compressed(RLELossless),
    "JPEG-LS": _compressed(JPEGLSLossless),
    "JPEG 2000": _compressed(JPEG2000Lossless),
    "JPEG Lossless SV1": _jpeg_lossless,
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("syntax", CONVERSIONS)
def test_every_transfer_syntax_gives_the_same_volume(tmp_path: Path, syntax: str, stored: str) -> None:
    dtype, bits, intercept = STORED[stored]
    values = noisy(dtype, bits)
    files = write_slices(tmp_path / "a", values, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=intercept)
    expected = np.clip(values.astype(np.int32) + intercept, -1024, 32767)
    np.testing.assert_array_equal(read_series(files).volume.hu, expected)

    (tmp_path / "b").mkdir()
    converted = [tmp_path / "b" / file.name for file in files]
    for source, target in zip(files, converted, strict=True):
        CONVERSIONS[syntax](source, target)

    assert {read_header(file).transfer_syntax_uid for file in converted}.isdisjoint({ExplicitVRLittleEndian})
    np.testing.assert_array_equal(read_series(converted, threads=2).volume.hu, expected)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL])
@pytest.mark.parametrize("signed", [True, False])
def test_htj2k_decodes_to_what_was_encoded(tmp_path: Path, syntax: str, signed: bool) -> None:
    ramps = np.stack([htj2k_frames.ramp(0), htj2k_frames.ramp(1)])
    names, like = (("SIGNED_0", "SIGNED_1"), ramps) if signed else (("UNSIGNED_0", "UNSIGNED_1"), None)
    like = (ramps.astype(np.int32) + 1024).astype(np.uint16) if like is None else like
    frames = [base64.b64decode(getattr(htj2k_frames, name)) for name in names]
    files = write_encapsulated(tmp_path, frames, like, syntax)
    np.testing.assert_array_equal(read_series(files).volume.hu, like)


def test_lossy_htj2k_decodes_close_to_what_was_encoded(tmp_path: Path) -> None:
    ramps = np.stack([htj2k_frames.ramp(0), htj2k_frames.ramp(1)])
    frames = [base64.b64decode(frame) for frame in (htj2k_frames.LOSSY_0, htj2k_frames.LOSSY_1)]
    read = read_series(write_encapsulated(tmp_path, frames, ramps, HTJ2K)).volume.hu
    assert np.abs(read.astype(int) - ramps).max() <= 1


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_multiframe_with_several_fragments_a_frame(tmp_path: Path, syntax: str, fragments: int) -> None:
    values = noisy(np.int16, 12, 4)
    dataset = enhanced_ct(values, [[0, 0, float(k)] for k in range(4)])
    source = dcmread(write(dataset, tmp_path / "a.dcm"))
    source.compress(syntax, generate_instance_uid=False)
    if fragments > 1:
        whole = FrameSource(read_header(_saved(source, tmp_path / "b.dcm")))._encoded
        assert whole is not None
        source.PixelData = encapsulate(whole, fragments_per_frame=1 if syntax == RLELossless else fragments)
        source["PixelData"].is_undefined_length = True
    hu = read_series([_saved(source, tmp_path / "c.dcm")]).volume.hu
    np.testing.assert_array_equal(hu, np.maximum(values, -1024))


def _saved(dataset, file: Path) -> Path:  # type: ignore[no-untyped-def]
    dataset.save_as(file)
    return file


@pytest.mark.parametrize("lost", [1, 40, 4000])
def test_a_truncated_uncompressed_file_is_an_error_that_names_it(tmp_path: Path, lost: int) -> None:
    files = write_slices(tmp_path, noisy(np.int16, 16))
    files[1].write_bytes(files[1].read_bytes()[:-lost])
    with pytest.raises(PixelDataUnreadable, match=r"001\.dcm: truncated: \d+ of 6144 bytes") as caught:
        read_series(files)
    assert caught.value.file == files[1]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_compressed_file_is_an_error_that_names_it(tmp_path: Path, syntax: str, kept: float) -> None:
    files = write_slices(tmp_path, noisy(np.int16, 16))
    bad = tmp_path / "bad.dcm"
    convert = _jpeg_lossless if syntax == JPEGLosslessSV1 else _compressed(syntax)
    convert(files[1], bad)
    content = bad.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00") + 40
    bad.write_bytes(content[: at + int((len(content) - at) * kept)])
    with pytest.raises(PixelDataUnreadable, match=r"bad\.dcm: truncated: fragment"):
        read_series([files[0], bad, files[2]])


def test_a_deflated_file_cut_short_is_an_error(tmp_path: Path) -> None:
    files = write_slices(tmp_path, noisy(np.int16, 16))
    bad = tmp_path / "bad.dcm"
    CONVERSIONS["deflated"](files[1], bad)
    header = read_header(bad)
    bad.write_bytes(bad.read_bytes()[:-2000])
    with pytest.raises(PixelDataUnreadable, match=r"bad\.dcm"):
        FrameSource(header)


def test_without_a_decoder_the_error_names_the_file_the_syntax_and_what_is_missing(tmp_path: Path) -> None:
    twelve_bit_jpeg = get_testdata_file("JPGExtended.dcm")
    header = read_header(str(twelve_bit_jpeg))
    assert header.transfer_syntax_uid == JPEGExtended12Bit
    with pytest.raises(PixelDataUnreadable, match=r"JPGExtended\.dcm.*pylibjpeg-libjpeg.*JPEG Extended"):
        FrameSource(header).frame(0)


def test_a_video_syntax_is_an_error(tmp_path: Path) -> None:
    files = write_encapsulated(tmp_path, [b"\0" * 8, b"\0" * 8], noisy(np.int16, 16, 2), MPEG2MPML)
    with pytest.raises(PixelDataUnreadable, match="no decoder exists"):
        read_series(files)


def test_an_instance_without_pixel_data_is_an_error(tmp_path: Path) -> None:
    files = write_slices(tmp_path, noisy(np.int16, 16, 2), PixelData=None)
    with pytest.raises(PixelDataUnreadable, match="no Pixel Data"):
        read_series(files)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm"],
)
def test_files_that_pydicom_ships_decode_as_pydicom_decodes_them(name: str) -> None:
    file = str(get_testdata_file(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header, expected = read_header(file), dcmread(file).pixel_array
    frame = FrameSource(header).frame(0)
    assert frame.dtype == np.uint16
    np.testing.assert_array_equal(frame, expected.astype(np.uint16))


@pytest.mark.parametrize("syntax", ["RLE", "JPEG Lossless SV1", "JPEG-LS", "JPEG 2000", "deflated"])
def test_damage_within_a_file_is_an_error_of_ours_or_other_voxels_never_a_crash(tmp_path: Path, syntax: str) -> None:
    """Each byte around the start of the encoded pixels, changed: decoders of native code must not end the process."""
    source = write(ct_slice(noisy(np.int16, 12)[0], 0), tmp_path / "a.dcm")
    CONVERSIONS[syntax](source, tmp_path / "b.dcm")
    content = (tmp_path / "b.dcm").read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00") if syntax != "deflated" else len(content) // 2
    file = tmp_path / "damaged.dcm"
    refused = 0
    for at in range(start, start + 130):
        file.write_bytes(content[:at] + bytes([content[at] ^ 0xA5]) + content[at + 1 :])
        try:
            FrameSource(read_header(file)).frame(0)
        except ReadingError:
            refused += 1
    assert refused > 0
