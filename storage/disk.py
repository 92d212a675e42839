"""The system calls behind the file store, one method each, so that a test can fail or stop the node between any two.

`HookedDisk` calls a hook before every step. A hook that raises OSError(ENOSPC) is a full disk at that step; a hook
that ends the process is a power cut there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

Bytes = bytes | memoryview

CACHED_AT_ONCE = 65_536
"""What is written into the cache in one call. A newer kernel takes one block of memory for what one call writes, and
has to look for it where it is large: 528 kB took 1.3 ms in one call and take 0.3 in calls of 64 KiB (Linux 6.18, ext4).
"""


class Disk:
    """The real one. Every method may raise OSError."""

    def make_root(self, root: Path) -> None:
        """Exists afterwards, and its name and those of its parents survive a power cut.

        Whoever made them, this process or another, may not have synced them. A parent that we may not read was made by
        somebody who may, and not now.
        """
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in root.parents:
            with suppress(PermissionError):
                Disk.sync_folder(self, folder)

    def make_folder(self, folder: Path) -> None:
        """Exists afterwards; its parent must exist."""
        folder.mkdir(mode=0o700, exist_ok=True)

    def open_new(self, path: Path) -> int:
        """A descriptor for writing; FileExistsError where the name is taken."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open_ready(self, path: Path) -> int:
        """A descriptor for writing into a file that is there."""
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, descriptor: int, parts: Sequence[Bytes]) -> None:
        """All bytes of all parts, in order, however many calls that takes."""
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        while views:
            written = os.writev(descriptor, _first_of(views, CACHED_AT_ONCE))
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def sync_file(self, descriptor: int) -> None:
        """Bytes and length survive a power cut (fdatasync writes the length when it has changed)."""
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def sync_folder(self, folder: Path) -> None:
        """The names in `folder` survive a power cut."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Gone afterwards, also where it never was."""
        path.unlink(missing_ok=True)

    def free_bytes(self, folder: Path) -> int:
        """What an ordinary user may still write to the file system of `folder`."""
        figures = os.statvfs(folder)
        return figures.f_bavail * figures.f_frsize


class HookedDisk(Disk):
    """Calls `before(step, path)` ahead of each step that changes the disk; `step` is the method's name.

    `write` happens in two halves with a call before each, as on a disk that fills up in the middle of a file.
    """

    def __init__(self, before: Callable[[str, Path], None]) -> None:
        self._before = before
        self._open: dict[int, Path] = {}

    def make_folder(self, folder: Path) -> None:
        self._before("make_folder", folder)
        super().make_folder(folder)

    def open_new(self, path: Path) -> int:
        self._before("open_new", path)
        descriptor = super().open_new(path)
        self._open[descriptor] = path
        return descriptor

    def open_ready(self, path: Path) -> int:
        self._before("open_ready", path)
        descriptor = super().open_ready(path)
        self._open[descriptor] = path
        return descriptor

    def write(self, descriptor: int, parts: Sequence[Bytes]) -> None:
        whole = b"".join(parts)
        middle = len(whole) // 2
        for half in (whole[:middle], whole[middle:]):
            self._before("write", self._open[descriptor])
            super().write(descriptor, [half])

    def sync_file(self, descriptor: int) -> None:
        self._before("sync_file", self._open[descriptor])
        super().sync_file(descriptor)

    def close(self, descriptor: int) -> None:
        # Closing gives the descriptor back even where it reports an error (close(2)).
        path = self._open.pop(descriptor)
        super().close(descriptor)
        self._before("close", path)

    def rename(self, source: Path, target: Path) -> None:
        self._before("rename", target)
        super().rename(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._before("sync_folder", folder)
        super().sync_folder(folder)

    def remove(self, path: Path) -> None:
        self._before("remove", path)
        super().remove(path)


def _first_of(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """The first `count` bytes of what `views` hold together."""
    taken: list[memoryview] = []
    for view in views:
        taken.append(view[:count])
        count -= len(taken[-1])
        if not count:
            break
    return taken
