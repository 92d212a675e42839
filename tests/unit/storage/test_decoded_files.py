"""The folder of frames that were decoded ahead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dicom_node.core.errors import StorageUnavailable
from storage.decoded_files import DecodedFiles

OLD, NEW = "ab" * 32, "cd" * 32


@pytest.fixture
def decoded(tmp_path: Path) -> DecodedFiles:
    files = DecodedFiles(tmp_path)
    files.begin()
    for age, digest in enumerate((NEW, OLD)):
        files.file(digest).write_bytes(bytes(10 + age))
        os.utime(files.file(digest), (1000 - age, 1000 - age))
    return files


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    DecodedFiles(tmp_path).begin()
    assert stat.S_IMODE((tmp_path / "decoded").stat().st_mode) == 0o700


def test_what_is_held_is_told_by_age(decoded: DecodedFiles) -> None:
    assert list(decoded.held().items()) == [(OLD, 11), (NEW, 10)]


def test_what_was_being_written_goes_at_a_start_and_what_is_not_ours_is_not_told(decoded: DecodedFiles) -> None:
    part, log, stranger = (decoded.file(OLD).with_name(name) for name in (f"{OLD}.part", "decoder.log", "x.frames"))
    for path in (part, log, stranger):
        path.write_bytes(b"")
    assert set(decoded.begin()) == {OLD, NEW}
    assert (part.exists(), log.exists(), stranger.exists()) == (False, True, True)


def test_removing_takes_what_was_being_written_too_and_twice_is_once(decoded: DecodedFiles) -> None:
    decoded.file(OLD).with_suffix(".part").write_bytes(b"")
    decoded.remove(OLD)
    decoded.remove(OLD)
    assert [path.name for path in decoded.file(OLD).parent.iterdir()] == [f"{NEW}.frames"]


def test_nothing_is_held_before_anything_was_decoded(tmp_path: Path) -> None:
    assert DecodedFiles(tmp_path).held() == {}


@pytest.mark.parametrize("digest", ["", "../" * 21 + "a", "AB" * 32, "ab" * 31])
def test_only_a_digest_names_a_file(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="is no digest"):
        DecodedFiles(tmp_path).file(digest)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "decoded").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="decoded"):
        DecodedFiles(tmp_path).begin()
