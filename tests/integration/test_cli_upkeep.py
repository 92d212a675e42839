"""The commands that look after a store: quarantine, doctor, backup, restore."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.core.errors import RejectedInput
from dicom_node.dimse.file_meta import encode_file_meta
from storage.database import open_database
from storage.files import DiskFileStore
from tests.builders.audit_schema import message_in
from tests.builders.commands import Ran, cspine_node
from tests.builders.ct import make_ct_series
from tests.unit.app.node import CT, Node, incoming, silenced


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "node.toml"
    file.write_text('[node]\ndata_dir = "var"\nmin_free_bytes = 0\n')
    return file


@pytest.fixture
def node(config: Path, tmp_path: Path) -> Iterator[Node]:
    """An instance that is held, and another content under its UID in quarantine."""
    data_dir = tmp_path / "var"
    database = open_database("sqlite", data_dir=data_dir)
    (file,) = make_ct_series(tmp_path / "ct", n=1)
    with silenced():
        node = Node(data_dir, database=database, files=lambda root, clock: DiskFileStore(root, clock=clock))
        node.receive(_as_received(file, 0))
        with pytest.raises(RejectedInput):
            node.receive(_as_received(file, 1))
    yield node
    database.close()


def _as_received(file: Path, value: int) -> object:
    image = dcmread(file)
    image.PixelData = bytes([value]) * len(image.PixelData)
    buffer = io.BytesIO()
    del image.file_meta.MediaStorageSOPInstanceUID
    uid = str(image.SOPInstanceUID)
    image.save_as(buffer, enforce_file_format=False)
    part10 = buffer.getvalue()
    start = part10.index(b"DICM") + 4
    length = int.from_bytes(part10[start + 8 : start + 12], "little") + 12
    syntax = str(image.file_meta.TransferSyntaxUID)
    given = incoming(study=str(image.StudyInstanceUID))
    assert given.header is not None
    return type(given)(
        **{
            **vars(given),
            "head": encode_file_meta(
                sop_class_uid=CT,
                sop_instance_uid=uid,
                transfer_syntax_uid=syntax,
                calling_aet="SCANNER",
                called_aet="CSPINE_AI",
            ),
            "data_set": part10[start + length :],
            "header": type(given.header)(
                **{
                    **vars(given.header),
                    "sop_instance_uid": uid,
                    "series_instance_uid": str(image.SeriesInstanceUID),
                }
            ),
            "sop_instance_uid": uid,
            "transfer_syntax_uid": syntax,
        }
    )


def run(config: Path, *arguments: object) -> Ran:
    return cspine_node(*arguments, "--config", config)


def test_what_waits_is_listed_shown_and_released(node: Node, config: Path) -> None:
    (entry,) = run(config, "quarantine", "list", "--json").json
    assert (entry["reason"], entry["state"]) == ("conflicting_instance", "HELD")
    assert "conflicting_instance" in run(config, "quarantine", "list").out
    shown = run(config, "quarantine", "show", entry["id"], "--json").json
    assert shown["is_there"] is True
    assert "digest" in run(config, "quarantine", "show", entry["id"]).out
    released = run(config, "quarantine", "release", entry["id"], "--reason", "the right one", "--json")
    assert released.status == 0, released.err
    assert released.json["state"] == "RELEASED"
    assert "the right one" in released.json["settled_why"]
    again = run(config, "quarantine", "release", entry["id"])
    assert (again.status, len(again.err.splitlines())) == (1, 1)
    (replaced,) = run(config, "quarantine", "list", "--json").json
    assert replaced["reason"] == "replaced"
    assert len(run(config, "quarantine", "list", "--all", "--json").json) == 2
    assert run(config, "doctor", "--deep").status == 0, "files and rows agree after it"


def test_what_is_discarded_is_gone(node: Node, config: Path) -> None:
    discarded = run(config, "quarantine", "discard", 1)
    assert discarded.status == 0
    assert "DISCARDED" in discarded.out
    assert run(config, "quarantine", "list").out.strip() == "nothing waits in quarantine"
    assert "gone" in run(config, "quarantine", "show", 1).out
    unknown = run(config, "quarantine", "show", 77)
    assert unknown.status == 1
    assert "quarantine list" in unknown.err


def test_a_decision_is_in_the_audit_trail_with_who_made_it_and_whose_study_it_was(
    node: Node, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    config.write_text(config.read_text() + '[audit]\nsyslog_host = "repository.example"\n')
    study_uid = run(config, "quarantine", "show", 1, "--json").json["study_instance_uid"]
    assert run(config, "quarantine", "release", 1, "--reason", "the right one").status == 0
    assert run(config, "quarantine", "release", 1).status == 1
    assert run(config, "quarantine", "discard", 2).status == 0
    folder = config.parent / "var" / "audit"
    lines = (folder / "audit.log").read_bytes().splitlines()
    assert [path.read_bytes() for path in sorted((folder / "spool").iterdir())] == lines, "the node will send them"
    released, discarded = (message_in(line) for line in lines)
    assert [each.find("EventIdentification").get("EventActionCode") for each in (released, discarded)] == ["U", "D"]
    for message in (released, discarded):
        assert message.find("ActiveParticipant").get("UserID") == "ann"
        study, patient, about = message.findall("ParticipantObjectIdentification")
        assert (study.get("ParticipantObjectID"), patient.get("ParticipantObjectID")) == (study_uid, "P1")
    assert about.get("ParticipantObjectID") == "/quarantine/2"


def test_where_no_trail_is_kept_a_decision_leaves_none(node: Node, config: Path) -> None:
    config.write_text(config.read_text() + "[audit]\nfile = false\n")
    assert run(config, "quarantine", "discard", 1).status == 0
    assert not (config.parent / "var" / "audit").exists()


def test_a_store_is_backed_up_into_a_folder_and_restored_by_one_command_each(
    node: Node, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "backups").mkdir()
    made = run(config, "backup", tmp_path / "backups", "--json")
    assert made.status == 0, made.err
    archive = Path(made.json["archive"])
    assert archive.parent == tmp_path / "backups"
    refused = run(config, "restore", archive)
    assert (refused.status, "not empty" in refused.err) == (2, True)
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text('[node]\ndata_dir = "new"\nmin_free_bytes = 0\n')
    restored = run(elsewhere, "restore", archive)
    assert restored.status == 0, restored.err
    assert run(elsewhere, "doctor", "--deep").out.splitlines()[-1] == "files and rows agree"
    assert len(run(elsewhere, "quarantine", "list", "--json").json) == 1


def test_a_backup_that_lacks_a_file_says_which_and_is_status_1(node: Node, config: Path, tmp_path: Path) -> None:
    (file,) = (tmp_path / "var" / "received").rglob("*.dcm")
    file.unlink()
    made = run(config, "backup", tmp_path / "backup.tar")
    assert made.status == 1
    assert file.name in made.err
    mended = run(config, "doctor", "--repair", "--json")
    assert mended.status == 0, "everything that was wrong was put right"
    assert [complaint["what"] for complaint in mended.json["complaints"]] == ["missing"]
    assert run(config, "backup", tmp_path / "another.tar").status == 0


def test_a_database_elsewhere_is_not_backed_up_half(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('[node]\ndata_dir = "var"\n[database]\nurl = "postgresql+psycopg://host/node"\n')
    refused = run(config, "backup", tmp_path / "backup.tar")
    assert refused.status == 2
    assert "pg_dump" in refused.err
