"""From the first released schema to this one: a database with a row in every table, and all of it still there."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, Engine, Integer, MetaData, create_engine, insert, select

from storage.database import SQLITE_FILE, open_database
from storage.schema import HEAD, current_revision, upgrade

FIRST = "0001"
# What a column may only hold in the first schema, where a made-up value would not do.
_KNOWN = {
    ("study", "state"): "CLOSED",
    ("job", "state"): "DONE",
    ("delivery", "state"): "STORED",
    ("delivery_object", "kind"): "SEG",
    ("delivery_answer", "status"): 0xB000,
    ("instance", "file"): "received/2026-01-02/a/1.dcm",
}


def first_schema(folder: Path) -> tuple[Engine, MetaData]:
    """A database as the first release left it."""
    engine = create_engine(f"sqlite:///{folder / SQLITE_FILE}")
    with engine.begin() as connection:
        upgrade(connection, FIRST)
    tables = MetaData()
    tables.reflect(engine)
    return engine, tables


def value(table: str, column: Column[Any], made: dict[tuple[str, str], Any]) -> Any:
    """A value for a column: what it points at, what it may hold, or something of its type."""
    for key in column.foreign_keys:
        return made[(key.column.table.name, key.column.name)]
    if (table, column.name) in _KNOWN:
        return _KNOWN[(table, column.name)]
    if isinstance(column.type, DateTime):
        return datetime(2026, 1, 2, 12, 0, 0, 250_000)
    if column.type._type_affinity is Integer:
        return 7
    return f"{table} {column.name} Müller 山田"[:60]


def fill(engine: Engine, tables: MetaData) -> dict[str, dict[str, Any]]:
    """One row in every table; returns them."""
    made: dict[tuple[str, str], Any] = {}
    rows = {}
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            row = {column.name: value(table.name, column, made) for column in table.columns}
            if "study_instance_uid" in row:
                row["study_instance_uid"] = "1.2.3"
            made |= {(table.name, name): given for name, given in row.items()}
            connection.execute(insert(table).values(row))
            rows[table.name] = row
    return rows


@pytest.fixture
def upgraded(tmp_path: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    engine, tables = first_schema(tmp_path)
    rows = fill(engine, tables)
    engine.dispose()
    open_database("sqlite", data_dir=tmp_path).close()
    return tmp_path, rows


def test_every_row_of_the_first_schema_is_still_there_with_every_value(upgraded: Any) -> None:
    folder, rows = upgraded
    assert {"study", "instance", "job", "delivery", "history"} <= set(rows)
    engine = create_engine(f"sqlite:///{folder / SQLITE_FILE}")
    now = MetaData()
    now.reflect(engine)
    with engine.connect() as connection:
        assert current_revision(connection) == HEAD
        for name, row in rows.items():
            (found,) = connection.execute(select(now.tables[name])).mappings().all()
            assert {column: found[column] for column in row} == row, name
    engine.dispose()


def test_nothing_points_at_what_is_not_there_and_the_file_is_whole(upgraded: Any) -> None:
    folder, _ = upgraded
    with sqlite3.connect(folder / SQLITE_FILE) as database:
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_node_reads_what_the_first_release_wrote(upgraded: Any) -> None:
    folder, rows = upgraded
    database = open_database("sqlite", data_dir=folder)
    with database.reading() as uow:
        study = uow.studies.get("1.2.3")
        (instance,) = uow.studies.instances("1.2.3")
        (job,) = uow.jobs.of_study("1.2.3")
        (delivery,) = uow.deliveries.of_study("1.2.3")
        (entry,) = uow.history.of_study("1.2.3")
    database.close()
    assert study is not None
    assert study.patient.patient_name == rows["study"]["patient_name"]
    assert str(instance.file) == rows["instance"]["file"]
    assert (job.id, job.result_json) == (rows["job"]["id"], rows["job"]["result_json"])
    assert [each.sop_instance_uid for each in delivery.objects] == [rows["delivery_object"]["sop_instance_uid"]]
    assert entry.reason == rows["history"]["reason"]


def test_the_database_as_it_was_is_kept_beside_the_new_one(upgraded: Any) -> None:
    folder, rows = upgraded
    with sqlite3.connect(folder / f"{SQLITE_FILE}.schema-{FIRST}") as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == (FIRST,)
        assert kept.execute("SELECT study_instance_uid FROM study").fetchall() == [("1.2.3",)]
        assert kept.execute("SELECT digest FROM instance").fetchone() == (rows["instance"]["digest"],)


def test_a_second_start_changes_nothing_more(upgraded: Any) -> None:
    folder, _ = upgraded

    def dump() -> list[str]:
        with sqlite3.connect(folder / SQLITE_FILE) as database:
            return list(database.iterdump())

    before = dump()
    open_database("sqlite", data_dir=folder).close()
    assert dump() == before
