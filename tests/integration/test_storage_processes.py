"""The database and the data folder between processes, and what is left when one of them is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from storage import database as database_module
from storage.database import SQLITE_FILE, open_database
from storage.lock import hold_data_dir
from tests.contract.rows import STUDY, instance, intake

WRITER = """
import sys
from pathlib import Path
from storage.database import open_database
from tests.contract.rows import STUDY, instance, intake
database = open_database("sqlite", data_dir=Path(sys.argv[1]))
first, count = int(sys.argv[2]), int(sys.argv[3])
for number in range(first, first + count):
    with database.unit_of_work() as uow:
        uow.studies.save(uow.studies.get(STUDY) or intake())
        uow.studies.add_instance(instance(number))
        uow.commit()
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""

HOLDER = """
import sys, time
from pathlib import Path
from storage.lock import hold_data_dir
with hold_data_dir(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_two_processes_open_a_new_database_and_write_at_the_same_time(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path, first, 40) for first in (1000, 2000)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    database = open_database("sqlite", data_dir=tmp_path)
    with database.reading() as uow:
        assert uow.studies.get(STUDY).instance_count == 80  # type: ignore[union-attr]
    database.close()


def test_a_killed_writer_leaves_every_row_it_reported_and_nothing_half(tmp_path: Path) -> None:
    open_database("sqlite", data_dir=tmp_path).close()
    writer = start(WRITER, tmp_path, 0, 1_000_000)
    assert writer.stdout is not None
    reported = [int(writer.stdout.readline()) for _ in range(25)]
    os.kill(writer.pid, signal.SIGKILL)
    reported += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    writer.wait(30)
    database = open_database("sqlite", data_dir=tmp_path)
    with database.reading() as uow:
        kept = [record.sop_instance_uid for record in uow.studies.instances(STUDY)]
        count = uow.studies.get(STUDY).instance_count  # type: ignore[union-attr]
    database.close()
    assert {instance(number).sop_instance_uid for number in reported} <= set(kept)
    assert len(kept) == count


def test_a_committed_row_is_in_the_log_as_it_was_when_a_sync_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk after a power cut is what the last complete sync found; every acknowledged row must be on it."""
    platter = tmp_path / "platter"
    complete: list[Path] = []

    def sync(database: Path, _durable_names: set[int]) -> None:
        found = platter / str(len(complete))
        found.mkdir(parents=True)
        for name in (database.name, f"{database.name}-wal"):
            shutil.copy(database.with_name(name), found / name)
        complete.append(found)

    monkeypatch.setattr(database_module, "sync_log_of", sync)
    database = open_database("sqlite", data_dir=tmp_path)
    acknowledged: list[tuple[str, Path]] = []
    ready = threading.Barrier(4)

    def send(sender: int) -> None:
        ready.wait()
        for number in range(8):
            record = instance(100 * sender + number)
            with database.unit_of_work() as uow:
                uow.studies.save(uow.studies.get(STUDY) or intake())
                uow.studies.add_instance(record)
                uow.commit()
            acknowledged.append((record.sop_instance_uid, complete[-1]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, range(4)))
    database.close()
    assert len(acknowledged) == 32
    for uid, disk in acknowledged:
        assert uid in _instances_on(disk, tmp_path / "after")


def _instances_on(disk: Path, scratch: Path) -> set[str]:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(disk, scratch)
    database = open_database("sqlite", data_dir=scratch)
    with database.reading() as uow:
        found = {record.sop_instance_uid for record in uow.studies.instances(STUDY)}
    database.close()
    return found


def test_when_the_log_cannot_be_synced_nothing_is_committed_and_ping_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_database: Path, _durable_names: set[int]) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(database_module, "sync_log_of", fail)
    database = open_database("sqlite", data_dir=tmp_path)
    database.ping()
    for _ in range(2):
        with database.unit_of_work() as uow:
            uow.studies.save(intake())
            with pytest.raises(StorageUnavailable, match="Input/output error"):
                uow.commit()
    with pytest.raises(StorageUnavailable):
        database.ping()
    database.close()


def test_many_readers_and_writers_share_the_pool(tmp_path: Path) -> None:
    database = open_database("sqlite", data_dir=tmp_path)

    def work(number: int) -> None:
        with database.unit_of_work() as uow:
            uow.studies.save(intake(f"1.2.{number}"))
            uow.commit()
        with database.reading() as uow:
            assert uow.studies.get(f"1.2.{number}") is not None

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(work, range(200)))
    with database.reading() as uow:
        assert len(uow.studies.list(limit=1000)) == 200
    database.close()


def test_a_second_writing_unit_of_work_in_the_same_thread_fails_instead_of_hanging(tmp_path: Path) -> None:
    database = open_database("sqlite", data_dir=tmp_path)
    with database.unit_of_work() as outer, database.unit_of_work() as inner:
        outer.studies.save(intake())
        with pytest.raises(RuntimeError, match="already"):
            inner.studies.get(STUDY)
        outer.commit()
    database.close()


def test_patient_data_is_not_in_the_message_of_an_error(tmp_path: Path) -> None:
    database = open_database("sqlite", data_dir=tmp_path)
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        uow.commit()
    with database.unit_of_work() as uow, pytest.raises(Exception, match="UNIQUE") as caught:
        uow.studies.add_instance(instance(1))
    chain: list[Any] = [caught.value, caught.value.__cause__]
    assert all("Müller" not in str(error) and "P-0001" not in str(error) for error in chain)
    database.close()


def test_text_that_a_database_refuses_is_cleaned(tmp_path: Path) -> None:
    database = open_database("sqlite", data_dir=tmp_path)
    with database.unit_of_work() as uow:
        uow.studies.save(intake(calling_aet="CT\x00\udcff"))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY).calling_aet == "CT?"  # type: ignore[union-attr]
    database.close()


def test_the_database_file_is_beside_its_log_only(tmp_path: Path) -> None:
    database = open_database("sqlite", data_dir=tmp_path)
    database.ping()
    assert {path.name for path in tmp_path.iterdir()} <= {
        SQLITE_FILE,
        f"{SQLITE_FILE}-wal",
        f"{SQLITE_FILE}-shm",
    }
    database.close()


def test_a_second_node_for_a_data_folder_is_refused_with_the_process_id_of_the_first(tmp_path: Path) -> None:
    holder = start(HOLDER, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigurationError, match=f"process {holder.pid}") as caught, hold_data_dir(tmp_path):
        pass
    assert caught.value.key == "node.data_dir"
    holder.kill()
    holder.wait(30)
    with hold_data_dir(tmp_path) as path:
        assert path.read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_after_the_block_and_refuses_the_same_process_inside_it(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_data_dir(tmp_path), pytest.raises(ConfigurationError), hold_data_dir(tmp_path):
            pass


def test_a_forked_child_left_behind_does_not_keep_the_lock(tmp_path: Path) -> None:
    may_end, child_is_up = os.pipe(), os.pipe()
    with hold_data_dir(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(may_end[1])
            os.write(child_is_up[1], b"x")
            os.read(may_end[0], 1)
            os._exit(0)
        assert os.read(child_is_up[0], 1) == b"x"
    with hold_data_dir(tmp_path):
        pass
    os.close(may_end[1])
    os.waitpid(child, 0)


def test_a_data_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory"), hold_data_dir(tmp_path / "file" / "var"):
        pass


def test_the_log_that_is_synced_is_the_one_sqlite_writes_even_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "disk"
    open_database("sqlite", data_dir=real).close()
    (tmp_path / "linked.sqlite3").symlink_to(real / SQLITE_FILE)
    synced: list[bool] = []
    monkeypatch.setattr(
        database_module, "sync_log_of", lambda path, _names: synced.append(Path(f"{path}-wal").stat().st_size > 0)
    )
    monkeypatch.chdir(tmp_path)
    database = open_database("sqlite:///linked.sqlite3", data_dir=tmp_path)
    monkeypatch.chdir("/")
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.commit()
    database.close()
    assert synced == [True]


def test_a_start_after_a_failed_sync_empties_the_log_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_database: Path, _durable_names: set[int]) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(database_module, "sync_log_of", fail)
    failed = open_database("sqlite", data_dir=tmp_path)
    with failed.unit_of_work() as uow:
        uow.studies.save(intake())
        with pytest.raises(StorageUnavailable):
            uow.commit()
    assert "Input/output error" in failed.failure
    monkeypatch.undo()
    log = tmp_path / f"{SQLITE_FILE}-wal"
    assert log.stat().st_size > 0
    next_life = open_database("sqlite", data_dir=tmp_path)
    next_life.empty_log()
    assert log.stat().st_size == 0
    assert next_life.failure == ""
    with next_life.reading() as uow:
        assert uow.studies.get(STUDY) is not None
    next_life.close()
    failed.close()
