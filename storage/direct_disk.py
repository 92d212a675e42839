"""The bytes of an image go to the disk past the operating system's cache.

An image that is received is synced at once and read again once, by its analysis, minutes later: it gains nothing from
the cache, and pays for it. Of 2.4 ms for writing and syncing 526 kB on a virtual machine 1.5 went into finding pages
for the cache; written past it the same took 0.8 (`docs/PERFORMANCE.md`). The cache is left to what is read often.

How: whole blocks are gathered in an aligned buffer and written with O_DIRECT, what is left of the last block goes
through the cache. Both are covered by the same fdatasync, which also makes the disk empty its own cache: what Success
means does not change. A file system that knows no such writes says EINVAL (or does it silently through its cache);
then everything goes through the cache, from there on.

How to edit safely: O_DIRECT wants address, offset and length aligned; files are written once, from their beginning. The
flag is set for the blocks alone, so that the tail, and whoever writes next, does so in the common way.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Sequence

from storage.disk import Bytes, Disk

BLOCK_BYTES = 4096
BUFFER_BYTES = 1 << 20
KEPT_BUFFERS = 32
_LEAST_BYTES = 16 * BLOCK_BYTES
"""What is smaller goes through the cache: two writes instead of one cost more than they save."""


class DirectDisk(Disk):
    """As `Disk`, with `write` past the cache. Safe for any number of threads; a buffer for each that writes now."""

    def __init__(self) -> None:
        self._buffers: deque[mmap.mmap] = deque()
        self._is_refused = False

    def write(self, descriptor: int, parts: Sequence[Bytes]) -> None:
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        if not self._is_refused and sum(map(len, views)) >= _LEAST_BYTES:
            views = self._write_blocks(descriptor, views)
        super().write(descriptor, views)

    def _write_blocks(self, descriptor: int, views: list[memoryview]) -> list[memoryview]:
        """What is left to be written, from where the descriptor stands."""
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        if not self._set_flags(descriptor, flags | os.O_DIRECT):
            return views
        buffer = self._borrowed()
        try:
            with memoryview(buffer) as window:
                return self._through(window, descriptor, views)
        finally:
            self._give_back(buffer)
            self._set_flags(descriptor, flags)

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

    def _set_flags(self, descriptor: int, flags: int) -> bool:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._is_refused = True
        return not self._is_refused

    def _borrowed(self) -> mmap.mmap:
        try:
            return self._buffers.pop()
        except IndexError:
            return mmap.mmap(-1, BUFFER_BYTES)

    def _give_back(self, buffer: mmap.mmap) -> None:
        if len(self._buffers) < KEPT_BUFFERS:
            self._buffers.append(buffer)


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
