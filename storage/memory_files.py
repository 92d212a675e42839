"""The in-memory twin of the file store."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicom_node.core.data_set_digest import text_of
from dicom_node.core.errors import StorageUnavailable
from dicom_node.data_set_hash import hash_of
from dicom_node.ports import Clock, StoredFile
from storage.ready_files import digest_in


class MemoryFileStore:
    """`FileStore` of the ports with the bytes in `contents`; `absolute` lays a file under `root` when it is asked for.

    Names count up, so a test can foretell them. `failure`, once set, is raised by every write; `free` is what
    `free_bytes` says; `notes` holds what was set aside and why.
    """

    def __init__(self, root: Path, *, clock: Clock, free: int = 1 << 40) -> None:
        self._root = root
        self._clock = clock
        self._numbers = itertools.count(1)
        self.contents: dict[Path, bytes] = {}
        self.notes: dict[Path, tuple[str, dict[str, str]]] = {}
        self.failure: StorageUnavailable | None = None
        self.free = free

    def write(
        self, study_key: str, head: bytes, data_set: bytes | memoryview, *, digest: bytes | None = None
    ) -> StoredFile:
        if self.failure is not None:
            raise self.failure
        body = bytes(data_set)
        path = Path("received", self._today(), study_key, f"{next(self._numbers):08d}.dcm")
        self.contents[path] = head + body
        return StoredFile(path=path, digest=text_of(digest or hash_of(body)), size_bytes=len(head) + len(body))

    def digest(self, path: Path, *, like: str) -> str:
        try:
            return digest_in(self.absolute(path), like=like)
        except OSError as error:
            raise StorageUnavailable(f"{path} cannot be read: {error.strerror or error}") from error

    def recover(self) -> None:
        """Nothing: no power is cut here."""

    def absolute(self, path: Path) -> Path:
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} is not a path inside the file store")
        absolute = self._root / path
        if path in self.contents and not absolute.exists():
            absolute.parent.mkdir(parents=True, exist_ok=True)
            absolute.write_bytes(self.contents[path])
        return absolute

    def discard(self, path: Path) -> None:
        self.absolute(path).unlink(missing_ok=True)
        self.contents.pop(path, None)
        self.notes.pop(path, None)

    def set_aside(self, path: Path, *, reason: str, detail: dict[str, str]) -> Path:
        if path not in self.contents:
            raise StorageUnavailable(f"{path} cannot be set aside: it is not there")
        target = Path("quarantine", self._today(), path.name)
        if target in self.contents:
            target = target.with_stem(f"{target.stem}-{next(self._numbers):08d}")
        self.contents[target] = self.contents[path]
        self.notes[target] = (reason, dict(detail))
        self.discard(path)
        return target

    def keep_aside(
        self, head: bytes, data_set: bytes | memoryview, *, reason: str, detail: dict[str, str]
    ) -> StoredFile:
        stored = self.write("aside", head, data_set)
        target = Path("quarantine", self._today(), stored.path.name)
        self.contents[target] = self.contents.pop(stored.path)
        self.notes[target] = (reason, dict(detail))
        return replace(stored, path=target)

    def quarantined(self) -> tuple[Path, ...]:
        return tuple(sorted(path for path in self.contents if path.parts[0] == "quarantine"))

    def note_of(self, path: Path) -> dict[str, Any]:
        if path not in self.notes:
            return {}
        reason, detail = self.notes[path]
        return {"reason": reason, "detail": detail}

    def free_bytes(self) -> int:
        return self.free

    def received(self) -> tuple[Path, ...]:
        return tuple(sorted(path for path in self.contents if path.parts[0] == "received"))

    def unfinished(self) -> tuple[Path, ...]:
        return tuple(sorted(path for path in self.contents if path.parts[0] in ("received", "incoming")))

    def job_folder(self, job_id: int, *inner: str) -> Path:
        folder = self._root.joinpath("jobs", str(job_id), *inner)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def job_folders(self) -> tuple[int, ...]:
        return tuple(sorted(int(folder.name) for folder in (self._root / "jobs").glob("*") if folder.name.isdecimal()))

    def discard_job_folder(self, job_id: int) -> None:
        shutil.rmtree(self._root / "jobs" / str(job_id), ignore_errors=True)

    def _today(self) -> str:
        return self._clock.now().date().isoformat()
