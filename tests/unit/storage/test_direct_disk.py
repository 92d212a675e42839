"""Writing past the cache: the same bytes as ever, and the common way where there is no other."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from storage.direct_disk import BLOCK_BYTES, BUFFER_BYTES, DirectDisk, UnsyncedDisk
from storage.disk import Bytes

LARGE = 20 * BLOCK_BYTES


def content(count: int) -> bytes:
    return (b"0123456789abcdef" * (count // 16 + 1))[:count]


def written(disk: DirectDisk, path: Path, *parts: Bytes) -> bytes:
    path.touch()
    descriptor = disk.open_ready(path)
    try:
        disk.write(descriptor, parts)
        disk.sync_file(descriptor)
    finally:
        disk.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize(
    "count",
    [0, 1, LARGE - 1, LARGE, LARGE + 1, BUFFER_BYTES - 7, BUFFER_BYTES, BUFFER_BYTES + 5, 2 * BUFFER_BYTES + 4097],
)
def test_a_file_holds_exactly_what_was_written_whatever_its_length(tmp_path: Path, count: int) -> None:
    head, data_set = b"head of no round length", content(count)
    assert written(DirectDisk(), tmp_path / "file", head, memoryview(data_set)) == head + data_set


@pytest.mark.parametrize("kind", [DirectDisk, UnsyncedDisk])
def test_whole_blocks_are_written_past_the_cache(
    kind: type[DirectDisk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        seen.append((len(data), fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    if written(kind(), tmp_path / "file", b"head", content(LARGE)) and not seen:
        pytest.skip("this file system knows no writes past its cache")
    assert seen == [(LARGE, os.O_DIRECT)]


@pytest.mark.parametrize(("kind", "syncs"), [(DirectDisk, True), (UnsyncedDisk, False)])
def test_only_the_one_that_says_so_waits_for_no_sync(
    kind: type[DirectDisk], syncs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda descriptor, name=name: asked.append(name))
    disk = kind()
    disk.make_root(tmp_path / "root")
    disk.sync_folder(tmp_path)
    assert written(disk, tmp_path / "file", content(LARGE)) == content(LARGE)
    assert set(asked) == ({"fsync", "fdatasync"} if syncs else set())


def test_a_file_system_that_refuses_at_the_write_gets_everything_in_the_common_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _data: Any) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "write", refuse)
    disk = DirectDisk()
    assert written(disk, tmp_path / "first", b"head", content(LARGE)) == b"head" + content(LARGE)
    assert written(disk, tmp_path / "second", b"head", content(LARGE)) == b"head" + content(LARGE)


def test_a_file_system_that_refuses_at_the_open_gets_everything_in_the_common_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = os.open, []

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        asked.append(flags & os.O_DIRECT)
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    disk = DirectDisk()
    for name in ("first", "second"):
        assert written(disk, tmp_path / name, b"head", content(LARGE)) == b"head" + content(LARGE)
    assert asked.count(os.O_DIRECT) == 1


def test_a_descriptor_that_comes_again_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    disk = DirectDisk()
    (tmp_path / "ready").touch()
    before = disk.open_ready(tmp_path / "ready")
    disk.close(before)
    descriptor = disk.open_new(tmp_path / "new")
    try:
        assert descriptor == before
        disk.write(descriptor, [b"no whole block"])
    finally:
        disk.close(descriptor)
    assert (tmp_path / "new").read_bytes() == b"no whole block"


@pytest.mark.parametrize("took", [0, BLOCK_BYTES, BLOCK_BYTES + 512])
def test_a_disk_that_takes_less_than_it_was_given_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, took: int
) -> None:
    def less(descriptor: int, data: Any) -> int:
        return os.pwrite(descriptor, data[:took], 0) and os.lseek(descriptor, took, os.SEEK_SET) if took else 0

    monkeypatch.setattr(os, "write", less)
    large = content(BUFFER_BYTES + LARGE)
    assert written(DirectDisk(), tmp_path / "file", large) == large


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError) as refused:
        written(DirectDisk(), tmp_path / "file", content(LARGE))
    assert refused.value.errno == errno.ENOSPC
