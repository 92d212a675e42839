"""One fdatasync for many commits.

With synchronous=FULL SQLite syncs its write-ahead log inside each commit, while every other writer waits: twenty
senders get one sync's worth of commits after another. With synchronous=NORMAL a commit only appends to the log; here
the log is synced after the commit, outside the write lock, and whoever commits while one sync runs shares the next.
`commit` still returns only when the transaction would survive a power cut:

- The log is a sequence of checksummed frames; a sync that begins after my commit covers my frames and all before.
- A checkpoint syncs the log before it copies frames into the database, and the database before the log is reused
  (both in NORMAL), so frames that left the log before my sync are durable in the database.
- The log's file goes away with the last connection, after such a checkpoint; a missing log has nothing to sync.
- A new log has a new name in its folder, which SQLite syncs at its first checkpoint only; here it is synced with the
  first commit that the log holds.
- Others see my rows before my sync is over. Whoever decides on them in a writing unit of work and commits it, even one
  that wrote nothing, waits for a sync that began later, so it never answers for rows that could vanish.
- After a failed sync the kernel may call lost pages clean, and a second sync would lie; hence no commit succeeds
  any more until the node has been started again. The new start must not go on with that log either: `empty_log` in
  `database` has it copied into the database and synced there before anything is answered for.

The log is opened by path for each sync: SQLite holds no POSIX lock on it that closing another descriptor would drop
(its locks are on the database and the -shm file; never open those here).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dicom_node.core.errors import StorageUnavailable


class GroupSync:
    """`wait` returns after a run of `sync` that began after the call; runs never overlap."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._changed = threading.Condition()
        self._begun = 0
        self._is_running = False
        self._failure: OSError | None = None

    def wait(self) -> None:
        """Raises StorageUnavailable where a sync has failed, now or ever before."""
        with self._changed:
            mine = self._begun + 1
            # The sync that is running now began too early for this caller: the one after it is needed.
            while self._begun < mine or (self._begun == mine and self._is_running):
                self.check()
                if self._is_running:
                    self._changed.wait()
                else:
                    self._run()
            self.check()

    def check(self) -> None:
        """Raises StorageUnavailable where a sync has failed."""
        if self._failure is not None:
            raise StorageUnavailable(
                f"the database's log could not be written to the disk ({self._failure.strerror}); nothing is "
                "committed any more until the node is started again"
            ) from self._failure

    def _run(self) -> None:
        """With the condition held: one sync, during which the condition is free."""
        self._begun += 1
        self._is_running = True
        self._changed.release()
        failure: OSError | None = OSError(errno.EINTR, "interrupted")
        try:
            self._sync()
            failure = None
        except OSError as error:
            failure = error
        finally:
            self._changed.acquire()
            self._failure = self._failure or failure
            self._is_running = False
            self._changed.notify_all()


def sync_log_of(database: Path, durable_names: set[int]) -> None:
    """The write-ahead log of an SQLite database is on the disk, under its name. Raises OSError.

    `durable_names` are the inode numbers of logs whose name is durable; it is kept from call to call.
    """
    with suppress(FileNotFoundError):
        descriptor = os.open(f"{database}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
            number = os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
        if number not in durable_names:
            _sync_folder(database.parent)
            durable_names.clear()
            durable_names.add(number)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
