"""How the configuration file is written: one writer at a time, and a reader sees the old text or the new one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from config.errors import ConfigError


def digest_of(text: str) -> str:
    """A text's name: another text, another digest."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """One writer at a time, across processes. The folder is locked, because the file itself is replaced."""
    try:
        folder = os.open(file.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigError("", None, str(file), f"cannot open its folder: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def write_atomically(file: Path, text: str) -> None:
    """Returns with `text` durable under the name: a reader or a power cut sees the old text or the new one.

    The ends of the lines stay what they were in the file.
    """
    target = file.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise ConfigError("", None, str(file), f"cannot write in its folder: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline=_line_end(target)) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, name)
        os.replace(name, target)
        _sync_folder(target.parent)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise ConfigError("", None, str(file), f"cannot write: {error.strerror}") from None


def _line_end(file: Path) -> str:
    return "\r\n" if file.exists() and b"\r\n" in file.read_bytes() else "\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
