"""The file store on disk when the disk fails: nothing incomplete ever carries a final name."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.core.errors import StorageUnavailable
from storage.disk import Disk, HookedDisk
from storage.files import DiskFileStore

HEAD, DATA_SET = b"head", b"data set" * 1000


class AdvancingClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 23, 59, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


class FailingDisk(HookedDisk):
    """Raises `code` at step number `at_step` (from 0) and, where `for_good`, at every later one but removal."""

    def __init__(self, code: int, at_step: int, *, for_good: bool = False) -> None:
        super().__init__(self._count)
        self.steps: list[str] = []
        self._code, self._at_step, self._for_good = code, at_step, for_good

    def _count(self, step: str, path: Path) -> None:
        number = len(self.steps)
        self.steps.append(step)
        if number == self._at_step or (self._for_good and number > self._at_step and step != "remove"):
            raise OSError(self._code, os.strerror(self._code), str(path))


def store(root: Path, disk: Disk | None = None) -> DiskFileStore:
    return DiskFileStore(root, clock=AdvancingClock(), disk=disk)


def everything(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


STEPS = [
    *("make_folder", "sync_folder"),  # incoming
    *(
        "make_folder",
        "sync_folder",
        "make_folder",
        "sync_folder",
        "make_folder",
        "sync_folder",
    ),  # received/day/key
    *("open_new", "write", "write", "sync_file", "close", "rename", "sync_folder"),
]


def test_bytes_are_synced_before_the_final_name_and_every_new_name_after(tmp_path: Path) -> None:
    disk = FailingDisk(0, at_step=99)
    store(tmp_path, disk).write("key", HEAD, DATA_SET)
    assert disk.steps == STEPS


def test_folders_are_made_and_synced_once(tmp_path: Path) -> None:
    disk = FailingDisk(0, at_step=99)
    files = store(tmp_path, disk)
    files.write("key", HEAD, DATA_SET)
    disk.steps.clear()
    files.write("key", HEAD, DATA_SET)
    assert disk.steps == STEPS[8:]


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for_good"])
@pytest.mark.parametrize("at_step", range(len(STEPS)), ids=[f"{n}-{step}" for n, step in enumerate(STEPS)])
def test_a_disk_that_fails_at_any_step_leaves_no_file(tmp_path: Path, at_step: int, for_good: bool) -> None:
    code = (errno.ENOSPC, errno.EIO, errno.EDQUOT)[at_step % 3]
    files = store(tmp_path, FailingDisk(code, at_step, for_good=for_good))
    with pytest.raises(StorageUnavailable, match=rf"{errno.errorcode[code]} .*\d+ bytes free") as caught:
        files.write("key", HEAD, DATA_SET)
    assert str(tmp_path / "received" / "2026-01-02" / "key") in str(caught.value)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("at_step", range(len(STEPS)))
def test_the_store_works_again_when_the_disk_does(tmp_path: Path, at_step: int) -> None:
    files = store(tmp_path, FailingDisk(errno.ENOSPC, at_step))
    with pytest.raises(StorageUnavailable):
        files.write("key", HEAD, DATA_SET)
    stored = files.write("key", HEAD, DATA_SET)
    assert files.absolute(stored.path).read_bytes() == HEAD + DATA_SET


@pytest.mark.parametrize("at_step", range(len(STEPS)))
def test_a_process_that_ends_at_any_step_leaves_only_complete_files_under_final_names(
    tmp_path: Path, at_step: int
) -> None:
    class PowerCut(BaseException):
        pass

    def cut(step: str, path: Path) -> None:
        steps.append(step)
        if len(steps) > at_step:
            raise PowerCut

    steps: list[str] = []
    with pytest.raises(PowerCut):
        store(tmp_path, HookedDisk(cut)).write("key", HEAD, DATA_SET)
    after_restart = store(tmp_path)
    for path in everything(tmp_path):
        relative = path.relative_to(tmp_path)
        assert relative in after_restart.unfinished()
        assert relative.parts[0] == "incoming" or path.read_bytes() == HEAD + DATA_SET


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, views: real_writev(fd, [views[0][: max(1, len(views[0]) // 3)]]))
    files = store(tmp_path)
    stored = files.write("key", HEAD, DATA_SET)
    assert files.absolute(stored.path).read_bytes() == HEAD + DATA_SET


def test_a_name_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    files = DiskFileStore(tmp_path, clock=AdvancingClock(), new_name=lambda: "same")
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "same.part").write_bytes(b"someone else's")
    with pytest.raises(StorageUnavailable, match="EEXIST"):
        files.write("key", HEAD, DATA_SET)
    assert (tmp_path / "incoming" / "same.part").read_bytes() == b"someone else's"


def test_a_study_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    files = store(tmp_path)
    path = files.write("key", HEAD, DATA_SET).path
    files.discard(path)
    files.absolute(path).parent.rmdir()
    files.absolute(path).parent.parent.rmdir()
    assert files.absolute(files.write("key", HEAD, DATA_SET).path).exists()


def test_the_day_is_the_clocks(tmp_path: Path) -> None:
    clock = AdvancingClock()
    files = DiskFileStore(tmp_path, clock=clock)
    assert files.write("key", HEAD, DATA_SET).path.parts[1] == "2026-01-02"
    clock.time += timedelta(minutes=1)
    assert files.write("key", HEAD, DATA_SET).path.parts[1] == "2026-01-03"


def test_the_sweep_sees_leftovers_and_the_newest_days_there_are(tmp_path: Path) -> None:
    clock = AdvancingClock()
    files = DiskFileStore(tmp_path, clock=clock, sweep_days=2)
    written = []
    for _ in range(4):
        clock.time += timedelta(days=1)
        written.append(files.write("key", HEAD, DATA_SET).path)
    (tmp_path / "incoming" / "left.part").write_bytes(b"half")
    (tmp_path / "received" / "lost+found").mkdir()
    clock.time += timedelta(days=30)
    assert files.unfinished() == (Path("incoming/left.part"), *written[-2:])


def test_what_is_set_aside_has_its_reason_beside_it(tmp_path: Path) -> None:
    files = store(tmp_path)
    path = files.write("key", HEAD, DATA_SET).path
    kept = files.set_aside(path, reason="conflicting_instance", detail={"sop_instance_uid": "1.2"})
    assert json.loads(files.absolute(kept).with_suffix(".json").read_text()) == {
        "reason": "conflicting_instance",
        "detail": {"sop_instance_uid": "1.2"},
        "at": "2026-01-02T23:59:00+00:00",
        "from": path.as_posix(),
    }


@pytest.mark.parametrize("at_step", range(11))
def test_a_disk_that_fails_while_setting_aside_loses_nothing(tmp_path: Path, at_step: int) -> None:
    path = store(tmp_path).write("key", HEAD, DATA_SET).path
    files = store(tmp_path, FailingDisk(errno.ENOSPC, at_step))
    with pytest.raises(StorageUnavailable):
        files.set_aside(path, reason="conflict", detail={})
    kept = [path for path in everything(tmp_path) if path.suffix == ".dcm"]
    assert [path.read_bytes() for path in kept] == [HEAD + DATA_SET]
    if (tmp_path / path).exists():
        assert files.set_aside(path, reason="conflict", detail={}).parts[0] == "quarantine"


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    files = store(tmp_path / "file" / "var")
    for attempt in (
        files.free_bytes,
        lambda: files.job_folder(1),
        lambda: files.write("key", HEAD, DATA_SET),
    ):
        with pytest.raises(StorageUnavailable, match="ENOTDIR"):
            attempt()


def test_a_folder_inside_a_jobs_folder_is_durable_also_where_it_was_removed_meanwhile(tmp_path: Path) -> None:
    disk = FailingDisk(0, at_step=99)
    files = store(tmp_path, disk)
    inner = files.job_folder(7, "attempt-1", "objects")
    assert inner == tmp_path / "jobs" / "7" / "attempt-1" / "objects"
    assert disk.steps == ["make_folder", "sync_folder"] * 4
    files.discard_job_folder(7)
    assert files.job_folder(7, "attempt-1").is_dir()


def test_the_data_folders_own_name_and_those_above_it_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    store(tmp_path / "new" / "var").write("key", HEAD, DATA_SET)
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "var")} <= set(synced)
