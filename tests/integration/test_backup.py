"""A backup is whole or is none; what is restored from it is what was there."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.core.errors import ConfigurationError, RejectedInput
from dicom_node.core.study import StudyState
from storage.backup import back_up
from storage.database import SQLITE_FILE, open_database
from storage.files import DiskFileStore
from storage.lock import no_removal, removal
from storage.restore import BackupUnusable, restore
from tests.unit.app.node import STUDY, FakeClock, Node, incoming, silenced


def disk(root: Path, clock: FakeClock) -> DiskFileStore:
    return DiskFileStore(root, clock=clock)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def node(data_dir: Path) -> Iterator[Node]:
    """One study delivered, one on its way in, a conflict in quarantine, a result that waits for its peer."""
    database = open_database("sqlite", data_dir=data_dir)
    with silenced():
        node = Node(data_dir, database=database, files=disk)
        node.receive_study(3)
        node.settle(4)
        with pytest.raises(RejectedInput):
            node.receive(incoming(1, content=b"other pixels"))
        node.receive_study(2, "1.9")
        yield node
    database.close()


def contents(folder: Path) -> dict[str, bytes]:
    names = ("received", "quarantine", "jobs")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in names
        for path in (folder / name).rglob("*")
        if path.is_file()
    }


def test_what_is_restored_is_what_was_backed_up_while_the_node_was_running(
    node: Node, data_dir: Path, tmp_path: Path
) -> None:
    report = back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    assert report.missing == ()
    node.receive(incoming(9, study="1.9"))
    restored = restore(tmp_path / "backup.tar", tmp_path / "elsewhere" / "var")
    before = contents(data_dir)
    after = contents(restored.data_dir)
    assert len(before) == len(after) + 1, "what came after the copy of the database is not in it"
    assert after.items() <= before.items()
    database = open_database("sqlite", data_dir=restored.data_dir)
    with database.reading() as uow:
        study, other = uow.studies.get(STUDY), uow.studies.get("1.9")
        held = uow.quarantine.list()
        jobs = uow.jobs.of_study(STUDY)
    database.close()
    assert study is not None
    assert other is not None
    assert (study.state, other.state, other.instance_count) == (StudyState.CLOSED, StudyState.RECEIVING, 2)
    assert len(held) == len(jobs) == 1


def test_the_archive_and_what_is_unpacked_are_for_their_owner_alone(node: Node, data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    restored = restore(tmp_path / "backup.tar", tmp_path / "new")
    modes = {path.stat().st_mode & 0o777 for path in restored.data_dir.rglob("*") if path.is_file()}
    folders = {
        path.stat().st_mode & 0o777 for path in (restored.data_dir, *restored.data_dir.rglob("*")) if path.is_dir()
    }
    assert ((tmp_path / "backup.tar").stat().st_mode & 0o777, modes, folders) == (0o600, {0o600}, {0o700})


def test_results_that_wait_are_found_in_the_folder_that_they_were_restored_to(
    node: Node, data_dir: Path, tmp_path: Path
) -> None:
    file = _waiting_result(node, data_dir)
    back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    shutil.rmtree(data_dir / "jobs")
    restored = restore(tmp_path / "backup.tar", tmp_path / "new")
    with sqlite3.connect(restored.data_dir / SQLITE_FILE) as rows:
        (named,) = rows.execute("SELECT file FROM delivery_object WHERE sop_instance_uid = '1.7'").fetchone()
    assert Path(named).is_relative_to(tmp_path / "new")
    assert Path(named).read_bytes() == b"a result"
    assert file != Path(named)


def test_a_store_that_is_not_empty_is_never_restored_over(node: Node, data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    before = contents(data_dir)
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(tmp_path / "backup.tar", data_dir)
    assert contents(data_dir) == before


def test_a_backup_overwrites_nothing_and_a_store_that_is_not_there_makes_none(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing to back up"):
        back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    open_database("sqlite", data_dir=data_dir).close()
    (tmp_path / "backup.tar").write_bytes(b"last week's")
    with pytest.raises(ConfigurationError, match="overwrites nothing"):
        back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    assert (tmp_path / "backup.tar").read_bytes() == b"last week's"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_an_archive_that_was_cut_restores_nothing(node: Node, data_dir: Path, tmp_path: Path, share: float) -> None:
    back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    whole = (tmp_path / "backup.tar").read_bytes().rstrip(b"\x00")
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BackupUnusable):
        restore(tmp_path / "cut.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert list(tmp_path.glob(".new.*")) == []


def test_one_changed_byte_anywhere_restores_nothing(node: Node, data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    damaged = bytearray((tmp_path / "backup.tar").read_bytes())
    with tarfile.open(tmp_path / "backup.tar") as tar:
        place = tar.getmember(next(name for name in tar.getnames() if name.startswith("received/"))).offset_data
    damaged[place] ^= 1
    (tmp_path / "damaged.tar").write_bytes(damaged)
    with pytest.raises(BackupUnusable, match="differs from what was backed up"):
        restore(tmp_path / "damaged.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../outside.dcm", "/etc/outside", "received/../../outside", "elsewhere/x"])
def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        source = tmp_path / "source"
        source.write_bytes(b"x")
        tar.add(source, arcname=name, filter=lambda info: info.replace(name=name, deep=False))
    with pytest.raises(BackupUnusable, match="no backup of a node"):
        restore(tmp_path / "evil.tar", tmp_path / "inside" / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar", "inside", "source"]


def test_an_acknowledged_image_that_is_not_there_is_told_and_the_rest_is_kept(
    node: Node, data_dir: Path, tmp_path: Path
) -> None:
    lost = node.detail().series[0].instances[0].file
    (data_dir / lost).unlink()
    report = back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    assert report.missing == (lost.as_posix(),)
    assert restore(tmp_path / "backup.tar", tmp_path / "new").missing == (lost.as_posix(),)


def test_a_backup_that_fails_leaves_no_half_archive(
    node: Node, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.backup.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    assert [path.name for path in tmp_path.glob("backup*")] == []
    assert list(data_dir.glob(".backup-*")) == []


def test_retention_waits_while_a_backup_copies(data_dir: Path) -> None:
    data_dir.mkdir()
    with removal(data_dir) as before, removal(data_dir) as beside:
        assert before
        assert beside
    with no_removal(data_dir), removal(data_dir) as meanwhile:
        assert not meanwhile


def test_the_manifest_says_what_is_inside(node: Node, data_dir: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "node.toml"
    configuration.write_text("[node]\n")
    back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar", configuration=configuration)
    with tarfile.open(tmp_path / "backup.tar") as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert names[0] == SQLITE_FILE
    assert names[-1] == "manifest.json"
    assert set(manifest["files"]) == set(names[:-1])
    assert "configuration.toml" in names


def _waiting_result(node: Node, data_dir: Path) -> Path:
    folder = node.files.job_folder(node.job().id)
    file = folder / "objects" / "result.dcm"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"a result")
    with sqlite3.connect(data_dir / SQLITE_FILE) as rows:
        rows.execute(
            "INSERT INTO delivery_object SELECT id, 9, 'SR', '1.2', '1.7', '1.8', ? FROM delivery LIMIT 1",
            (str(file),),
        )
        rows.execute("UPDATE delivery SET finished_at = NULL, state = 'PENDING'")
    return file


def test_what_was_acknowledged_before_its_row_was_written_is_in_the_backup(
    node: Node, data_dir: Path, tmp_path: Path
) -> None:
    files = disk(data_dir, node.clock)
    head = b"\0" * 128 + b"DICM"
    behind = files.write("key", head, b"its row follows the answer").path
    cut = files.write("key", head, b"its name did not survive the power cut").path
    (data_dir / cut).rename(data_dir / "ready" / "1.part")
    (data_dir / "ready" / "2.part").write_bytes((data_dir / "ready" / "1.part").read_bytes()[:-1])
    report = back_up(data_dir / SQLITE_FILE, data_dir, tmp_path / "backup.tar")
    restored = restore(tmp_path / "backup.tar", tmp_path / "new").data_dir
    assert report.missing == ()
    assert (restored / behind).read_bytes() == (data_dir / behind).read_bytes()
    assert (restored / cut).read_bytes() == (data_dir / "ready" / "1.part").read_bytes()
    assert not (restored / "ready").exists(), "what was never acknowledged is not in it"
    assert set(disk(restored, node.clock).unfinished()) >= {behind, cut}, "the next start looks at both"
