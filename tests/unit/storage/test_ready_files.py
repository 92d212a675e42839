"""Files that say whether they are whole, and names that are durable before anything is written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.core.errors import StorageUnavailable
from dicom_node.data_set_hash import digest_of, hash_of
from storage.disk import Disk, HookedDisk
from storage.files import DiskFileStore
from storage.ready_files import PREAMBLE_BYTES, STOCK, sealed, whole

HEAD = b"\0" * PREAMBLE_BYTES + b"DICM and the file meta information"
DATA_SET = b"data set" * 1000
DAY = Path("2026-01-02")


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 12, tzinfo=UTC)


def store(root: Path, disk: Disk | None = None) -> DiskFileStore:
    return DiskFileStore(root, clock=Clock(), disk=disk)


def seal(data_set: bytes = DATA_SET, final: Path = DAY / "key" / "name.dcm") -> bytes:
    head = sealed(HEAD, data_set, digest=hash_of(data_set), final=final.as_posix())
    assert head is not None
    return head + data_set


def steps_of(root: Path, act: Callable[[DiskFileStore], object], *, after: int = 0) -> list[str]:
    steps: list[str] = []
    files = store(root, HookedDisk(lambda step, path: steps.append(step)))
    for _ in range(after):
        files.write("key", HEAD, DATA_SET)
    steps.clear()
    act(files)
    return steps


def write(files: DiskFileStore) -> None:
    files.write("key", HEAD, DATA_SET)


def failing(*, at: Callable[[str, Path], bool]) -> HookedDisk:
    def before(step: str, path: Path) -> None:
        if at(step, path):
            raise OSError(errno.EIO, "I/O error")

    return HookedDisk(before)


def test_a_file_costs_one_sync(tmp_path: Path) -> None:
    assert steps_of(tmp_path, write, after=1) == ["open_ready", "write", "write", "sync_file", "close", "rename"]


def test_the_first_file_of_a_store_that_was_made_ready_costs_its_study_s_folder_and_one_sync(tmp_path: Path) -> None:
    steps: list[str] = []
    files = store(tmp_path, HookedDisk(lambda step, path: steps.append(step)))
    files.make_ready()
    made_ready = len(steps)
    files.make_ready()
    assert len(steps) == made_ready
    write(files)
    assert steps[made_ready:] == [
        *("make_folder", "sync_folder"),
        *("open_ready", "write", "write", "sync_file", "close", "rename"),
    ]


def test_a_store_that_could_not_be_made_ready_is_made_so_by_its_first_file(tmp_path: Path) -> None:
    broken = [True]
    files = store(tmp_path, failing(at=lambda step, path: broken[0] and step == "open_new"))
    with pytest.raises(StorageUnavailable, match="made ready"):
        files.make_ready()
    assert not list((tmp_path / "ready").iterdir())
    broken[0] = False
    stored = files.write("key", HEAD, DATA_SET)
    assert files.absolute(stored.path).read_bytes().endswith(DATA_SET)


def test_filling_the_stock_syncs_where_files_went_before_the_names_they_had(tmp_path: Path) -> None:
    synced: list[str] = []
    files = store(tmp_path, HookedDisk(lambda step, path: synced.append(path.name) if step == "sync_folder" else None))
    for _ in range(STOCK):
        files.write("key", HEAD, DATA_SET)
    synced.clear()
    files.write("other", HEAD, DATA_SET)
    assert synced == ["2026-01-02", "key", "ready"]


def test_a_file_is_what_was_sent_but_for_the_preamble(tmp_path: Path) -> None:
    files = store(tmp_path)
    stored = files.write("key", HEAD, DATA_SET)
    content = files.absolute(stored.path).read_bytes()
    assert content[PREAMBLE_BYTES:] == (HEAD + DATA_SET)[PREAMBLE_BYTES:]
    assert stored.size_bytes == len(content)
    assert stored.digest == digest_of(DATA_SET)


def test_a_file_that_was_sealed_with_sha_256_is_recovered(tmp_path: Path) -> None:
    digest, final = hashlib.sha256(DATA_SET).digest(), DAY / "key" / "name.dcm"
    ready = tmp_path / "ready"
    ready.mkdir()
    today = seal(final=final)
    (ready / "a.part").write_bytes(b"CSPNODE1" + today[8:24] + digest + today[56:])
    (ready / "b.part").write_bytes(b"CSPNODE1" + today[8:24] + bytes(32) + today[56:])
    found = whole(ready / "a.part")
    assert found is not None
    assert (found.digest, found.final) == (digest.hex(), final)
    files = store(tmp_path)
    files.recover()
    assert files.received() == (Path("received") / final,)
    assert not list(ready.iterdir())


def test_a_head_without_a_preamble_is_written_as_it_is(tmp_path: Path) -> None:
    files = store(tmp_path)
    stored = files.write("key", b"head", DATA_SET)
    assert files.absolute(stored.path).read_bytes() == b"head" + DATA_SET


@pytest.mark.parametrize("at", [0, 7, 9, 13, 17, 30, 130, 170, 5000, -1])
def test_a_sealed_file_with_another_byte_anywhere_is_not_whole(tmp_path: Path, at: int) -> None:
    content = bytearray(seal())
    file = tmp_path / "file"
    file.write_bytes(content)
    found = whole(file)
    assert found is not None
    assert found.final == DAY / "key" / "name.dcm"
    content[at] ^= 1
    file.write_bytes(content)
    assert whole(file) is None


@pytest.mark.parametrize("length", [0, 1, PREAMBLE_BYTES, 200, -1])
def test_a_sealed_file_that_is_cut_or_too_long_is_not_whole(tmp_path: Path, length: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(seal()[:length])
    assert whole(file) is None
    file.write_bytes(seal() + b"x")
    assert whole(file) is None


@pytest.mark.parametrize("final", [Path("/etc/passwd"), Path("../../x/y"), Path("x")])
def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path: Path, final: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(seal(final=final))
    assert whole(file) is None


def test_a_start_gives_whole_files_their_names_and_removes_the_rest(tmp_path: Path) -> None:
    (tmp_path / "ready").mkdir()
    (tmp_path / "ready" / "a.part").write_bytes(seal())
    (tmp_path / "ready" / "b.part").write_bytes(seal()[:-1])
    (tmp_path / "ready" / "c.part").write_bytes(b"")
    files = store(tmp_path)
    files.recover()
    final = Path("received") / DAY / "key" / "name.dcm"
    assert files.received() == files.unfinished() == (final,)
    assert files.absolute(final).read_bytes() == seal()
    assert not list((tmp_path / "ready").iterdir())
    files.recover()


def test_a_file_that_has_both_names_after_a_power_cut_keeps_the_last(tmp_path: Path) -> None:
    files = store(tmp_path)
    path = files.write("key", HEAD, DATA_SET).path
    (tmp_path / "ready" / "again.part").write_bytes(files.absolute(path).read_bytes())
    files.recover()
    assert files.received() == (path,)
    assert not list((tmp_path / "ready").iterdir())


def test_after_a_folder_could_not_be_synced_files_are_made_durable_one_by_one(tmp_path: Path) -> None:
    files = store(tmp_path, failing(at=lambda step, path: step == "sync_folder" and path.name == "ready"))
    with pytest.raises(StorageUnavailable):
        files.write("key", HEAD, DATA_SET)
    path = files.write("key", HEAD, DATA_SET).path
    assert files.absolute(path).read_bytes() == HEAD + DATA_SET
    assert not list((tmp_path / "ready").iterdir())


@pytest.mark.parametrize("bad", ["open_ready", "write", "sync_file", "close", "rename"])
def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, bad: str) -> None:
    files = store(tmp_path, failing(at=lambda step, path: step == bad and path.parent.name in ("ready", "key")))
    if bad == "close":  # the stock is made with the same call
        files = store(tmp_path, failing(at=_second_close()))
    with pytest.raises(StorageUnavailable):
        files.write("key", HEAD, DATA_SET)
    assert files.received() == ()
    assert all(os.path.getsize(left) == 0 for left in (tmp_path / "ready").iterdir())


def _second_close() -> Callable[[str, Path], bool]:
    seen: list[str] = []

    def is_it(step: str, path: Path) -> bool:
        seen.append(step)
        return step == "close" and "sync_file" in seen

    return is_it


def test_a_stock_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    files = store(tmp_path)
    files.write("key", HEAD, DATA_SET)
    store(tmp_path).recover()
    assert files.absolute(files.write("key", HEAD, DATA_SET).path).exists()
    store(tmp_path).recover()
    (tmp_path / "ready").rmdir()
    assert files.absolute(files.write("key", HEAD, DATA_SET).path).exists()


def test_a_study_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    files = store(tmp_path)
    path = files.write("key", HEAD, DATA_SET).path
    files.discard(path)
    files.absolute(path).parent.rmdir()
    for _ in range(STOCK + 1):
        assert files.absolute(files.write("key", HEAD, DATA_SET).path).exists()


def beside(root: Path, life: str, disk: Disk | None = None) -> DiskFileStore:
    return DiskFileStore(root, clock=Clock(), disk=disk, life=life)


def test_a_process_beside_the_node_has_a_stock_that_nobody_else_syncs(tmp_path: Path) -> None:
    synced: list[str] = []
    node, other = store(tmp_path), beside(tmp_path, "life", HookedDisk(lambda step, path: synced.append(path.name)))
    one, two = node.write("key", HEAD, DATA_SET), other.write("key", HEAD, DATA_SET)
    assert node.received() == tuple(sorted((one.path, two.path)))
    assert len(list((tmp_path / "ready-hands" / "life").iterdir())) == STOCK - 1
    assert "ready" not in synced


def test_a_start_recovers_what_every_life_left_and_syncs_where_its_files_went_first(tmp_path: Path) -> None:
    for life in ("one", "two"):
        beside(tmp_path, life).write("key", HEAD, DATA_SET)
    (tmp_path / "ready-hands" / "one" / "whole.part").write_bytes(seal())
    steps: list[tuple[str, str]] = []
    files = store(tmp_path, HookedDisk(lambda step, path: steps.append((step, path.name))))
    files.recover()
    assert steps[0] == ("sync_folder", "key")
    assert Path("received") / DAY / "key" / "name.dcm" in files.received()
    assert len(files.received()) == 3
    assert not list((tmp_path / "ready-hands").iterdir())


def test_the_stock_of_a_process_that_outlives_its_node_is_left_alone(tmp_path: Path) -> None:
    other = beside(tmp_path, "life")
    with other.stock_held():
        (tmp_path / "ready-hands" / "life" / "whole.part").write_bytes(seal())
        store(tmp_path).recover()
        assert store(tmp_path).received() == ()
    store(tmp_path).recover()
    assert len(store(tmp_path).received()) == 1
