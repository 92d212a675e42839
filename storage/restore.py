"""A store from what `backup` has written: unpacked beside the data folder, compared digest by digest, named last.

So there is either a whole store or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dicom_node.core.errors import ConfigurationError
from storage.backup import CONFIGURATION, FOLDERS, FORMAT, MANIFEST, sync_folder
from storage.database import SQLITE_FILE

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """`missing` were missing when the backup was made."""

    data_dir: Path
    files: int
    created_at: str
    missing: tuple[str, ...]


class BackupUnusable(ConfigurationError):
    """The archive is cut, damaged, or of a later version; nothing was restored."""


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
        sync_folder(data_dir.parent)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise
    return RestoreReport(
        data_dir=data_dir,
        files=len(manifest["files"]),
        created_at=manifest["created_at"],
        missing=tuple(manifest["missing"]),
    )


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
    return not path.is_absolute() and ".." not in path.parts and len(path.parts) > 1 and path.parts[0] in FOLDERS


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
        sync_folder(Path(root))
