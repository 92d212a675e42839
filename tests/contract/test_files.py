"""The file store: what the one on disk and its twin in memory do alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.errors import StorageUnavailable
from dicom_node.data_set_hash import digest_of
from storage.files import DiskFileStore
from storage.memory import MemoryFileStore
from tests.contract.rows import NOON


class _Noon:
    def now(self) -> Any:
        return NOON


@pytest.fixture(params=[DiskFileStore, MemoryFileStore], ids=["disk", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(tmp_path / "var", clock=_Noon())


HEAD, DATA_SET = b"\x00" * 128 + b"DICM" + b"meta", bytes(range(256)) * 50


def _behind_the_preamble(content: bytes) -> bytes:
    """What stands in the preamble (PS3.10 7.1) is the store's to choose."""
    return content[128:]


def test_a_written_file_holds_head_and_data_set_under_a_name_of_ours(files: Any) -> None:
    stored = files.write("0123456789abcdef", HEAD, memoryview(DATA_SET))
    assert _behind_the_preamble(files.absolute(stored.path).read_bytes()) == _behind_the_preamble(HEAD + DATA_SET)
    assert stored.digest == digest_of(DATA_SET)
    assert stored.size_bytes == len(HEAD) + len(DATA_SET)
    assert stored.path.parts[:3] == ("received", "2026-01-02", "0123456789abcdef")
    assert stored.path.suffix == ".dcm"


def test_the_same_bytes_twice_are_two_files(files: Any) -> None:
    assert files.write("key", HEAD, DATA_SET).path != files.write("key", HEAD, DATA_SET).path


def test_an_empty_data_set_is_a_file_too(files: Any) -> None:
    stored = files.write("key", HEAD, b"")
    assert _behind_the_preamble(files.absolute(stored.path).read_bytes()) == _behind_the_preamble(HEAD)


def test_the_sweep_is_shown_what_was_written(files: Any) -> None:
    assert files.unfinished() == ()
    stored = [files.write("key", HEAD, DATA_SET).path for _ in range(3)]
    assert files.unfinished() == tuple(sorted(stored))


def test_a_discarded_file_is_gone_and_discarding_again_is_no_error(files: Any) -> None:
    path = files.write("key", HEAD, DATA_SET).path
    files.discard(path)
    files.discard(path)
    assert files.unfinished() == ()
    assert not files.absolute(path).exists()


def test_a_file_set_aside_leaves_received_and_stays_readable(files: Any) -> None:
    path = files.write("key", HEAD, DATA_SET).path
    kept = files.set_aside(path, reason="conflicting_instance", detail={"sop_instance_uid": "1.2"})
    assert kept.parts[0] == "quarantine"
    assert _behind_the_preamble(files.absolute(kept).read_bytes()) == _behind_the_preamble(HEAD + DATA_SET)
    assert files.unfinished() == ()


def test_two_files_of_one_name_are_both_kept_aside(files: Any) -> None:
    first, second = (files.write(key, HEAD, key.encode()).path for key in ("a", "b"))
    kept = files.set_aside(first, reason="conflict", detail={})
    same_name = second.with_name(first.name)
    _rename(files, second, same_name)
    again = files.set_aside(same_name, reason="conflict", detail={})
    assert again != kept
    assert _behind_the_preamble(files.absolute(kept).read_bytes()) == _behind_the_preamble(HEAD + b"a")
    assert _behind_the_preamble(files.absolute(again).read_bytes()) == _behind_the_preamble(HEAD + b"b")


def test_a_file_that_is_not_there_cannot_be_set_aside(files: Any) -> None:
    with pytest.raises(StorageUnavailable):
        files.set_aside(Path("received/2026-01-02/key/none.dcm"), reason="conflict", detail={})


@pytest.mark.parametrize("path", ["/etc/passwd", "../node.sqlite3", "received/../../x"])
def test_a_path_out_of_the_store_is_refused(files: Any, path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        files.absolute(Path(path))


def test_a_job_has_a_folder_that_stays(files: Any) -> None:
    folder = files.job_folder(7)
    assert folder.is_absolute()
    (folder / "mask.npz").write_bytes(b"m")
    assert files.job_folder(7) == folder
    assert (folder / "mask.npz").exists()


def test_free_space_is_a_number_of_bytes(files: Any) -> None:
    assert files.free_bytes() > 0


def _rename(files: Any, source: Path, target: Path) -> None:
    if isinstance(files, MemoryFileStore):
        files.contents[target] = files.contents.pop(source)
    else:
        files.absolute(source).rename(files.absolute(target))


def test_what_is_kept_aside_has_its_bytes_and_a_note_and_both_go(files: Any) -> None:
    kept = files.keep_aside(HEAD, memoryview(DATA_SET), reason="unreadable", detail={"why": "noise"})
    assert kept.path.parts[:2] == ("quarantine", "2026-01-02")
    assert kept.digest == digest_of(DATA_SET)
    assert kept.size_bytes == len(HEAD) + len(DATA_SET)
    assert _behind_the_preamble(files.absolute(kept.path).read_bytes()) == _behind_the_preamble(HEAD + DATA_SET)
    assert files.quarantined() == (kept.path,)
    assert files.unfinished() == files.received() == ()
    note = files.note_of(kept.path)
    assert (note["reason"], note["detail"]) == ("unreadable", {"why": "noise"})
    files.discard(kept.path)
    assert files.quarantined() == ()
    assert files.note_of(kept.path) == {}


def test_every_received_file_is_listed_and_nothing_else(files: Any) -> None:
    stored = [files.write(key, HEAD, DATA_SET).path for key in ("b", "a")]
    files.keep_aside(HEAD, DATA_SET, reason="unreadable", detail={})
    assert files.received() == tuple(sorted(stored))


def test_the_folder_of_a_job_goes_with_all_in_it(files: Any) -> None:
    for number in (3, 12):
        inner = files.job_folder(number) / "attempt-1" / "objects"
        inner.mkdir(parents=True)
        (inner / "SR.dcm").write_bytes(b"x")
    assert files.job_folders() == (3, 12)
    files.discard_job_folder(3)
    files.discard_job_folder(3)
    assert files.job_folders() == (12,)
    assert (files.job_folder(12) / "attempt-1" / "objects" / "SR.dcm").exists()


PART_10 = b"\x00" * 128 + b"DICM\x02\x00\x00\x00UL\x04\x00\x06\x00\x00\x00" + b"meta!!"


def test_the_digest_of_a_file_is_that_of_its_data_set_of_either_kind(files: Any) -> None:
    stored = files.write("key", PART_10, DATA_SET)
    before = hashlib.sha256(DATA_SET).hexdigest()
    assert files.digest(stored.path, like=stored.digest) == stored.digest == digest_of(DATA_SET)
    assert files.digest(stored.path, like=before) == before


def test_of_a_file_that_is_no_dicom_file_or_not_there_there_is_no_digest(files: Any) -> None:
    stored = files.write("key", b"", DATA_SET)
    with pytest.raises(ValueError, match="not a DICOM file"):
        files.digest(stored.path, like=stored.digest)
    with pytest.raises(StorageUnavailable):
        files.digest(Path("received/2026-01-02/key/gone.dcm"), like=stored.digest)
