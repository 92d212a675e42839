"""One sync for an instance: names made durable ahead, and files that say themselves whether they are whole.

A new file is durable after two syncs, one of its bytes and one of the folder that holds its name. Here names come from
a stock: empty files in `ready/` whose names were synced together. An instance is written into one of them, synced, and
renamed to where it belongs; that rename is not synced. After a power cut the file has its new name or still the old
one, and which it is does not matter, because its first 128 bytes (the preamble of PS3.10 7.1, free for whoever writes
the file) say where it belongs and what its bytes must add up to. `recover` gives every whole file its name and removes
the rest, which nobody was told about.

    offset  bytes
    0       8      magic
    8       4      CRC-32 of what stands between preamble and data set, unsigned
    12      4      length of that, unsigned
    16      8      length of the data set, unsigned
    24      32     BLAKE3 of the data set; SHA-256 where the magic ends in 1
    56      72     final name below `received/`, padded with zeros              (all little endian)

One order must be kept: `ready/` may only be synced when every folder into which files were renamed is, or a name would
be gone from the one place before it is in the other. So each filling of the stock syncs those folders first. A disk
that fails in between leaves a file under its old name, which the next start finds. A start syncs them all, because the
life before may have been killed without a power cut, and nobody knows where its files went.

So a process that writes beside the node has a folder of names of its own, which nobody else syncs: one in
`ready-hands/` for each of its lives.

How to edit safely: a file in `ready/` is empty, or being written by one thread, or waits for `recover`; `tests/crash`
stops the node at every call.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from dicom_node.core.data_set_digest import text_of
from dicom_node.data_set_hash import DataSetHash
from storage.disk import Disk

PREAMBLE_BYTES = 128
STOCK = 64

_MAGIC, _MAGIC_OF_SHA256 = b"CSPNODE2", b"CSPNODE1"
_CHUNK = 1 << 20
_META_HEAD = b"DICM\x02\x00\x00\x00UL\x04\x00"
"""Prefix and (0002,0000), whose value is the length of the meta information behind it (PS3.10 7.1)."""
_LONGEST_PATH = 72
_layout = struct.Struct(f"<8sLLQ32s{_LONGEST_PATH}s")


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What a preamble promises of its file; `final` is relative to where received files are."""

    final: Path
    digest: str
    size_bytes: int


def sealed(head: bytes, data_set: bytes | memoryview, *, digest: bytes, final: str) -> bytes | None:
    """`head` (preamble and file meta) with a preamble that seals it and the data set.

    None where there is no preamble, or not enough room in it for `final`, which has forward slashes.
    """
    path = final.encode()
    meta = head[PREAMBLE_BYTES:]
    if len(head) < PREAMBLE_BYTES or len(path) > _LONGEST_PATH:
        return None
    size = memoryview(data_set).nbytes
    return _layout.pack(_MAGIC, zlib.crc32(meta), len(meta), size, digest, path) + meta


def whole(file: Path) -> Whole | None:
    """What the file is where it is sealed and whole; None where it is not. Raises OSError."""
    with file.open("rb") as opened:
        preamble = opened.read(PREAMBLE_BYTES)
        if len(preamble) < PREAMBLE_BYTES:
            return None
        magic, crc, meta_bytes, data_bytes, digest, path = _layout.unpack(preamble)
        size = PREAMBLE_BYTES + meta_bytes + data_bytes
        if magic not in (_MAGIC, _MAGIC_OF_SHA256) or os.fstat(opened.fileno()).st_size != size:
            return None
        if zlib.crc32(opened.read(meta_bytes)) != crc:
            return None
        promised = text_of(digest) if magic == _MAGIC else digest.hex()
        if _digest_of_rest(opened, like=promised) != promised:
            return None
    final = PurePosixPath(path.rstrip(b"\0").decode("utf-8", "replace"))
    if final.is_absolute() or ".." in final.parts or len(final.parts) < 2:
        return None
    return Whole(final=Path(final), digest=promised, size_bytes=size)


def digest_in(file: Path, *, like: str) -> str:
    """The digest of the data set in a Part 10 file, of the kind of `like`. Raises OSError, ValueError."""
    with file.open("rb") as opened:
        head = opened.read(PREAMBLE_BYTES + len(_META_HEAD) + 4)
        if head[PREAMBLE_BYTES:-4] != _META_HEAD:
            raise ValueError("not a DICOM file with file meta information")
        opened.seek(int.from_bytes(head[-4:], "little"), os.SEEK_CUR)
        return _digest_of_rest(opened, like=like)


def _digest_of_rest(opened: BinaryIO, *, like: str) -> str:
    rest = DataSetHash(like=like)
    while chunk := opened.read(_CHUNK):
        rest.update(chunk)
    return rest.text


class ReadyFiles:
    """The stock of durable names in `folder`. Safe for any number of threads.

    One lock is held over the renames and over filling the stock with its syncs, once in `stock` files: a rename between
    the sync of its target and the sync of `ready/` would leave its file without a durable name.
    """

    def __init__(self, folder: Path, disk: Disk, new_name: Callable[[], str], *, stock: int = STOCK) -> None:
        """`folder` is absolute; it exists durably when `take` is called."""
        self._folder = folder
        self._disk = disk
        self._new_name = new_name
        self._stock = stock
        self._names: list[Path] = []
        self._lock = threading.Lock()
        self._renamed_into: set[Path] = set()
        self._is_distrusted = False

    def take(self) -> Path | None:
        """An empty file of a durable name, for the caller alone.

        None once a sync of a folder has failed: another would succeed and prove nothing, so `ready/` is not synced any
        more in this life, and files have to be made durable in another way. Raises OSError where none can be made.
        """
        with self._lock:
            if not self._names and not self._is_distrusted:
                self._fill()
            return self._names.pop() if self._names else None

    def stock_up(self) -> None:
        """Names lie ready for those who `take`. Raises OSError where none can be made."""
        with self._lock:
            if not self._names and not self._is_distrusted:
                self._fill()

    def rename(self, ready: Path, final: Path) -> None:
        """`ready` is called `final`, and one of the two names is durable. Raises OSError."""
        with self._lock:
            self._renamed_into.add(final.parent)
            self._disk.rename(ready, final)

    def _fill(self) -> None:
        names: list[Path] = []
        try:
            self._sync_targets()
            for _ in range(self._stock):
                path = self._folder / f"{self._new_name()}.part"
                descriptor = self._disk.open_new(path)
                names.append(path)
                self._disk.close(descriptor)
            self._sync(self._folder)
        except BaseException:
            for path in names:
                with suppress(OSError):
                    self._disk.remove(path)
            raise
        self._names = names

    def _sync_targets(self) -> None:
        for folder in tuple(self._renamed_into):
            with suppress(FileNotFoundError):  # removed, and with it what was renamed into it
                self._sync(folder)
            self._renamed_into.discard(folder)

    def _sync(self, folder: Path) -> None:
        try:
            self._disk.sync_folder(folder)
        except FileNotFoundError:
            raise
        except OSError:
            self._is_distrusted = True
            raise
