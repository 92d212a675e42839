"""Writing through the cache: all bytes, in pieces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.disk import CACHED_AT_ONCE, Bytes, Disk

SMALL: list[Bytes] = [b"head", memoryview(b"0123456789abcdef"), b"tail"]
LARGE: list[Bytes] = [b"head", b"", memoryview(b"0123456789abcdef" * 20_000), b"tail"]


def written(path: Path, parts: list[Bytes]) -> bytes:
    disk = Disk()
    descriptor = disk.open_new(path)
    try:
        disk.write(descriptor, parts)
    finally:
        disk.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("takes", "parts"), [(7, SMALL), (4096, LARGE), (CACHED_AT_ONCE - 1, LARGE), (CACHED_AT_ONCE, LARGE)]
)
def test_all_bytes_are_written_however_little_the_disk_takes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: int, parts: list[Bytes]
) -> None:
    asked: list[int] = []

    def writev(descriptor: int, views: Sequence[memoryview]) -> int:
        asked.append(sum(map(len, views)))
        return os.write(descriptor, b"".join(views)[:takes])

    monkeypatch.setattr(os, "writev", writev)
    assert written(tmp_path / "file", parts) == b"".join(parts)
    assert max(asked) <= CACHED_AT_ONCE
