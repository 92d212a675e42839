"""Rows, revisions and databases of other versions."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from dicom_node.core.delivery import Channel
from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from dicom_node.core.standing import WorklistFilter
from dicom_node.core.worklist import WorklistState
from storage import schema
from storage.database import SQLITE_FILE, open_database
from storage.rows import Row
from storage.schema import HEAD, current_revision, migration_config, upgrade
from tests.contract.postgres_server import postgres_url


def test_the_revisions_make_the_tables_that_the_rows_describe() -> None:
    with create_engine("sqlite://").connect() as connection:
        upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Row.metadata) == []


@pytest.mark.peer("postgresql")
def test_the_revisions_make_the_tables_on_postgresql_too(tmp_path: Path) -> None:
    with postgres_url() as url:
        database = open_database(url, data_dir=tmp_path)
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Row.metadata) == []
            assert current_revision(connection) == HEAD
        database.ping()
        database.close()
        open_database(url.replace("postgresql+psycopg://", "postgresql://"), data_dir=tmp_path).close()


def test_head_is_the_last_revision_and_the_line_does_not_fork() -> None:
    assert ScriptDirectory.from_config(migration_config()).get_heads() == [HEAD]


def test_a_new_database_is_made_in_the_data_folder(tmp_path: Path) -> None:
    database = open_database("sqlite", data_dir=tmp_path / "not" / "yet")
    database.ping()
    database.close()
    assert (tmp_path / "not" / "yet" / SQLITE_FILE).exists()


def test_a_database_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_database("sqlite", data_dir=tmp_path).close()
    _set_revision(tmp_path, "9999")
    with pytest.raises(ConfigurationError, match="9999"):
        open_database("sqlite", data_dir=tmp_path)
    assert _revision(tmp_path) == "9999"


def test_an_older_database_is_copied_and_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upgrade itself is a stand-in, so that this holds for the revisions to come."""
    open_database("sqlite", data_dir=tmp_path).close()

    def add_a_table(connection: object, revision: str = "head") -> None:
        connection.exec_driver_sql("CREATE TABLE later (id INTEGER)")  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")  # type: ignore[attr-defined]

    before = HEAD
    monkeypatch.setattr(schema, "HEAD", "9999")
    monkeypatch.setattr(schema, "upgrade", add_a_table)
    open_database("sqlite", data_dir=tmp_path).close()
    assert _revision(tmp_path) == "9999"
    copy = tmp_path / f"{SQLITE_FILE}.schema-{before}"
    with sqlite3.connect(copy) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)


def test_the_deliveries_of_the_first_schema_are_still_there_with_their_objects_and_answers(tmp_path: Path) -> None:
    _database_of_the_first_schema(tmp_path)
    database = open_database("sqlite", data_dir=tmp_path)
    with database.reading() as uow:
        (delivery,) = uow.deliveries.of_study("1.2.3")
        jobs = uow.jobs.unspoken()
    database.close()
    assert (delivery.peer, delivery.channel, delivery.round) == ("pacs", Channel.OBJECTS, 1)
    assert [entry.kind.value for entry in delivery.objects] == ["SEG", "SR"]
    assert [status.status for status in delivery.statuses] == [0xB000]
    assert jobs == (), "what failed before the upgrade is told to nobody"
    with sqlite3.connect(tmp_path / SQLITE_FILE) as upgraded:
        assert upgraded.execute("PRAGMA foreign_key_check").fetchall() == []


def test_studies_from_before_the_worklist_was_kept_have_their_place_in_it(tmp_path: Path) -> None:
    _database_before_the_worklist(tmp_path, studies=450)
    database = open_database("sqlite", data_dir=tmp_path)
    with database.reading() as uow:
        first = uow.worklist.page(WorklistFilter(), limit=2)
        found = uow.worklist.page(WorklistFilter(text="DOE 7", state=WorklistState.RECEIVING), limit=2)
        tally = uow.worklist.tally(WorklistFilter())
    database.close()
    assert [study.study_instance_uid for study in first] == ["1.2.449", "1.2.0"], "the fracture, then who waits longest"
    assert found[0].study_instance_uid == "1.2.7"
    assert tally == {(WorklistState.DELIVERED, True): 1, (WorklistState.RECEIVING, False): 449}


def _database_before_the_worklist(folder: Path, *, studies: int) -> None:
    engine = create_engine(f"sqlite:///{folder / SQLITE_FILE}")
    result = json.dumps({"patient_overall": {"probability": 0.9, "fracture": True}, "levels": []})
    with engine.begin() as connection:
        upgrade(connection, "0005")
        for number in range(studies):
            state, revision = ("CLOSED", 1) if number == studies - 1 else ("RECEIVING", 0)
            at = f"2026-01-02 12:{number // 60:02}:{number % 60:02}.000000"
            connection.execute(
                text(
                    "INSERT INTO study (study_instance_uid, state, revision, first_received_at, last_received_at,"
                    " instance_count, calling_aet, close_reason, patient_id, patient_name, accession_number,"
                    " study_date, study_description)"
                    " VALUES (:uid, :state, :revision, :at, :at, 1, 'CT', '', :id, 'Doe^Jane', '', '', '')"
                ),
                {"uid": f"1.2.{number}", "state": state, "revision": revision, "at": at, "id": f"P{number}"},
            )
        connection.execute(
            text(
                "INSERT INTO job (study_instance_uid, revision, state, attempt, created_at, failure, reason,"
                " result_json, is_told) VALUES (:uid, 1, 'DONE', 1, '2026-01-02 12:00:00.000000', '', '', :result, 0)"
            ),
            {"uid": f"1.2.{studies - 1}", "result": result},
        )
    engine.dispose()


def _database_of_the_first_schema(folder: Path) -> None:
    engine = create_engine(f"sqlite:///{folder / SQLITE_FILE}")
    with engine.begin() as connection:
        upgrade(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO job VALUES ('', '', 1, '1.2.3', 1, 'FAILED', 1, '', '', '', '', '', '')"
        )
        connection.exec_driver_sql(
            "INSERT INTO delivery (job_id, peer, id, study_instance_uid, revision, state, attempt, created_at, failure)"
            " VALUES (1, 'pacs', 7, '1.2.3', 1, 'STORED', 1, '2026-01-02 12:00:00.000000', '')"
        )
        for position, kind in enumerate(("SEG", "SR")):
            connection.exec_driver_sql(
                f"INSERT INTO delivery_object VALUES (7, {position}, '{kind}', '1.2', '1.2.{position}', '1.3', '/x')"
            )
        connection.exec_driver_sql("INSERT INTO delivery_answer VALUES (7, '1.2.1', 45056, NULL)")
    engine.dispose()


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database("sqlite", data_dir=tmp_path).close()
    before = HEAD

    def fail_half_way(connection: object, revision: str = "head") -> None:
        connection.exec_driver_sql("CREATE TABLE later (id INTEGER)")  # type: ignore[attr-defined]
        connection.exec_driver_sql("CREATE TABLE study (id INTEGER)")  # type: ignore[attr-defined]

    monkeypatch.setattr(schema, "HEAD", "9999")
    monkeypatch.setattr(schema, "upgrade", fail_half_way)
    with pytest.raises(StorageUnavailable):
        open_database("sqlite", data_dir=tmp_path)
    with sqlite3.connect(tmp_path / SQLITE_FILE) as left:
        assert left.execute("SELECT count(*) FROM sqlite_master WHERE name = 'later'").fetchone() == (0,)
    assert _revision(tmp_path) == before


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("sqlite:///file:node.sqlite3?uri=true", "file: URI"),
        ("node.db", "neither"),
        ("mysql://host/node", "only SQLite and PostgreSQL"),
        ("postgresql+nodriver://host/node", "nodriver"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_the_key(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        open_database(url, data_dir=tmp_path)
    assert caught.value.key == "database.url"


def test_a_password_in_the_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_database("mysql://node:secret@host/node", data_dir=tmp_path)
    assert "secret" not in f"{caught.value} {caught.value.value}"


def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        open_database(f"postgresql://node@/node?host={tmp_path}", data_dir=tmp_path)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / SQLITE_FILE).write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StorageUnavailable, match="not a database"):
        open_database("sqlite", data_dir=tmp_path)


def _revision(folder: Path) -> str:
    with sqlite3.connect(folder / SQLITE_FILE) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _set_revision(folder: Path, revision: str) -> None:
    with sqlite3.connect(folder / SQLITE_FILE) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
