"""One node for one data folder; and no file is removed by retention while a backup copies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dicom_node.core.errors import ConfigurationError

LOCK_FILE = "node.lock"
REMOVAL_LOCK_FILE = "removal.lock"


@contextmanager
def hold_data_dir(data_dir: Path) -> Iterator[Path]:
    """While the block runs, `data_dir` belongs to this process; yields the lock file, which holds its process id.

    Raises ConfigurationError where another node serves it, with that node's process id. The kernel gives the lock
    back when the process ends, however it ends; the file stays and means nothing. A child process does not inherit
    the lock: one that is left behind after a kill must not keep the node from starting again.
    """
    path = data_dir / LOCK_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"node.data_dir {data_dir} cannot be written: {error.strerror}",
            key="node.data_dir",
            value=str(data_dir),
        ) from error
    try:
        _lock(descriptor, data_dir)
    except BaseException:
        os.close(descriptor)
        raise
    _HELD.add(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield path
    finally:
        if descriptor in _HELD:
            _HELD.discard(descriptor)
            os.close(descriptor)


@contextmanager
def removal(data_dir: Path) -> Iterator[bool]:
    """Yields whether files of finished studies may be removed now; while the block runs, no backup begins."""
    with _removal_lock(data_dir) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def no_removal(data_dir: Path) -> Iterator[None]:
    """While the block runs, `removal` yields False; waits for one that has begun."""
    with _removal_lock(data_dir) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Yields whether `folder`, which exists, is held by this process while the block runs, and by no other."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


@contextmanager
def _removal_lock(data_dir: Path) -> Iterator[int]:
    descriptor = os.open(data_dir / REMOVAL_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# A forked child shares the lock until it closes its copy of the descriptor.
_HELD: set[int] = set()


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise ConfigurationError(
            f"node.data_dir {data_dir} is served by another node (process {pid}): stop it or use another folder",
            key="node.data_dir",
            value=str(data_dir),
        ) from error


def _close_in_child() -> None:
    for descriptor in _HELD:
        with suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_close_in_child)
