"""A store is broken in each way; the doctor says what it means, and puts right what is safe."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from config.settings import NodeSettings, Settings
from dicom_node.app.receive_instance import IncomingInstance
from dicom_node.bootstrap.doctor import Complaint, Diagnosis, diagnose
from dicom_node.core.errors import ConfigurationError, PeerUnreachable
from dicom_node.core.study import StudyState
from dicom_node.dimse.file_meta import encode_file_meta
from storage.database import SQLITE_FILE, open_database
from storage.files import DiskFileStore
from storage.lock import hold_data_dir
from tests.unit.app.node import CT, EXPLICIT, STUDY, Node, incoming, silenced


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def node(data_dir: Path) -> Iterator[Node]:
    """A delivered study of three images, in files with a real file meta."""
    database = open_database("sqlite", data_dir=data_dir)
    with silenced():
        node = Node(data_dir, database=database, files=lambda root, clock: DiskFileStore(root, clock=clock))
        for number in (1, 2, 3):
            node.receive(image(number))
        node.settle(4)
        yield node
    database.close()


def image(number: int, **changes: object) -> IncomingInstance:
    head = encode_file_meta(
        sop_class_uid=CT,
        sop_instance_uid=f"{STUDY}.1.{number}",
        transfer_syntax_uid=EXPLICIT,
        calling_aet="SCANNER",
        called_aet="CSPINE_AI",
    )
    return incoming(number, head=head, **changes)


def first_file(node: Node) -> Path:
    return node.files.absolute(node.detail().series[0].instances[0].file)


def look(data_dir: Path, *, deep: bool = True, repair: bool = False, min_free_bytes: int = 0) -> Diagnosis:
    settings = Settings(node=NodeSettings(data_dir=data_dir, min_free_bytes=min_free_bytes))
    return diagnose(settings, deep=deep, repair=repair)


def the_one(data_dir: Path, what: str) -> Complaint:
    """The finding, before and after it is mended; the store is well from then on."""
    found = look(data_dir)
    assert [complaint.what for complaint in found.complaints] == [what]
    assert found.complaints[0].means
    assert found.complaints[0].remedy
    assert not found.is_well
    (mended,) = look(data_dir, repair=True).complaints
    assert look(data_dir).complaints == ()
    return mended


def test_a_store_that_is_well_has_no_findings(node: Node, data_dir: Path) -> None:
    found = look(data_dir)
    assert (found.studies, found.instances, found.complaints) == (1, 3, ())
    assert found.schema


def test_a_row_without_its_file_goes_so_that_the_image_may_be_sent_again(node: Node, data_dir: Path) -> None:
    first_file(node).unlink()
    assert "ask the sender" in the_one(data_dir, "missing").done
    assert node.study().instance_count == 2
    assert node.detail().history[-1].event == "instance_lost"
    assert node.receive(image(1)).value == "new"


def test_a_damaged_file_goes_to_quarantine_and_the_image_may_be_sent_again(node: Node, data_dir: Path) -> None:
    file = first_file(node)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert look(data_dir, deep=False).complaints == (), "only reading it shows it"
    assert "quarantine 1" in the_one(data_dir, "damaged").done
    with node.database.reading() as uow:
        (entry,) = uow.quarantine.list()
    assert (entry.reason.value, entry.study_instance_uid) == ("damaged", STUDY)
    assert node.files.absolute(entry.file).read_bytes() == bytes(content)
    assert node.receive(image(1)).value == "new"


def test_a_file_that_is_known_by_the_digest_of_an_earlier_version_is_judged_by_that(node: Node, data_dir: Path) -> None:
    file = first_file(node)
    with node.uow() as uow:
        record = node.detail().series[0].instances[0]
        uow.studies.replace_instance(replace(record, digest=hashlib.sha256(image(1).data_set).hexdigest()))
        uow.commit()
    assert look(data_dir).complaints == ()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert [complaint.what for complaint in look(data_dir).complaints] == ["damaged"]


def test_a_cut_file_is_seen_without_reading_it(node: Node, data_dir: Path) -> None:
    file = first_file(node)
    file.write_bytes(file.read_bytes()[:-3])
    assert [complaint.what for complaint in look(data_dir, deep=False).complaints] == ["too short"]


def test_a_file_without_a_row_that_cannot_be_read_goes_to_quarantine(node: Node, data_dir: Path) -> None:
    stored = node.files.write("key", b"", b"no DICOM")
    assert the_one(data_dir, "no row").done == "put into quarantine"
    assert not node.files.absolute(stored.path).exists()


def test_what_was_being_written_is_removed(node: Node, data_dir: Path) -> None:
    part = data_dir / "incoming" / "x.part"
    part.parent.mkdir(mode=0o700)
    part.write_bytes(b"half")
    part.chmod(0o600)
    assert the_one(data_dir, "no row").done == "removed"
    assert not part.exists()


def test_beside_a_running_node_a_file_that_is_just_being_received_is_no_finding(node: Node, data_dir: Path) -> None:
    node.files.write("key", b"", b"its row follows")
    with hold_data_dir(data_dir):
        assert look(data_dir).complaints == ()


def test_nothing_is_repaired_while_a_node_runs(node: Node, data_dir: Path) -> None:
    with hold_data_dir(data_dir), pytest.raises(ConfigurationError, match="served by another node"):
        look(data_dir, repair=True)


def test_a_file_in_quarantine_without_a_row_gets_one(node: Node, data_dir: Path) -> None:
    node.files.keep_aside(b"", b"rubbish", reason="unreadable", detail={"calling_aet": "SCANNER", "why": "noise"})
    assert "have rows now" in the_one(data_dir, "no row").done
    with node.database.reading() as uow:
        (entry,) = uow.quarantine.list()
    assert (entry.reason.value, entry.why, entry.calling_aet) == ("unreadable", "noise", "SCANNER")


def test_a_row_of_quarantine_without_its_file_is_settled(node: Node, data_dir: Path) -> None:
    node.files.keep_aside(b"", b"rubbish", reason="unreadable", detail={})
    look(data_dir, repair=True)
    next((data_dir / "quarantine").rglob("*.dcm")).unlink()
    assert the_one(data_dir, "missing").done == "noted as discarded"


def test_a_settled_file_that_is_still_in_quarantine_is_removed(node: Node, data_dir: Path) -> None:
    node.files.keep_aside(b"", b"rubbish", reason="unreadable", detail={})
    look(data_dir, repair=True)
    with sqlite3.connect(data_dir / SQLITE_FILE) as rows:
        rows.execute("UPDATE quarantine SET state = 'DISCARDED'")
    assert the_one(data_dir, "settled").done == "removed"


def test_the_folder_of_a_job_that_nobody_knows_is_removed(node: Node, data_dir: Path) -> None:
    (node.files.job_folder(77) / "report.html").write_text("x")
    (data_dir / "jobs" / "77" / "report.html").chmod(0o600)
    assert the_one(data_dir, "no job").done == "removed"
    assert not (data_dir / "jobs" / "77").exists()


def test_where_no_job_is_known_at_all_results_are_left_alone(node: Node, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / SQLITE_FILE) as rows:
        for table in ("delivery_answer", "delivery_object", "delivery", "job"):
            rows.execute(f"DELETE FROM {table}")
    (data_dir / "jobs").chmod(0o700)
    folders = sorted(path.name for path in (data_dir / "jobs").iterdir())
    assert folders
    look(data_dir, repair=True)
    assert sorted(path.name for path in (data_dir / "jobs").iterdir()) == folders


def test_a_result_that_is_gone_before_it_was_delivered_is_made_again(data_dir: Path) -> None:
    database = open_database("sqlite", data_dir=data_dir)
    with silenced():
        node = Node(data_dir, database=database, files=lambda root, clock: DiskFileStore(root, clock=clock))
        node.pacs.failures = [PeerUnreachable("away")] * 100
        for number in (1, 2, 3):
            node.receive(image(number))
        node.settle(4)
        assert "revision 2" in look(data_dir, repair=True).complaints[0].done
        assert node.study().state is StudyState.RECEIVING
        node.clock.at = node.study().last_received_at + timedelta(seconds=60)
        node.pacs.failures = []
        node.settle(60)
        assert node.study().revision == 2
        assert node.detail().status.state.value == "DELIVERED"
    database.close()


def test_a_closed_study_without_an_analysis_is_analysed(node: Node, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / SQLITE_FILE) as rows:
        for table in ("delivery_answer", "delivery_object", "delivery"):
            rows.execute(f"DELETE FROM {table}")
        rows.execute("UPDATE job SET revision = 0")
    assert the_one(data_dir, "no job").done.startswith("revision 2 is analysed")
    assert node.study().state is StudyState.RECEIVING


def test_associations_that_nobody_serves_are_closed(node: Node, data_dir: Path) -> None:
    node.open_association("a")
    with hold_data_dir(data_dir):
        assert look(data_dir).complaints == (), "of a running node they may well be open"
    assert the_one(data_dir, "open association").done == "1 associations are closed"


def test_files_that_others_may_read_are_closed_up(node: Node, data_dir: Path) -> None:
    first_file(node).chmod(0o644)
    data_dir.chmod(0o755)
    assert "2 files and folders" in the_one(data_dir, "permissions").done
    assert first_file(node).stat().st_mode & 0o777 == 0o600
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_too_little_space_is_said_and_left_to_the_operator(node: Node, data_dir: Path) -> None:
    found = look(data_dir, repair=True, min_free_bytes=1 << 60)
    assert [(complaint.what, complaint.done) for complaint in found.complaints] == [("space", "")]
    assert not found.is_well


def test_a_damaged_database_is_said_and_nothing_is_done_on_its_word(node: Node, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / SQLITE_FILE) as rows:
        (page,) = rows.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_history_subject'").fetchone()
        (size,) = rows.execute("PRAGMA page_size").fetchone()
    node.database.empty_log()
    node.database.close()
    for image_file in (data_dir / "received").rglob("*.dcm"):
        image_file.unlink()
    with (data_dir / SQLITE_FILE).open("r+b") as file:
        file.seek((page - 1) * size + 8)
        file.write(b"\xff" * 200)
    (finding,) = look(data_dir, repair=True).complaints
    assert (finding.what, finding.done) == ("database", "")


def test_a_database_of_a_later_version_is_left_alone(node: Node, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / SQLITE_FILE) as rows:
        rows.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="9999"):
        look(data_dir, repair=True)
