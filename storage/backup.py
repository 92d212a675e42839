"""One file that a node can be restored from: a tar of the database, what its rows name, and a manifest of digests.

The database is copied first, as of one moment (SQLite's backup API, while the node runs); then the files its rows name.
Files never change once they have a row, and retention waits (`lock.no_removal`), so database and files agree. The
manifest comes last: an archive without one was not finished and is refused.

Restoring unpacks beside the data folder, compares every digest, and gives the folder its name as the last step, so
there is either a whole store or none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from storage.database import SQLITE_FILE
from storage.lock import no_removal

FORMAT = 1
MANIFEST = "manifest.json"
CONFIGURATION = "configuration.toml"
HISTORY = "config-history"
_FOLDERS = ("received", "quarantine", "jobs", HISTORY)
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """`missing` are files that rows name and that were not there: `doctor` says more."""

    archive: Path
    files: int
    size_bytes: int
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """`missing` were missing when the backup was made."""

    data_dir: Path
    files: int
    created_at: str
    missing: tuple[str, ...]


class BackupUnusable(ConfigurationError):
    """The archive is cut, damaged, or of a later version; nothing was restored."""


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
        _sync_folder(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return BackupReport(
        archive=target, files=len(report.digests), size_bytes=target.stat().st_size, missing=tuple(report.missing)
    )


def restore(archive: Path, data_dir: Path) -> RestoreReport:
    """`data_dir` is what was backed up, and every digest agrees. Raises BackupUnusable, ConfigurationError, OSError."""
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ConfigurationError(
            f"node.data_dir {data_dir} is not empty: a backup is restored into an empty folder, never over a store",
            key="node.data_dir",
            value=str(data_dir),
        )
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(prefix=f".{data_dir.name}.restoring-", dir=data_dir.parent))
    try:
        manifest = _unpack(archive, unpacked)
        _point_at(unpacked / SQLITE_FILE, was=manifest["data_dir"], now=str(data_dir.absolute()))
        _sync_tree(unpacked)
        if data_dir.exists():
            data_dir.rmdir()
        unpacked.rename(data_dir)
        _sync_folder(data_dir.parent)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise
    return RestoreReport(
        data_dir=data_dir,
        files=len(manifest["files"]),
        created_at=manifest["created_at"],
        missing=tuple(manifest["missing"]),
    )


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


def _schema(database: Path) -> str:
    with closing(sqlite3.connect(database)) as rows:
        return str(rows.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Everything of the archive lies in `folder` and agrees with its manifest, which is returned."""
    found: dict[str, str] = {}
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(archive, "r|") as tar:
            for member in tar:
                source = tar.extractfile(member)
                if source is None or not _is_ours(member.name):
                    raise BackupUnusable(f"{archive} is no backup of a node: it holds {member.name!r}")
                if member.name == MANIFEST:
                    manifest = json.load(source)
                else:
                    found[member.name] = _written(source, folder / member.name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BackupUnusable(f"{archive} is cut or damaged: {error}") from error
    if manifest is None:
        raise BackupUnusable(f"{archive} has no manifest: the backup was not finished")
    _compare(archive, manifest, found)
    _check_database(archive, folder / SQLITE_FILE)
    return manifest


def _compare(archive: Path, manifest: dict[str, Any], found: dict[str, str]) -> None:
    if manifest.get("format") != FORMAT:
        raise BackupUnusable(f"{archive} has format {manifest.get('format')}, this version reads format {FORMAT}")
    wanted = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            why = "is missing" if name not in found else "differs from what was backed up"
            raise BackupUnusable(f"{archive} is damaged: {name} {why}; nothing was restored")


def _check_database(archive: Path, database: Path) -> None:
    try:
        with closing(sqlite3.connect(database)) as rows:
            (answer,) = rows.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise BackupUnusable(f"{archive} is damaged: its database says {answer}; nothing was restored")


def _is_ours(name: str) -> bool:
    path = PurePosixPath(name)
    if name in (SQLITE_FILE, MANIFEST, CONFIGURATION):
        return True
    return not path.is_absolute() and ".." not in path.parts and len(path.parts) > 1 and path.parts[0] in _FOLDERS


def _written(source: IO[bytes], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _point_at(database: Path, *, was: str, now: str) -> None:
    """Results are named by absolute paths: those of the folder that was, and of the one that is."""
    if was == now:
        return
    with closing(sqlite3.connect(database)) as rows:
        rows.execute(
            "UPDATE delivery_object SET file = ? || substr(file, ?) WHERE substr(file, 1, ?) = ?",
            (now, len(was) + 1, len(was) + 1, f"{was}/"),
        )
        rows.commit()


def _sync_tree(folder: Path) -> None:
    for root, folders, files in os.walk(folder):
        for name in folders:
            os.chmod(Path(root, name), 0o700)
        for name in files:
            descriptor = os.open(Path(root, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
