"""What a disk holds after a power cut, and a hook before each call that changes it.

A process sees what it wrote. A disk that loses power holds only what was synced: the bytes a file had at its last
fsync, the names a folder had at its last fsync. `Tap` stands between Python and the operating system for everything
below one folder, whoever calls (the file store, pydicom, pathlib, the sync of the database's log), notes the syncs
instead of waiting for them, and calls `before(step, path)` ahead of every open, write, sync, rename, unlink and mkdir.

SQLite is real and writes from C, where nothing of this reaches; `watch_database` adds the begin of its write
transactions and both sides of its commits, where it writes to its log. The model is right for it only while no
checkpoint copies the log into the database, because the syncs of a checkpoint are SQLite's own; the tests see to it
that none did.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

Tree = dict[str, bytes | None]
"""Relative path to bytes; None for a folder."""

Before = Callable[[str, Path], None]

_TAKES_THE_PEN = "BEGIN IMMEDIATE"


def tree_of(root: Path) -> Tree:
    """Everything below `root`, without SQLite's shared memory, which no restart trusts."""
    found: Tree = {}
    for folder, _folders, names in os.walk(root):
        relative = os.path.relpath(folder, root)
        if relative != ".":
            found[relative] = None
        for name in names:
            if not name.endswith("-shm"):
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.normpath(os.path.join(relative, name))] = file.read()
    return found


def lay_out(tree: Tree, root: Path) -> None:
    """`root` is made and holds `tree`."""
    root.mkdir(parents=True)
    for name in sorted(tree):
        content = tree[name]
        if content is None:
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)


class Tap:
    """Between `with` and its end, the operating system's calls below `root`. What is there at first is durable."""

    def __init__(self, root: Path, before: Before) -> None:
        self._root = str(root)
        self._before = before
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._pins: dict[int, int] = {}
        self._is_inside = False
        self._half_written: set[str] = set()
        self._saved: list[tuple[Any, str, Any]] = []

    # -- what is left -------------------------------------------------------------------------------------------

    def after_a_power_cut(self) -> Tree:
        """Nothing but what was synced."""
        return self._walk("", os.stat(self._root).st_ino, self._durable_names, lambda _path, node: self._durable(node))

    def after_a_power_cut_that_kept_names(self) -> Tree:
        """Every name as it was, and of bytes that were not synced the first half: a file system that writes its
        names down before the data, and a disk that was in the middle of it."""
        return self._walk("", os.stat(self._root).st_ino, self._present_names, self._half)

    def _walk(
        self, at: str, node: int, names: Callable[[str, int], dict[str, int]], content: Callable[[str, int], bytes]
    ) -> Tree:
        tree: Tree = {}
        for name, inner in names(at, node).items():
            path = os.path.join(at, name)
            if inner < 0:  # a folder
                tree[path] = None
                tree |= self._walk(path, -inner, names, content)
            elif not name.endswith("-shm"):
                tree[path] = content(path, inner)
        return tree

    def _durable_names(self, _at: str, node: int) -> dict[str, int]:
        return self._names.get(node, {})

    def _present_names(self, at: str, _node: int) -> dict[str, int]:
        return _entries(os.path.join(self._root, at))

    def _durable(self, node: int) -> bytes:
        return self._contents.get(node, b"")

    def _half(self, path: str, node: int) -> bytes:
        synced = self._contents.get(node, b"")
        with open(os.path.join(self._root, path), "rb") as file:
            whole = file.read()
        if whole[: len(synced)] != synced:
            return whole[: len(whole) // 2]
        return whole[: len(synced) + (len(whole) - len(synced)) // 2]

    # -- syncs --------------------------------------------------------------------------------------------------

    def _note_sync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            self._note_names(os.readlink(f"/proc/self/fd/{descriptor}"))
        else:
            with open(f"/proc/self/fd/{descriptor}", "rb") as file:
                self._contents[found.st_ino] = file.read()
            if found.st_ino not in self._pins:
                self._pins[found.st_ino] = os.dup(descriptor)

    def _note_names(self, folder: str) -> None:
        # A removed file's number would be given to the next one, and its bytes taken for the other's: kept open.
        entries = _entries(folder)
        for name, node in entries.items():
            if abs(node) not in self._pins:
                self._pins[abs(node)] = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        self._names[os.stat(folder).st_ino] = entries

    # -- the calls ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Tap:
        for folder, _folders, names in os.walk(self._root):
            self._note_names(folder)
            for name in names:
                descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
                self._note_sync(descriptor)
                os.close(descriptor)
        for name in ("mkdir", "unlink", "remove", "rmdir"):
            self._replace(os, name, self._on_name(name))
        for name in ("rename", "replace"):
            self._replace(os, name, self._on_target(name))
        for name in ("write", "writev"):
            self._replace(os, name, self._on_descriptor(name))
        for name in ("fsync", "fdatasync"):
            self._replace(os, name, self._on_sync(name))
        self._replace(os, "open", self._on_open())
        self._replace(io, "open", self._on_io_open())
        return self

    def __exit__(self, *_: object) -> None:
        while self._saved:
            owner, name, real = self._saved.pop()
            setattr(owner, name, real)
        for descriptor in self._pins.values():
            os.close(descriptor)

    def _replace(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        self._saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, call)

    def tell(self, step: str, path: str | Path) -> None:
        """Calls `before` where `path` is below the root; not for what `before` itself does."""
        text = str(path)
        if self._is_inside or not text.startswith(self._root + os.sep):
            return
        self._is_inside = True
        try:
            self._before(step, Path(os.path.relpath(text, self._root)))
        finally:
            self._is_inside = False

    def _on_name(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            self.tell(name, _absolute(path, named.get("dir_fd")))
            return real(path, *arguments, **named)

        return call

    def _on_target(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(source: Any, target: Any, **named: Any) -> Any:
            self.tell(name, _absolute(target, named.get("dst_dir_fd")))
            return real(source, target, **named)

        return call

    def _on_descriptor(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(descriptor: int, data: Any) -> Any:
            path = _path_of(descriptor)
            self.tell(name, path)
            # Half of it: a disk that fills up, or dies, in the middle of a file. Whoever writes goes on with the rest.
            if name == "writev" and path not in self._half_written and path.startswith(self._root + os.sep):
                self._half_written.add(path)
                data = [data[0][: (len(data[0]) + 1) // 2]]
            return real(descriptor, data)

        return call

    def _on_sync(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(descriptor: int) -> None:
            path = _path_of(descriptor)
            self.tell(name, path if path != self._root else path + os.sep)
            if path.startswith(self._root):
                self._note_sync(descriptor)
            else:
                real(descriptor)

        return call

    def _on_open(self) -> Callable[..., Any]:
        real = os.open

        def call(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & os.O_CREAT:
                self.tell("open", _absolute(path, named.get("dir_fd")))
            return int(real(path, flags, *arguments, **named))

        return call

    def _on_io_open(self) -> Callable[..., Any]:
        real = io.open
        tap = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                tap.tell("write", _path_of(self.fileno()))
                return super().write(data) or 0

        def call(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **named: Any) -> Any:
            path = _path_of(file) if isinstance(file, int) else os.path.abspath(os.fspath(file))
            if tap._is_inside or not path.startswith(tap._root + os.sep) or not set(mode) & set("wxa"):
                return real(file, mode, buffering, *arguments, **named)
            if not isinstance(file, int):
                tap.tell("open", path)
            binary = io.BufferedWriter(File(file, mode.replace("b", "").replace("t", "")))
            if "b" in mode:
                return binary
            return io.TextIOWrapper(binary, encoding=named.get("encoding") or "utf-8")

        return call


@contextmanager
def watch_database(engine: Engine, tap: Tap) -> Iterator[None]:
    """The begin and both sides of the commit of write transactions are steps of `tap`, named by the database's file."""
    dialect: Any = engine.dialect
    file = str(engine.url.database)
    execute, plain, commit = dialect.do_execute, dialect.do_execute_no_params, dialect.do_commit

    def on_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        if statement == _TAKES_THE_PEN:
            tap.tell("begin", file)
        execute(cursor, statement, parameters, context)

    def on_plain(cursor: Any, statement: str, context: Any = None) -> None:
        if statement == _TAKES_THE_PEN:
            tap.tell("begin", file)
        plain(cursor, statement, context)

    def on_commit(connection: Any) -> None:
        tap.tell("commit", file)
        commit(connection)
        tap.tell("committed", file)

    dialect.do_execute, dialect.do_execute_no_params, dialect.do_commit = on_execute, on_plain, on_commit
    try:
        yield
    finally:
        for name in ("do_execute", "do_execute_no_params", "do_commit"):
            with suppress(AttributeError):
                delattr(dialect, name)


def _entries(folder: str) -> dict[str, int]:
    """Name to inode number; negative for a folder."""
    with os.scandir(folder) as found:
        return {entry.name: -entry.inode() if entry.is_dir(follow_symlinks=False) else entry.inode() for entry in found}


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _absolute(path: Any, folder: int | None) -> str:
    if folder is not None:
        return os.path.join(_path_of(folder), os.fspath(path))
    return os.path.abspath(os.fspath(path))
