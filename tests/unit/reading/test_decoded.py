"""Frames that were decoded before: used where everything about them is right, and without a trace where not."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import RLELossless

from inference import decoded
from inference.decoded import InstanceFrames, NoRoom, store_frames
from inference.decoding import FrameSource
from inference.errors import PixelDataUnreadable
from inference.headers import InstanceHeader, read_header
from tests.builders.stored_ct import ct_slice, enhanced_ct, write

DIGEST, OTHER = "ab" * 32, "cd" * 32
PLENTY = 1 << 30
VALUES = np.arange(-60, 60, dtype=np.int16).reshape(3, 5, 8)


def compressed(file: Path, values: NDArray[np.generic] = VALUES) -> InstanceHeader:
    """An RLE instance: classic for one plane, Enhanced for several."""
    plain = ct_slice(values[0]) if len(values) == 1 else enhanced_ct(values, [(0, 0, float(k)) for k in range(3)])
    data_set = dcmread(write(plain, file))
    data_set.compress(RLELossless, generate_instance_uid=False)
    data_set.save_as(file)
    return read_header(file)


@pytest.fixture
def header(tmp_path: Path) -> InstanceHeader:
    return compressed(tmp_path / "enhanced.dcm")


@pytest.fixture
def held(tmp_path: Path, header: InstanceHeader) -> Path:
    target = tmp_path / f"{DIGEST}.frames"
    store_frames(header, target, most_bytes=PLENTY)
    return target


def read(header: InstanceHeader, held: Path | None) -> tuple[list[NDArray[np.unsignedinteger]], list[bool]]:
    frames = InstanceFrames(header, held)
    found = [frames.frame(index) for index in range(header.number_of_frames)]
    return [frame for frame, _ in found], [was_decoded for _, was_decoded in found]


def test_a_frame_comes_out_as_it_was_decoded(header: InstanceHeader, held: Path) -> None:
    frames, were_decoded = read(header, held)
    np.testing.assert_array_equal(np.stack(frames).view(np.int16), VALUES)
    assert were_decoded == [True, True, True]


def test_a_frame_is_read_into_the_room_it_is_given(header: InstanceHeader, held: Path) -> None:
    room = np.zeros(VALUES.shape[1:], np.uint16)
    frame, was_decoded = InstanceFrames(header, held).frame(1, room=room)
    assert was_decoded
    assert np.shares_memory(frame, room)
    np.testing.assert_array_equal(room.view(np.int16), VALUES[1])


def test_frames_of_eight_bits_stay_so(tmp_path: Path) -> None:
    values = np.arange(40, dtype=np.uint8).reshape(1, 5, 8)
    header, target = compressed(tmp_path / "a.dcm", values), tmp_path / f"{DIGEST}.frames"
    store_frames(header, target, most_bytes=PLENTY)
    frame, was_decoded = InstanceFrames(header, target).frame(0, room=np.zeros((5, 8), np.uint16))
    assert (was_decoded, frame.dtype) == (True, np.uint8)
    np.testing.assert_array_equal(frame, values[0])


def test_the_file_is_for_its_owner_alone_and_as_large_as_was_said(tmp_path: Path, header: InstanceHeader) -> None:
    target = tmp_path / f"{DIGEST}.frames"
    assert store_frames(header, target, most_bytes=PLENTY) == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def cut(content: bytearray) -> None:
    del content[-1]


def lengthen(content: bytearray) -> None:
    content.append(0)


def empty(content: bytearray) -> None:
    content.clear()


def at(place: int) -> Callable[[bytearray], None]:
    def flip(content: bytearray) -> None:
        content[place] ^= 1

    return flip


@pytest.mark.parametrize(
    "damage",
    [cut, lengthen, empty, *map(at, (0, 8, 40, 56, 60, 64, 68, 72, 84))],
    ids=[
        "cut",
        "longer",
        "empty",
        "magic",
        "digest",
        "decoders",
        "rows",
        "columns",
        "frames",
        "bytes",
        "check",
        "head",
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_not_used(
    header: InstanceHeader, held: Path, damage: Callable[[bytearray], None]
) -> None:
    content = bytearray(held.read_bytes())
    damage(content)
    held.write_bytes(content)
    frames, were_decoded = read(header, held)
    np.testing.assert_array_equal(np.stack(frames).view(np.int16), VALUES)
    assert were_decoded == [False, False, False]


def test_of_a_file_with_one_damaged_frame_the_others_are_used(header: InstanceHeader, held: Path) -> None:
    content = bytearray(held.read_bytes())
    content[-100] ^= 4  # frames of 80 bytes: the second of three
    held.write_bytes(content)
    frames, were_decoded = read(header, held)
    np.testing.assert_array_equal(np.stack(frames).view(np.int16), VALUES)
    assert were_decoded == [True, False, True]


def test_frames_that_go_while_they_are_read_are_decoded(header: InstanceHeader, held: Path) -> None:
    frames = InstanceFrames(header, held)
    held.unlink()
    frame, was_decoded = frames.frame(0)
    assert not was_decoded
    np.testing.assert_array_equal(frame.view(np.int16), VALUES[0])


@pytest.mark.parametrize("name", [f"{OTHER}.frames", "no digest.frames", "nobody.frames"])
def test_frames_under_another_name_are_not_this_instances(header: InstanceHeader, held: Path, name: str) -> None:
    assert read(header, held.rename(held.with_name(name)))[1] == [False, False, False]


def test_frames_that_other_decoders_made_are_not_used(
    header: InstanceHeader, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded._decoders.cache_clear()
    monkeypatch.setattr(decoded, "_version", lambda package: f"another {package}")
    assert read(header, held)[1] == [False, False, False]
    decoded._decoders.cache_clear()


def test_the_same_bytes_in_another_transfer_syntax_are_another_image(header: InstanceHeader, held: Path) -> None:
    assert decoded._decoders("1.2.840.10008.1.2.4.70") != decoded._decoders(header.transfer_syntax_uid)


def test_what_takes_too_much_room_leaves_nothing(tmp_path: Path, header: InstanceHeader) -> None:
    with pytest.raises(NoRoom) as caught:
        store_frames(header, tmp_path / f"{DIGEST}.frames", most_bytes=VALUES.nbytes)
    assert caught.value.needed_bytes > VALUES.nbytes
    assert {path.name for path in tmp_path.iterdir()} == {"enhanced.dcm"}


def test_an_instance_that_cannot_be_decoded_leaves_nothing_and_says_what_it_always_said(tmp_path: Path) -> None:
    header = compressed(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[:-20])
    for use in (FrameSource, lambda header: store_frames(header, tmp_path / f"{DIGEST}.frames", most_bytes=PLENTY)):
        with pytest.raises(PixelDataUnreadable, match="truncated"):
            use(header)
    assert {path.name for path in tmp_path.iterdir()} == {"a.dcm"}


def test_a_frame_that_fails_leaves_nothing_of_those_before_it(
    tmp_path: Path, header: InstanceHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FrameSource.frame

    def fails_at_the_last(self: FrameSource, index: int) -> NDArray[np.unsignedinteger]:
        if index == 2:
            raise PixelDataUnreadable(header.file, header.transfer_syntax_uid, "damaged")
        return whole(self, index)

    monkeypatch.setattr(FrameSource, "frame", fails_at_the_last)
    with pytest.raises(PixelDataUnreadable, match="damaged"):
        store_frames(header, tmp_path / f"{DIGEST}.frames", most_bytes=PLENTY)
    assert {path.name for path in tmp_path.iterdir()} == {"enhanced.dcm"}
