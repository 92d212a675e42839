"""The databases that the contract is checked against, each one empty at the start of a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete

from storage.database import SQLITE_FILE, open_database
from storage.memory import MemoryDatabase
from storage.rows import Row
from tests.contract.postgres_server import postgres_url

DATABASES = ["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.peer("postgresql"))]


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the schema and nothing in it; copying it is faster than migrating anew."""
    folder = tmp_path_factory.mktemp("empty")
    open_database("sqlite", data_dir=folder).close()
    return folder / SQLITE_FILE


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_url() as url:
        yield url


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An object with unit_of_work() and reading()."""
    if request.param == "memory":
        yield MemoryDatabase()
        return
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / SQLITE_FILE)
        opened = open_database("sqlite", data_dir=tmp_path)
    else:
        url = request.getfixturevalue("postgres")
        opened = open_database(url, data_dir=tmp_path)
        _empty(url)
    yield opened
    opened.close()


def _empty(url: str) -> None:
    """DELETE: for a handful of rows it is many times faster than TRUNCATE."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in reversed(Row.metadata.sorted_tables):
            connection.execute(delete(table))
    engine.dispose()
