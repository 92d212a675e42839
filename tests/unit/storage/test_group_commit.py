"""One sync for many commits: every caller gets a sync that began after its call, and a failure is for good."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_node.core.errors import StorageUnavailable
from storage.group_commit import GroupSync, sync_log_of

TIMEOUT_S = 10


class SlowSync:
    """A sync that lasts until it is released; counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.failure: OSError | None = None

    def __call__(self) -> None:
        self.runs += 1
        self.begun.release()
        assert self.may_end.acquire(timeout=TIMEOUT_S)
        if self.failure is not None:
            raise self.failure


def test_each_of_two_calls_in_a_row_gets_a_sync_of_its_own() -> None:
    runs: list[int] = []
    group = GroupSync(lambda: runs.append(1))
    group.wait()
    group.wait()
    assert len(runs) == 2


def test_whoever_comes_during_a_sync_shares_the_next_one() -> None:
    sync = SlowSync()
    group = GroupSync(sync)
    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(group.wait)
        assert sync.begun.acquire(timeout=TIMEOUT_S)
        later = [threads.submit(group.wait) for _ in range(5)]
        _wait_until_blocked(group, 5)
        sync.may_end.release()
        first.result(TIMEOUT_S)
        assert sync.begun.acquire(timeout=TIMEOUT_S)
        assert not any(each.done() for each in later)
        sync.may_end.release()
        for each in later:
            each.result(TIMEOUT_S)
    assert sync.runs == 2


def test_a_failed_sync_fails_everyone_now_and_later() -> None:
    sync = SlowSync()
    sync.failure = OSError(errno.EIO, "Input/output error")
    group = GroupSync(sync)
    with ThreadPoolExecutor(3) as threads:
        callers = [threads.submit(group.wait)]
        assert sync.begun.acquire(timeout=TIMEOUT_S)
        callers += [threads.submit(group.wait) for _ in range(2)]
        sync.may_end.release()
        for caller in callers:
            with pytest.raises(StorageUnavailable, match="Input/output error"):
                caller.result(TIMEOUT_S)
    for again in (group.wait, group.check):
        with pytest.raises(StorageUnavailable):
            again()
    assert sync.runs == 1


def test_a_sync_that_is_interrupted_counts_as_failed() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    group = GroupSync(interrupted)
    with pytest.raises(KeyboardInterrupt):
        group.wait()
    with pytest.raises(StorageUnavailable):
        group.wait()


def _wait_until_blocked(group: GroupSync, count: int) -> None:
    turn = threading.Event()
    for _ in range(10_000):
        with group._changed:
            if len(group._changed._waiters) == count:  # type: ignore[attr-defined]
                return
        turn.wait(0.001)
    raise AssertionError("the callers did not come")


def test_a_new_log_is_durable_by_name_with_its_first_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    note = lambda descriptor: synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)  # noqa: E731
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    database, durable_names = tmp_path / "node.sqlite3", set[int]()
    sync_log_of(database, durable_names)
    assert synced == []
    log = tmp_path / "node.sqlite3-wal"
    log.write_bytes(b"frames")
    sync_log_of(database, durable_names)
    sync_log_of(database, durable_names)
    assert synced == [log.name, tmp_path.name, log.name]
    log.rename(tmp_path / "kept open, so that its number is not given again")
    log.write_bytes(b"frames")
    sync_log_of(database, durable_names)
    assert synced[3:] == [log.name, tmp_path.name]
