"""Received bytes on disk, durable when `write` returns, as far as the `Disk` waits for that.

    ready/<name>.part                             empty, or being written: the stock of `ready_files`
    ready-hands/<life>/<name>.part                the same, of one life of a process that writes beside the node
    incoming/<name>.part                          being written without a durable name
    received/YYYY-MM-DD/<study key>/<name>.dcm    complete and durable; the day is that of arrival, UTC
    quarantine/YYYY-MM-DD/<name>.dcm and .json    set aside, with the reason
    jobs/<id>/                                    what analysis and encoding of a job leave

A final name is given by rename after the bytes are on the disk, so whatever carries one is complete. Of a received
file either that name is durable or the one it had in `ready/`, from where `recover` takes it (`ready_files`); any other
name is made durable by syncing its folder, a new folder by syncing its parent. A file that was made durable but never
got its row (the process died in between) is found by the sweep at start-up through `unfinished`.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from dicom_node.core.data_set_digest import text_of
from dicom_node.core.errors import StorageUnavailable
from dicom_node.data_set_hash import digest_of, hash_of
from dicom_node.ports import Clock, StoredFile
from storage.disk import Bytes, Disk
from storage.lock import held
from storage.ready_files import ReadyFiles, digest_in, sealed, whole

READY, READY_OF_HANDS, RECEIVED = "ready", "ready-hands", "received"
_READY, _INCOMING, _RECEIVED, _QUARANTINE, _JOBS = (
    Path(READY),
    Path("incoming"),
    Path(RECEIVED),
    Path("quarantine"),
    Path("jobs"),
)
_READY_OF_HANDS = Path(READY_OF_HANDS)
"""Beside `ready/`: whoever syncs a folder with names in it must have synced where its own files were renamed to, and
nobody knows that of another process."""
SWEEP_DAYS = 3


class DiskFileStore:
    """`FileStore` of the ports under `root`, which is made where it does not exist. Safe for any number of threads.

    `new_name` gives names that never repeat; `unfinished` looks through the newest `sweep_days` days there are.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        disk: Disk | None = None,
        new_name: Callable[[], str] = lambda: uuid.uuid4().hex,
        sweep_days: int = SWEEP_DAYS,
        life: str = "",
    ) -> None:
        """`life` names a process that writes beside the node, and never repeats: it has a stock of its own."""
        self._root = root.absolute()
        self._clock = clock
        self._disk = disk or Disk()
        self._new_name = new_name
        self._sweep_days = sweep_days
        # Folders whose own name is known to be durable. Others of the process may add to it at any time.
        self._durable: set[Path] = set()
        self._guard = threading.Lock()
        self._stock = _READY_OF_HANDS / life if life else _READY
        self._ready = ReadyFiles(self._root / self._stock, self._disk, new_name)
        # A path is expensive to put together, and a study's images all have the same folder.
        self._folder_of = lru_cache(maxsize=64)(lambda day, study_key: _RECEIVED / day / study_key)

    def recover(self) -> None:
        """Give what a power cut left in `ready/` its final name where it is whole, and remove the rest.

        Only while nobody writes; the stock of a process that still lives, after its node was killed, is left to the
        next start. Raises StorageUnavailable.
        """
        left = sorted(self.absolute(_READY_OF_HANDS).glob("*"))
        if left or self.absolute(_READY).exists():
            self._sync_newest()
        self._recover_in(self.absolute(_READY))
        for folder in left:
            with held(folder) as is_ours:
                if is_ours:
                    self._recover_in(folder)
                    with suppress(OSError):
                        folder.rmdir()

    def make_ready(self) -> None:
        """Do ahead what the first image would wait for: folders that exist durably, and a stock of names.

        Raises StorageUnavailable; then the first image tries again.
        """
        try:
            self._ensure_folder(_RECEIVED / self._today())
            self._ensure_folder(self._stock)
            self._ready.stock_up()
        except OSError as error:
            raise self._unavailable("made ready", self._stock, error) from error

    @contextmanager
    def stock_held(self) -> Iterator[None]:
        """While the block runs, no `recover` touches the stock of this process. Raises StorageUnavailable."""
        try:
            self._ensure_folder(self._stock)
        except OSError as error:
            raise self._unavailable("made", self._stock, error) from error
        with held(self.absolute(self._stock)):
            yield

    def _sync_newest(self) -> None:
        """What an earlier life renamed out of a stock has its new name durably: after a mere kill nobody knows any more
        which folders these were, and the stock is synced when it is filled again.
        """
        for day in self._newest_days():
            for folder in day.glob("*"):
                try:
                    self._disk.sync_folder(folder)
                except OSError as error:
                    raise self._unavailable("synced", folder.relative_to(self._root), error) from error

    def _newest_days(self) -> list[Path]:
        return newest_days(self.absolute(_RECEIVED), self._sweep_days)

    def _recover_in(self, folder: Path) -> None:
        path = folder
        try:
            for path in sorted(folder.glob("*.part")):
                found = whole(path)
                final = _RECEIVED / found.final if found else None
                if final is None or self.absolute(final).exists():
                    self._disk.remove(path)
                else:
                    self._ensure_folder(final.parent)
                    self._move(path.relative_to(self._root), final)
        except OSError as error:
            raise self._unavailable("recovered", path, error) from error

    def write(
        self, study_key: str, head: bytes, data_set: bytes | memoryview, *, digest: bytes | None = None
    ) -> StoredFile:
        name = self._new_name()
        day = self._today()
        folder = self._folder_of(day, study_key)
        final = folder / f"{name}.dcm"
        known = digest or hash_of(data_set)
        sealed_head = sealed(head, data_set, digest=known, final=f"{day}/{study_key}/{name}.dcm")
        try:
            self._ensure_folder(folder)
            if sealed_head is None or not self._write_ready(final, (sealed_head, data_set)):
                self._write_anew(_INCOMING / f"{name}.part", final, head, data_set)
        except OSError as error:
            raise self._unavailable("written", final, error) from error
        return StoredFile(path=final, digest=text_of(known), size_bytes=len(head) + memoryview(data_set).nbytes)

    def digest(self, path: Path, *, like: str) -> str:
        try:
            return digest_in(self.absolute(path), like=like)
        except OSError as error:
            raise self._unavailable("read", path, error) from error

    def absolute(self, path: Path) -> Path:
        """Raises ValueError for a path that leads out of the store."""
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} is not a path inside the file store")
        return self._root / path

    def discard(self, path: Path) -> None:
        """Gone, also where it never was. Not synced: a name that comes back after a power cut is swept again."""
        try:
            self._disk.remove(self.absolute(path))
            if path.parts[0] == _QUARANTINE.name:
                self._disk.remove(self.absolute(path.with_suffix(".json")))
        except OSError as error:
            raise self._unavailable("removed", path, error) from error

    def set_aside(self, path: Path, *, reason: str, detail: dict[str, str]) -> Path:
        target = _QUARANTINE / self._today() / path.with_suffix(".dcm").name
        text = self._note(reason, detail, path.as_posix())
        try:
            self._ensure_folder(target.parent)
            if any(self.absolute(target.with_suffix(suffix)).exists() for suffix in (".dcm", ".json")):
                target = target.with_stem(f"{target.stem}-{self._new_name()}")
            # The note first: a file in quarantine without a reason would be a riddle, a reason without a file is not.
            self._create(target.with_suffix(".json"), text, b"")
            self._move(path, target)
        except OSError as error:
            raise self._unavailable("set aside", path, error) from error
        return target

    def keep_aside(
        self, head: bytes, data_set: bytes | memoryview, *, reason: str, detail: dict[str, str]
    ) -> StoredFile:
        name = self._new_name()
        temporary = _INCOMING / f"{name}.part"
        final = _QUARANTINE / self._today() / f"{name}.dcm"
        try:
            self._ensure_folder(_INCOMING)
            self._ensure_folder(final.parent)
            self._create(final.with_suffix(".json"), self._note(reason, detail, ""), b"")
            self._create(temporary, head, data_set)
            self._finish(temporary, final)
        except OSError as error:
            self._remove_quietly(final.with_suffix(".json"))
            raise self._unavailable("kept aside", final, error) from error
        return StoredFile(path=final, digest=digest_of(data_set), size_bytes=len(head) + memoryview(data_set).nbytes)

    def quarantined(self) -> tuple[Path, ...]:
        found = self.absolute(_QUARANTINE).glob("*/*.dcm")
        return tuple(sorted(path.relative_to(self._root) for path in found))

    def note_of(self, path: Path) -> dict[str, Any]:
        try:
            note = json.loads(self.absolute(path.with_suffix(".json")).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def free_bytes(self) -> int:
        try:
            with suppress(FileNotFoundError):
                return self._disk.free_bytes(self._root)
            self._root.mkdir(parents=True, exist_ok=True)
            return self._disk.free_bytes(self._root)
        except OSError as error:
            raise self._unavailable("measured", Path(), error) from error

    def received(self) -> tuple[Path, ...]:
        found = self.absolute(_RECEIVED).glob("*/*/*.dcm")
        return tuple(sorted(path.relative_to(self._root) for path in found))

    def unfinished(self) -> tuple[Path, ...]:
        found = [*self.absolute(_INCOMING).glob("*")]
        for day in self._newest_days():
            found += day.glob("*/*.dcm")
        return tuple(sorted(path.relative_to(self._root) for path in found))

    def job_folder(self, job_id: int, *inner: str) -> Path:
        folder = _JOBS.joinpath(str(job_id), *inner)
        if not self.absolute(folder).is_dir():
            self._forget(_JOBS / str(job_id))
        try:
            self._ensure_folder(folder)
        except OSError as error:
            raise self._unavailable("made", folder, error) from error
        return self.absolute(folder)

    def job_folders(self) -> tuple[int, ...]:
        found = self.absolute(_JOBS).glob("*")
        return tuple(sorted(int(folder.name) for folder in found if folder.name.isdecimal()))

    def discard_job_folder(self, job_id: int) -> None:
        folder = self.absolute(_JOBS / str(job_id))
        try:
            for path in sorted(folder.rglob("*"), reverse=True):  # what is inside a folder sorts behind it
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    self._disk.remove(path)
            if folder.is_dir():
                folder.rmdir()
        except OSError as error:
            raise self._unavailable("removed", _JOBS / str(job_id), error) from error
        self._forget(_JOBS / str(job_id))

    def _write_ready(self, final: Path, parts: tuple[Bytes, Bytes]) -> bool:
        """`parts` are on the disk under a name that is durable, which is called `final` now.

        False, and nothing done, where there are no such names any more. Raises OSError; then no file is left.
        """
        self._ensure_folder(self._stock)
        taken = self._open_ready()
        if taken is None:
            return False
        ready, descriptor = taken
        target = self.absolute(final)
        try:
            self._fill_and_close(descriptor, parts)
            try:
                self._ready.rename(ready, target)
            except FileNotFoundError:
                self._make_again(final.parent)
                self._ready.rename(ready, target)
        except BaseException:
            for path in (ready, target):
                with suppress(OSError):
                    self._disk.remove(path)
            raise
        return True

    def _open_ready(self) -> tuple[Path, int] | None:
        """One of the stock, open, that is still there: a `recover` that believed nobody writes may have removed it."""
        while True:
            try:
                ready = self._ready.take()
            except FileNotFoundError:
                self._make_again(self._stock)
                ready = self._ready.take()
            if ready is None:
                return None
            with suppress(FileNotFoundError):
                return ready, self._disk.open_ready(ready)

    def _write_anew(self, temporary: Path, final: Path, head: bytes, data_set: Bytes) -> None:
        self._ensure_folder(_INCOMING)
        self._create(temporary, head, data_set)
        self._finish(temporary, final)

    def _note(self, reason: str, detail: dict[str, str], was_at: str) -> bytes:
        note = {"reason": reason, "detail": detail, "at": self._clock.now().isoformat(), "from": was_at}
        return json.dumps(note, indent=2, ensure_ascii=False).encode("utf-8", "replace")

    def _today(self) -> str:
        return self._clock.now().date().isoformat()

    def _create(self, path: Path, head: bytes, data_set: bytes | memoryview) -> None:
        """A new file with these bytes, on the disk; no file where that fails."""
        descriptor = self._disk.open_new(self.absolute(path))
        try:
            self._fill_and_close(descriptor, (head, data_set))
        except BaseException:
            self._remove_quietly(path)
            raise

    def _fill_and_close(self, descriptor: int, parts: tuple[Bytes, Bytes]) -> None:
        try:
            self._disk.write(descriptor, parts)
            self._disk.sync_file(descriptor)
        finally:
            self._disk.close(descriptor)

    def _finish(self, temporary: Path, final: Path) -> None:
        """`temporary` is durably called `final`; neither is there where that fails."""
        try:
            self._move(temporary, final)
        except BaseException:
            self._remove_quietly(temporary)
            self._remove_quietly(final)
            raise

    def _move(self, source: Path, target: Path) -> None:
        """`source` is durably called `target`. The folder is made again where someone has removed it as empty."""
        try:
            self._disk.rename(self.absolute(source), self.absolute(target))
        except FileNotFoundError:
            self._make_again(target.parent)
            self._disk.rename(self.absolute(source), self.absolute(target))
        self._disk.sync_folder(self.absolute(target.parent))

    def _make_again(self, folder: Path) -> None:
        """Somebody has removed `folder` as empty, and maybe others."""
        with self._guard:
            self._durable.clear()
        self._ensure_folder(folder)

    def _ensure_folder(self, folder: Path) -> None:
        """Exists, and so do its parents up to the root; all of them durably.

        A folder that another thread has just made may not be durable yet, so each name is synced by whoever does not
        know better; once a process and folder, that costs nothing.
        """
        if folder in self._durable:
            return
        if folder == Path():
            self._disk.make_root(self._root)
        else:
            self._ensure_folder(folder.parent)
            self._disk.make_folder(self.absolute(folder))
            self._disk.sync_folder(self.absolute(folder.parent))
        with self._guard:
            self._durable.add(folder)

    def _forget(self, removed: Path) -> None:
        """`removed` and what was in it may be gone."""
        with self._guard:
            self._durable -= {folder for folder in self._durable if folder.is_relative_to(removed)}

    def _remove_quietly(self, path: Path) -> None:
        """For a file that is being given up anyway; what stays is found by the sweep."""
        with suppress(OSError):
            self._disk.remove(self.absolute(path))

    def _unavailable(self, what: str, path: Path, error: OSError) -> StorageUnavailable:
        try:
            free = f"{self._disk.free_bytes(self._root)} bytes free"
        except OSError:
            free = "free space unknown"
        name = errno.errorcode.get(error.errno or 0, "")
        why = f"{name} {os.strerror(error.errno)}".strip() if error.errno else str(error)
        return StorageUnavailable(f"{self._root / path} cannot be {what}: {why} ({free})")


def newest_days(received: Path, count: int) -> list[Path]:
    """The newest days that exist, not the last days of the calendar: a node may be off for a week after a crash."""
    return sorted((day for day in received.glob("*") if _is_day(day.name)), key=lambda day: day.name)[-count:]


def _is_day(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False
