"""Syslog messages that wait to be sent, each a file, in the order they came; they outlive the process."""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node.audit.one_writer import alone_in


class Spool:
    """Files of `folder`, named by rising numbers. `put` and the others may be called from two threads.

    Another process may put messages there too: none takes the place of another, and whoever sends finds them all. What
    the other put counts against `maximum_bytes` from the next start on.
    """

    def __init__(self, folder: Path, *, maximum_bytes: int) -> None:
        self._folder = folder
        self._maximum_bytes = maximum_bytes
        waiting = self.waiting()
        self._next = int(waiting[-1].stem) + 1 if waiting else 1
        self._bytes = sum(_size(path) for path in waiting)

    def put(self, line: bytes) -> int:
        """The message waits; returns how many older ones had to go for it. Raises OSError where it cannot be kept."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone_in(self._folder):
            self._write(self._free_path(), line)
        self._bytes += len(line)
        return self._drop_oldest() if self._bytes > self._maximum_bytes else 0

    def waiting(self) -> tuple[Path, ...]:
        """Oldest first."""
        return tuple(sorted(self._folder.glob("*.syslog")))

    def sent(self, path: Path) -> None:
        """It waits no more."""
        self._forget(path)

    def _free_path(self) -> Path:
        """A file whose name no message of this or another process has."""
        while (path := self._folder / f"{self._next:012d}.syslog").exists():
            self._next += 1
        self._next += 1
        return path

    def _write(self, path: Path, line: bytes) -> None:
        part = path.with_suffix(".part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(line)
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _drop_oldest(self) -> int:
        dropped = 0
        for path in self.waiting():
            if self._bytes <= self._maximum_bytes:
                break
            self._forget(path)
            dropped += 1
        return dropped

    def _forget(self, path: Path) -> None:
        size = _size(path)
        path.unlink(missing_ok=True)
        self._bytes = max(0, self._bytes - size)


def _size(path: Path) -> int:
    """Bytes; 0 for what was sent meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
