"""Decoding ahead with the real child, and with one that crashes, hangs and takes all memory."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import HTJ2KLossless, JPEGLSLossless

from dicom_node.analysis.decoder import ChildDecoder
from dicom_node.core.decode_ahead import Decoded, DecodeOutcome, DecoderLost, LeftAlone, NoRoom
from inference.errors import PixelDataUnreadable
from inference.reading import SeriesVolume, read_series
from tests.builders import htj2k_frames
from tests.builders.stored_ct import enhanced_ct, write, write_encapsulated, write_slices
from tests.integration.test_reading_syntaxes import CONVERSIONS, STORED, noisy

PLENTY = 1 << 30
COMPRESSED = ("RLE", "JPEG-LS", "JPEG 2000", "JPEG Lossless SV1")
MISBEHAVING = (sys.executable, "-m", "tests.builders.misbehaving_decoder")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildDecoder]:
    made = ChildDecoder(log=tmp_path_factory.mktemp("decoder") / "decoder.log")
    yield made
    made.close()


@pytest.fixture
def misbehaving(tmp_path: Path) -> Iterator[Callable[..., ChildDecoder]]:
    made: list[ChildDecoder] = []

    def start(**limits: float) -> ChildDecoder:
        made.append(ChildDecoder(log=tmp_path / "decoder.log", command=MISBEHAVING, end_s=3.0, **limits))
        return made[-1]

    yield start
    for each in made:
        each.close()


def decode(decoder: ChildDecoder, source: Path, target: Path, *, most_bytes: int = PLENTY) -> DecodeOutcome:
    return decoder.decode(source, target, most_bytes=most_bytes, is_cancelled=lambda: False)


def ahead(decoder: ChildDecoder, files: list[Path], folder: Path) -> dict[Path, Path]:
    """Every file decoded ahead; the digests are made up, as they come from the rows."""
    folder.mkdir()
    decoded = {file: folder / f"{number:064x}.frames" for number, file in enumerate(files)}
    for file, target in decoded.items():
        assert decode(decoder, file, target) == Decoded(size_bytes=target.stat().st_size)
    return decoded


def same(one: SeriesVolume, other: SeriesVolume) -> bool:
    return (
        np.array_equal(one.volume.hu, other.volume.hu)
        and np.array_equal(one.volume.affine_lps, other.volume.affine_lps)
        and (one.notes, one.slices) == (other.notes, other.slices)
    )


def series(folder: Path, syntax: str, stored: str = "12 bit unsigned", count: int = 3) -> list[Path]:
    dtype, bits, intercept = STORED[stored]
    values = noisy(dtype, bits, count)
    plain = write_slices(folder / "plain", values, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=intercept)
    (folder / "compressed").mkdir()
    files = [folder / "compressed" / file.name for file in plain]
    for source, target in zip(plain, files, strict=True):
        CONVERSIONS[syntax](source, target)
    return files


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_series_decoded_ahead_is_the_same_volume(
    tmp_path: Path, decoder: ChildDecoder, syntax: str, stored: str
) -> None:
    files = series(tmp_path, syntax, stored)
    decoded = ahead(decoder, files, tmp_path / "decoded")
    with_it, without = read_series(files, decoded=decoded), read_series(files)
    assert same(with_it, without)
    assert (with_it.decoded_before, with_it.decoded_now) == (3, 0)
    assert (without.decoded_before, without.decoded_now) == (0, 3)


def test_an_enhanced_instance_decoded_ahead_is_the_same_volume(tmp_path: Path, decoder: ChildDecoder) -> None:
    values = noisy(np.int16, 12, 4)
    file = write(enhanced_ct(values, [[0, 0, float(k)] for k in range(4)]), tmp_path / "a.dcm")
    data_set = dcmread(file)
    data_set.compress(JPEGLSLossless, generate_instance_uid=False)
    data_set.save_as(file)
    with_it = read_series([file], decoded=ahead(decoder, [file], tmp_path / "decoded"))
    assert same(with_it, read_series([file]))
    assert (with_it.decoded_before, with_it.decoded_now) == (4, 0)


def test_high_throughput_jpeg_2000_decoded_ahead_is_the_same_volume(tmp_path: Path, decoder: ChildDecoder) -> None:
    ramps = np.stack([htj2k_frames.ramp(0), htj2k_frames.ramp(1)])
    frames = [base64.b64decode(frame) for frame in (htj2k_frames.SIGNED_0, htj2k_frames.SIGNED_1)]
    files = write_encapsulated(tmp_path / "files", frames, ramps, HTJ2KLossless)
    with_it = read_series(files, decoded=ahead(decoder, files, tmp_path / "decoded"))
    assert same(with_it, read_series(files))
    assert with_it.decoded_before == 2


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("damage", ["cut", "damaged", "of another image", "missing"])
def test_what_is_wrong_with_the_cache_changes_nothing(
    tmp_path: Path, decoder: ChildDecoder, syntax: str, damage: str
) -> None:
    files = series(tmp_path, syntax)
    decoded = ahead(decoder, files, tmp_path / "decoded")
    one, other = decoded[files[1]], decoded[files[2]]
    content = bytearray(one.read_bytes())
    if damage == "cut":
        one.write_bytes(content[:-7])
    elif damage == "damaged":
        content[-2000] ^= 0x10
        one.write_bytes(content)
    elif damage == "missing":
        one.unlink()
    else:
        one.write_bytes(other.read_bytes())
    with_it = read_series(files, decoded=decoded)
    assert same(with_it, read_series(files))
    assert (with_it.decoded_before, with_it.decoded_now) == (2, 1)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_truncated_image_is_left_alone_and_the_analysis_says_what_it_always_says(
    tmp_path: Path, decoder: ChildDecoder, syntax: str
) -> None:
    files = series(tmp_path, syntax)
    content = files[1].read_bytes()
    files[1].write_bytes(content[: len(content) * 2 // 3])
    decoded = {file: tmp_path / f"{number:064x}.frames" for number, file in enumerate(files)}
    before = decoder.process_id
    outcomes = [decode(decoder, file, target) for file, target in decoded.items()]
    assert [type(outcome) for outcome in outcomes] == [Decoded, LeftAlone, Decoded]
    assert decoder.process_id is not None
    assert before in (None, decoder.process_id), "the child survives"
    assert not decoded[files[1]].exists()
    messages = []
    for use in (decoded, None):
        with pytest.raises(PixelDataUnreadable) as caught:
            read_series(files, decoded=use)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "truncated" in messages[0]


@pytest.mark.parametrize(
    "content", [b"", b"no DICOM at all", b"\0" * 128 + b"DICM" + b"\xff" * 50], ids=["empty", "text", "meta"]
)
def test_what_is_no_image_is_left_alone(tmp_path: Path, decoder: ChildDecoder, content: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    assert isinstance(decode(decoder, tmp_path / "a.dcm", tmp_path / f"{1:064x}.frames"), LeftAlone)
    assert isinstance(decode(decoder, tmp_path / "not there.dcm", tmp_path / f"{1:064x}.frames"), LeftAlone)


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"SliceThickness": 5.0},
        {"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    ],
    ids=["a localizer", "thick", "coronal", "reformatted"],
)
def test_an_image_that_the_selection_refuses_is_not_decoded(
    tmp_path: Path, decoder: ChildDecoder, elements: dict[str, object]
) -> None:
    plain = write_slices(tmp_path / "plain", noisy(np.int16, 12, 1), **elements)
    CONVERSIONS["RLE"](plain[0], tmp_path / "a.dcm")
    assert isinstance(decode(decoder, tmp_path / "a.dcm", tmp_path / f"{1:064x}.frames"), LeftAlone)


def test_an_image_that_does_not_fit_says_what_it_needs_and_leaves_nothing(
    tmp_path: Path, decoder: ChildDecoder
) -> None:
    (file,) = series(tmp_path, "JPEG-LS", count=1)
    target = tmp_path / f"{1:064x}.frames"
    outcome = decode(decoder, file, target, most_bytes=1000)
    assert isinstance(outcome, NoRoom)
    assert not list(tmp_path.glob("*.frames")) + list(tmp_path.glob("*.part"))
    assert decode(decoder, file, target, most_bytes=outcome.needed_bytes) == Decoded(size_bytes=outcome.needed_bytes)


def test_the_child_gives_way_to_everything_else(tmp_path: Path, decoder: ChildDecoder) -> None:
    (file,) = series(tmp_path, "RLE", count=1)
    decode(decoder, file, tmp_path / f"{1:064x}.frames")
    nice = int(Path(f"/proc/{decoder.process_id}/stat").read_text().rpartition(")")[2].split()[16])
    own = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[16])
    assert nice == min(own + 10, 19)
    maps = Path(f"/proc/{decoder.process_id}/maps").read_text()
    assert "torch" not in maps


def named(folder: Path, vice: str) -> Path:
    """An image that can be decoded under the name of a vice."""
    (file,) = series(folder / vice, "RLE", count=1)
    return file.rename(file.with_name(f"{vice}.dcm"))


@pytest.mark.parametrize(
    ("vice", "why"),
    [
        ("crash", "ended by SIGSEGV"),
        ("be_killed", "ended by SIGKILL"),
        ("raise_what_nobody_foresaw", "ended with status 1"),
        ("hang", "took longer than 3 s"),
        ("hang_in_native_code", "took longer than 3 s"),
    ],
)
def test_an_image_that_ends_the_child_costs_the_child_and_the_next_one_has_another(
    tmp_path: Path, misbehaving: Callable[..., ChildDecoder], vice: str, why: str
) -> None:
    decoder = misbehaving(timeout_s=30.0)
    target = tmp_path / f"{1:064x}.frames"
    assert isinstance(decode(decoder, named(tmp_path, "good"), target), Decoded)
    first = decoder.process_id
    decoder._timeout_s = 3.0 if "hang" in vice else 30.0
    outcome = decode(decoder, named(tmp_path, vice), tmp_path / f"{2:064x}.frames")
    assert isinstance(outcome, DecoderLost)
    assert why in outcome.why
    assert decoder.process_id is None
    assert not Path(f"/proc/{first}").exists()
    decoder._timeout_s = 30.0
    assert isinstance(decode(decoder, named(tmp_path, "after"), target), Decoded)


def test_what_a_decoder_prints_is_no_answer(tmp_path: Path, misbehaving: Callable[..., ChildDecoder]) -> None:
    target = tmp_path / f"{1:064x}.frames"
    outcome = decode(misbehaving(), named(tmp_path, "print_much"), target)
    assert outcome == Decoded(size_bytes=target.stat().st_size)


def test_an_image_that_takes_all_memory_is_left_alone(tmp_path: Path, misbehaving: Callable[..., ChildDecoder]) -> None:
    decoder = misbehaving()
    outcome = decode(decoder, named(tmp_path, "take_all_memory"), tmp_path / f"{1:064x}.frames")
    assert outcome == LeftAlone(why="it takes more than 1024 MB to decode")


def test_a_node_that_stops_does_not_wait_for_an_image(tmp_path: Path, misbehaving: Callable[..., ChildDecoder]) -> None:
    decoder = misbehaving()
    outcome = decoder.decode(
        named(tmp_path, "hang"), tmp_path / f"{1:064x}.frames", most_bytes=PLENTY, is_cancelled=lambda: True
    )
    assert isinstance(outcome, DecoderLost)
    assert "the node stops" in outcome.why
    assert decoder.process_id is None


def test_a_child_with_nothing_to_do_ends_after_a_while_and_comes_back(tmp_path: Path) -> None:
    now = [0.0]
    decoder = ChildDecoder(log=tmp_path / "decoder.log", monotonic=lambda: now[0])
    (file,) = series(tmp_path, "RLE", count=1)
    try:
        decode(decoder, file, tmp_path / f"{1:064x}.frames")
        decoder.rest()
        first = decoder.process_id
        assert first is not None
        now[0] = 31.0
        decoder.rest()
        assert decoder.process_id is None
        assert not Path(f"/proc/{first}").exists()
        assert isinstance(decode(decoder, file, tmp_path / f"{1:064x}.frames"), Decoded)
    finally:
        decoder.close()
    assert isinstance(decode(decoder, file, tmp_path / f"{1:064x}.frames"), DecoderLost), "closed for good"


def test_a_child_that_cannot_be_started_is_lost(tmp_path: Path) -> None:
    decoder = ChildDecoder(log=tmp_path / "decoder.log", command=("/no/such/program",))
    outcome = decode(decoder, tmp_path / "a.dcm", tmp_path / f"{1:064x}.frames")
    assert isinstance(outcome, DecoderLost)
    assert "cannot be reached: No such file" in outcome.why
