"""One file that a node can be restored from: a tar of the database, what its rows name, and a manifest of digests.

The database is copied first, as of one moment (SQLite's backup API, while the node runs); then the files its rows name.
Files never change once they have a row, and retention waits (`lock.no_removal`), so database and files agree. Then
what was acknowledged and has no row yet: rows follow behind the answer, and after a power cut a whole file may still
lie in `ready/` (`ready_files`). A node that is started on a restored copy finds it as it would have found it here.
The manifest comes last: an archive without one was not finished. `restore` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from storage.database import SQLITE_FILE
from storage.files import READY, READY_OF_HANDS, RECEIVED, SWEEP_DAYS, newest_days
from storage.lock import no_removal
from storage.ready_files import whole

FORMAT = 1
MANIFEST = "manifest.json"
CONFIGURATION = "configuration.toml"
HISTORY = "config-history"
LAST_BACKUP = "last-backup.json"
"""In `data_dir`: when the last backup was made and what it holds, for whoever asks the node."""
FOLDERS = ("received", "quarantine", "jobs", HISTORY)


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """`missing` are files that rows name and that were not there: `doctor` says more."""

    archive: Path
    files: int
    size_bytes: int
    missing: tuple[str, ...]


def back_up(database: Path, data_dir: Path, target: Path, *, configuration: Path | None = None) -> BackupReport:
    """`target` is the whole archive, readable by its owner alone. Raises OSError, and StorageUnavailable.

    `database` is the SQLite file. Raises ConfigurationError where there is nothing to back up or `target` exists.
    """
    if not database.is_file():
        raise ConfigurationError(f"there is no database {database}: nothing to back up", key="node.data_dir")
    if target.exists():
        raise ConfigurationError(f"{target} is there already: a backup overwrites nothing", value=str(target))
    part = target.with_name(f"{target.name}.part")
    try:
        with no_removal(data_dir), _created(part) as stream:
            report = _Writer(stream, data_dir).write(database, configuration)
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(target)
        sync_folder(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    made = BackupReport(
        archive=target, files=len(report.digests), size_bytes=target.stat().st_size, missing=tuple(report.missing)
    )
    _remember(made, data_dir)
    return made


def _remember(made: BackupReport, data_dir: Path) -> None:
    """A note that cannot be written makes the backup no worse."""
    noted = {
        "at": datetime.now(UTC).isoformat(),
        "archive": str(made.archive),
        "files": made.files,
        "size_bytes": made.size_bytes,
    }
    part = data_dir / f"{LAST_BACKUP}.part"
    with suppress(OSError):
        part.touch(mode=0o600)
        part.write_text(json.dumps(noted), encoding="utf-8")
        part.replace(data_dir / LAST_BACKUP)


@dataclass
class _Writer:
    stream: IO[bytes]
    data_dir: Path
    digests: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def write(self, database: Path, configuration: Path | None) -> _Writer:
        with (
            tempfile.TemporaryDirectory(prefix=".backup-", dir=self.data_dir) as folder,
            tarfile.open(fileobj=self.stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            copy = Path(folder) / SQLITE_FILE
            _copy_database(database, copy)
            self._add_file(tar, copy, SQLITE_FILE)
            for name, is_needed in _named_by(copy, self.data_dir):
                self._add(tar, name, is_needed=is_needed)
            for path, name in _without_rows(self.data_dir):
                if name not in self.digests:
                    with suppress(FileNotFoundError):  # set aside meanwhile, or called by its final name
                        self._add_file(tar, path, name)
            for path in sorted((self.data_dir / HISTORY).glob("*")):
                self._add(tar, f"{HISTORY}/{path.name}", is_needed=False)
            if configuration is not None and configuration.is_file():
                self._add_file(tar, configuration, CONFIGURATION)
            self._add_manifest(tar, copy)
        return self

    def _add(self, tar: tarfile.TarFile, name: str, *, is_needed: bool) -> None:
        if name in self.digests:
            return
        try:
            if is_needed:
                self._add_file(tar, self.data_dir / name, name)
            else:  # an analysis may be writing it: what is read now is what it is
                content = (self.data_dir / name).read_bytes()
                self._add_stream(tar, io.BytesIO(content), len(content), name)
        except FileNotFoundError:
            if is_needed:
                self.missing.append(name)

    def _add_file(self, tar: tarfile.TarFile, path: Path, name: str) -> None:
        with path.open("rb") as source:
            self._add_stream(tar, source, os.fstat(source.fileno()).st_size, name)

    def _add_stream(self, tar: tarfile.TarFile, source: IO[bytes], size_bytes: int, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size_bytes, 0o600
        hashed = _Hashed(source)
        tar.addfile(info, hashed)  # type: ignore[arg-type]
        self.digests[name] = {"sha256": hashed.digest.hexdigest(), "size_bytes": size_bytes}

    def _add_manifest(self, tar: tarfile.TarFile, database: Path) -> None:
        manifest = {
            "format": FORMAT,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "schema": _schema(database),
            "data_dir": str(self.data_dir.absolute()),
            "missing": self.missing,
            "files": self.digests,
        }
        content = json.dumps(manifest, indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(content), 0o600
        tar.addfile(info, io.BytesIO(content))


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self.digest.update(content)
        return content


def _created(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a backup that was killed
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _copy_database(source: Path, copy: Path) -> None:
    try:
        with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(copy)) as target:
            live.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StorageUnavailable(f"the database {source} cannot be copied: {error}") from error


def _named_by(database: Path, data_dir: Path) -> Iterator[tuple[str, bool]]:
    """What the rows name, relative to the data folder, and whether a backup without it is lacking something."""
    with closing(sqlite3.connect(database)) as rows:
        for (name,) in rows.execute("SELECT file FROM instance ORDER BY id"):
            yield name, True
        for (name,) in rows.execute("SELECT file FROM quarantine WHERE state = 'HELD' ORDER BY id"):
            yield name, True
            if name.startswith("quarantine/"):
                yield str(PurePosixPath(name).with_suffix(".json")), False
        jobs = [number for (number,) in rows.execute("SELECT id FROM job ORDER BY id")]
        delivered = rows.execute("SELECT DISTINCT file FROM delivery_object").fetchall()
        unfinished = rows.execute(
            "SELECT DISTINCT o.file FROM delivery_object o JOIN delivery d ON d.id = o.delivery_id"
            " WHERE d.finished_at IS NULL"
        ).fetchall()
    for number in jobs:
        for path in sorted((data_dir / "jobs" / str(number)).rglob("*")):
            if path.is_file():
                yield path.relative_to(data_dir).as_posix(), False
    needed = set(unfinished)
    for (file,) in delivered:
        if Path(file).is_relative_to(data_dir.absolute()):
            yield Path(file).relative_to(data_dir.absolute()).as_posix(), (file,) in needed


def _without_rows(data_dir: Path) -> Iterator[tuple[Path, str]]:
    """Whole received files that rows may not name yet, and what each is called in the archive.

    The stocks first: what is renamed while this looks is met again under its final name.
    """
    stocks = (data_dir / READY, *sorted((data_dir / READY_OF_HANDS).glob("*")))
    for path in (path for stock in stocks for path in sorted(stock.glob("*.part"))):
        with suppress(FileNotFoundError):
            found = whole(path)
            if found is not None:
                yield path, f"{RECEIVED}/{found.final.as_posix()}"
    for day in newest_days(data_dir / RECEIVED, SWEEP_DAYS):
        for path in sorted(day.glob("*/*.dcm")):
            yield path, path.relative_to(data_dir).as_posix()


def _schema(database: Path) -> str:
    with closing(sqlite3.connect(database)) as rows:
        return str(rows.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def sync_folder(folder: Path) -> None:
    """The names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
