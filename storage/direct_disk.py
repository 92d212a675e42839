"""The bytes of an image go to the disk past the operating system's cache.

An image that is received is synced at once and read again once, by its analysis, minutes later: it gains nothing from
the cache, and pays for it: writing and syncing 528 kB through it took 1.9 ms in one call, 0.9 in calls of 64 KiB, and
0.6 past it (`docs/PERFORMANCE.md`). The cache is left to what is read often.

How: a file of the stock (`open_ready`) is opened with O_DIRECT, whole blocks are gathered in an aligned buffer and
written, and what is left of the last block goes through the cache. Both are covered by the same fdatasync, which also
makes the disk empty its own cache: what Success means does not change. A file system that knows no such writes says
EINVAL (or does it silently through its cache); then everything goes through the cache, from there on.

How to edit safely: O_DIRECT wants address, offset and length aligned; files are written once, from their beginning. The
flag goes before the first bytes that are no whole block. Each system call lets go of the interpreter, which with
several associations is had again by waiting: hence the flag at the open, and no question which flags there are.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from storage.disk import Bytes, Disk

BLOCK_BYTES = 4096
BUFFER_BYTES = 1 << 20
KEPT_BUFFERS = 32
_LEAST_BYTES = 16 * BLOCK_BYTES
"""What is smaller goes through the cache: two writes instead of one cost more than they save."""


class DirectDisk(Disk):
    """As `Disk`, with `write` past the cache for what `open_ready` opened. Safe for any number of threads; a buffer for
    each that writes now.
    """

    def __init__(self) -> None:
        self._buffers: deque[mmap.mmap] = deque()
        self._direct: set[int] = set()  # descriptors with the flag
        self._is_refused = False

    def open_ready(self, path: Path) -> int:
        if not self._is_refused:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._is_refused = True
            else:
                self._direct.add(descriptor)
                return descriptor
        return super().open_ready(path)

    def close(self, descriptor: int) -> None:
        self._direct.discard(descriptor)
        super().close(descriptor)

    def write(self, descriptor: int, parts: Sequence[Bytes]) -> None:
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        if descriptor in self._direct:
            if sum(map(len, views)) >= _LEAST_BYTES:
                views = self._write_blocks(descriptor, views)
            if not views:
                return
            self._direct.discard(descriptor)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, 0)
        super().write(descriptor, views)

    def _write_blocks(self, descriptor: int, views: list[memoryview]) -> list[memoryview]:
        """What is left to be written, from where the descriptor stands."""
        buffer = self._borrowed()
        try:
            with memoryview(buffer) as window:
                return self._through(window, descriptor, views)
        finally:
            self._give_back(buffer)

    def _through(self, window: memoryview, descriptor: int, views: list[memoryview]) -> list[memoryview]:
        while views:
            filled, views = _gathered(window, views)
            whole = filled - filled % BLOCK_BYTES
            written = self._written(descriptor, window[:whole]) if whole else 0
            if written < filled:  # the tail, or a disk that took less: the common way ends it, or says why it cannot
                return [memoryview(bytes(window[written:filled])), *views]
        return []

    def _written(self, descriptor: int, blocks: memoryview) -> int:
        try:
            return os.write(descriptor, blocks)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._is_refused = True
            return 0

    def _borrowed(self) -> mmap.mmap:
        try:
            return self._buffers.pop()
        except IndexError:
            return mmap.mmap(-1, BUFFER_BYTES)

    def _give_back(self, buffer: mmap.mmap) -> None:
        if len(self._buffers) < KEPT_BUFFERS:
            self._buffers.append(buffer)


class UnsyncedDisk(DirectDisk):
    """Waits for no sync: what it wrote survives this process, no power cut.

    Past the cache here, too. One association alone is faster into the cache until that is full, and slower then.
    Several pay for each call, after which the interpreter is to be had again: a large image is one call and not eight.
    Choosing by whether somebody else writes at the moment was no faster than the cache (`docs/PERFORMANCE.md`).
    """

    def make_root(self, root: Path) -> None:
        """Exists afterwards."""
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def sync_file(self, descriptor: int) -> None:
        """Nothing."""

    def sync_folder(self, folder: Path) -> None:
        """Nothing."""


def _gathered(window: memoryview, views: list[memoryview]) -> tuple[int, list[memoryview]]:
    """How many bytes of `views` lie in `window` now, and what is left of them."""
    filled = 0
    left = list(views)
    while left and filled < len(window):
        piece = left[0][: len(window) - filled]
        window[filled : filled + len(piece)] = piece
        filled += len(piece)
        left[0] = left[0][len(piece) :]
        if not len(left[0]):
            left.pop(0)
    return filled, left
