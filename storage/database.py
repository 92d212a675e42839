"""Opening the database: SQLite in the data folder by default, PostgreSQL by URL.

SQLite runs in WAL mode: readers see the last commit and never wait. A commit is on the disk when it returns, though
SQLite itself runs with synchronous=NORMAL: `group_commit` syncs its log, once for all who commit at the same time.
Its driver would begin transactions at odd moments, so it is put into autocommit and BEGIN is sent
from here: IMMEDIATE for writers, so that a read inside one is a read under the write lock. Writers of this process
queue (`writers`); those of another process, such as the command line, wait with SQLite's busy timeout.
On PostgreSQL writers run beside each other at READ COMMITTED: claims and updates compare and set, and
`studies.get` locks the study's row until the transaction ends.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from dicom_node.core.errors import ConfigurationError, StorageUnavailable
from storage.group_commit import GroupSync, sync_log_of
from storage.lookup import InstanceLookup
from storage.schema import bring_up_to_date
from storage.transaction import Transaction, translated
from storage.unit_of_work import SqlUnitOfWork
from storage.writers import WriterQueue

_log = structlog.get_logger(__name__)

SQLITE_FILE = "node.sqlite3"

_WAIT_S = 30
_READING = {"node_reads": True}


def open_database(url: str, *, data_dir: Path) -> Database:
    """The database at `url`, with the newest schema; "sqlite" means `data_dir/node.sqlite3`.

    A new database is created and an older one is upgraded on the spot (a copy of an SQLite file is kept beside it).
    Raises ConfigurationError for a URL that cannot work or a schema of a later version, StorageUnavailable where the
    database does not answer.
    """
    database = Database(_engine(_parsed(url, data_dir)))
    try:
        bring_up_to_date(database.engine)
        database.derive_what_never_was()
    except SQLAlchemyError as error:
        database.close()
        raise translated(error) from error
    except BaseException:
        database.close()
        raise
    return database


def sqlite_path(url: str, *, data_dir: Path) -> Path | None:
    """The file of an SQLite database; None for PostgreSQL. Raises ConfigurationError as `open_database`."""
    parsed = _parsed(url, data_dir)
    return Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None


class Database:
    """Connections to one database, shared by all threads. `unit_of_work` is the factory the use cases want."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(**_READING, **_snapshot_options(engine))
        self._dialect = engine.dialect.name
        self._queue: WriterQueue | None = None
        self._group: GroupSync | None = None
        self._lookup: InstanceLookup | None = None
        if self._dialect == "sqlite":
            self._queue = WriterQueue(_WAIT_S)
            self._lookup = InstanceLookup(engine)
            self._group = GroupSync(partial(sync_log_of, Path(str(engine.url.database)), set()))

    def unit_of_work(self) -> SqlUnitOfWork:
        """A transaction that may write; on SQLite the only one in this process from its first statement on."""
        return SqlUnitOfWork(
            Transaction(
                self.engine.connect,
                dialect=self._dialect,
                is_writing=True,
                turnstile=self._queue,
                make_durable=self._group.wait if self._group else None,
                check=self._group.check if self._group else None,
            )
        )

    def reading(self) -> SqlUnitOfWork:
        """A snapshot of the last commit; never waits for a writer, and writing through it is a RuntimeError."""
        return SqlUnitOfWork(self._snapshot())

    def holds_instance(self, sop_instance_uid: str) -> bool:
        """Whether the row of this instance is committed. Raises StorageUnavailable.

        Asked for each image that is received, so on SQLite without a transaction and what belongs to one.
        """
        if self._lookup is not None:
            return self._lookup.holds(sop_instance_uid)
        with self.reading() as uow:
            return uow.studies.find_instance(sop_instance_uid) is not None

    def ping(self) -> None:
        """The database answers and can be written. Raises StorageUnavailable where it does not."""
        if self._group is not None:
            self._group.check()
        transaction = self._snapshot()
        try:
            transaction.read(text("SELECT 1 FROM study LIMIT 1")).all()
        finally:
            transaction.close()

    def derive_what_never_was(self) -> None:
        """Every study has its standing in the worklist: after an upgrade those from before have none."""
        with self.reading() as uow:
            if not uow.standings.are_missing():
                return
        while True:
            with self.unit_of_work() as uow:
                derived = uow.standings.derive_the_rest()
                uow.commit()
            if not derived:
                return

    def empty_log(self) -> None:
        """What earlier lives committed lies in the database itself, synced; for the start of the one node that serves.

        A life that ended with a failed sync leaves a log of which nobody knows what the disk holds. To append to it
        would put new commits behind frames that may be gone after a power cut. Raises StorageUnavailable.
        """
        if self._queue is None:
            return
        try:
            with self.engine.connect() as connection:
                raw = connection.connection.cursor()
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                raw.close()
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StorageUnavailable(f"the database's log cannot be written into the database: {error}") from error

    @property
    def failure(self) -> str:
        """Why nothing is committed any more until the node is started again; empty while all is well."""
        try:
            if self._group is not None:
                self._group.check()
        except StorageUnavailable as error:
            return str(error)
        return ""

    def integrity(self, *, deep: bool) -> str:
        """What SQLite finds wrong with its file, empty where nothing is; `deep` compares indexes too."""
        if self._queue is None:
            return ""
        try:
            with self.engine.connect() as connection:
                raw = connection.connection.cursor()
                (answer,) = raw.execute(f"PRAGMA {'integrity_check' if deep else 'quick_check'}(1)").fetchone()
                orphans = raw.execute("PRAGMA foreign_key_check").fetchall()
                raw.close()
        except (SQLAlchemyError, sqlite3.Error) as error:
            return str(error).split("\n", 1)[0]
        if answer != "ok":
            return str(answer)
        return f"{len(orphans)} rows point at rows that are not there" if orphans else ""

    def close(self) -> None:
        if self._lookup is not None:
            self._lookup.close()
        self.engine.dispose()

    def _snapshot(self) -> Transaction:
        return Transaction(self._reading.connect, dialect=self._dialect, is_writing=False)


def _parsed(url: str, data_dir: Path) -> URL:
    if url == "sqlite":
        return _sqlite_file(URL.create("sqlite+pysqlite", database=str(data_dir / SQLITE_FILE)), url)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _refused(url, "it is neither 'sqlite' nor a SQLAlchemy URL") from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_file(parsed, url)
    if parsed.get_backend_name() != "postgresql":
        raise _refused(parsed.render_as_string(), "only SQLite and PostgreSQL are supported")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _sqlite_file(parsed: URL, url: str) -> URL:
    """With the path SQLite itself will use: its log lies there, and `group_commit` must sync that one."""
    if parsed.database in (None, "", ":memory:"):
        raise _refused(url, "a database in memory would be empty after a restart; give a file")
    if str(parsed.database).startswith("file:"):
        raise _refused(url, "give the path of a file, not a file: URI")
    return parsed.set(database=str(Path(str(parsed.database)).resolve()))


def _engine(url: URL) -> Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        _make_file(Path(str(url.database)))
    try:
        # Parameters are hidden because they hold patient data and errors are logged.
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_size=8,
            max_overflow=56,
            pool_timeout=_WAIT_S,
            pool_pre_ping=not is_sqlite,
            connect_args=_connect_arguments(url),
        )
    except (NoSuchModuleError, ArgumentError) as error:
        raise _refused(url.render_as_string(), str(error)) from error
    except ModuleNotFoundError as error:
        remedy = "pip install 'cspine-node[postgresql]'" if error.name == "psycopg" else f"install {error.name}"
        raise _refused(url.render_as_string(), f"its driver {error.name} is missing: {remedy}") from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_arguments(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": _WAIT_S, "check_same_thread": False}
    if url.get_backend_name() == "postgresql" and url.get_driver_name() == "psycopg":
        wanted = {"connect_timeout": 10, "options": f"-c lock_timeout={_WAIT_S}s -c timezone=UTC"}
        return {name: value for name, value in wanted.items() if name not in url.query}
    return {}


def _snapshot_options(engine: Engine) -> dict[str, Any]:
    if engine.dialect.name == "postgresql":
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {}


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    (mode,) = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
    # Without a log `group_commit` has nothing to sync, so each commit must.
    cursor.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'wal' else 'FULL'}")
    if mode != "wal":
        _log.warning("sqlite_without_wal", journal_mode=mode, effect="readers and writers wait for each other")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_reading = connection.get_execution_options().get("node_reads", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _make_file(file: Path) -> None:
    """The file is there, for its owner alone; SQLite gives its log the same permissions.

    One that is there already is not opened: closing it would drop SQLite's locks on it in this process.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageUnavailable(f"the database's file {file} cannot be made: {error.strerror}") from error


def _refused(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"database.url {url!r} cannot be used: {why}", key="database.url", value=url)
