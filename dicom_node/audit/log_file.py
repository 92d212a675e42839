"""The audit trail in a file, one syslog line a message; a full file is put aside and a new one begun.

The node writes it, and beside it whoever decides something on the command line: a lock on the folder lets one at a time
look at the size, put the file aside and add a line.
"""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node.audit.one_writer import alone_in


class AuditFile:
    """`path`, with up to `count` earlier files beside it, the newest ending in .1. Used by one thread at a time,
    and by any number of processes."""

    def __init__(self, path: Path, *, maximum_bytes: int, count: int) -> None:
        self._path = path
        self._maximum_bytes = maximum_bytes
        self._count = count

    def append(self, line: bytes) -> int:
        """The line is in the file, whole; returns how many had to go for it: none. Raises OSError where it is not."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone_in(self._path.parent):
            if self._size() + len(line) + 1 > self._maximum_bytes:
                self._rotate()
            self._add(line + b"\n")
        return 0

    def _add(self, whole: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, whole) != len(whole):
                # A full disk may take a part; the next line must not begin in the middle of this one.
                os.ftruncate(descriptor, before)
                raise OSError(f"only a part of the line could be written to {self._path}")
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _rotate(self) -> None:
        self._numbered(self._count).unlink(missing_ok=True)
        for number in range(self._count - 1, -1, -1):
            source = self._numbered(number)
            if source.exists():
                source.rename(self._numbered(number + 1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path
