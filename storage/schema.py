"""Which revision of the schema a database has, and how it gets the newest one.

How to change the schema: edit `rows`, write `migrations/versions/<next>_<what>.py` by hand or with
`autogenerate`, set HEAD. A test fails while rows, revisions and HEAD disagree.

Whoever opens the database upgrades it: a hospital that installs a new version and starts it wants it to run. The
upgrade is one transaction, on SQLite with a copy of the file kept beside it; two processes that open the database
at once do it once. A database of a later version is refused, so an older program never writes into it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, inspect, text

from dicom_node.core.errors import ConfigurationError, StorageUnavailable

_log = structlog.get_logger(__name__)

HEAD = "0007"

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number, the same in every version of this program.
_ADVISORY_LOCK = 7_061_912


def bring_up_to_date(engine: Engine) -> None:
    """The schema is at HEAD. Raises ConfigurationError where the database was made by a later version."""
    with engine.connect() as connection:
        if current_revision(connection) == HEAD:
            return
    with engine.connect() as connection:
        _take_turn(connection)
        before = current_revision(connection)
        if before == HEAD:
            return
        if before is not None:
            _refuse_later_version(before)
            _keep_copy(engine, before)
        upgrade(connection)
        connection.commit()
    _log.info("schema_upgraded", from_revision=before or "none", to_revision=HEAD)


def current_revision(connection: Connection) -> str | None:
    """None for a database without tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the revisions up to `revision` in the connection's transaction; the caller commits."""
    # Imported here because it costs a third of a second and is needed once in the life of a database.
    from alembic import command

    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def migration_config():  # type: ignore[no-untyped-def]
    """alembic's configuration, without an ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _take_turn(connection: Connection) -> None:
    """Nobody else upgrades until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    else:
        connection.execute(text("SELECT 1"))  # BEGIN IMMEDIATE is sent before the first statement


def _refuse_later_version(revision: str) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(migration_config()).walk_revisions()}
    if revision not in known:
        raise ConfigurationError(
            f"the database has schema {revision}, this version knows schemas up to {HEAD}: install the version "
            "that made it, or restore the copy from before its upgrade",
            key="database.url",
            value=revision,
        )


def _keep_copy(engine: Engine, revision: str) -> None:
    """For SQLite: `node.sqlite3.schema-<revision>` beside the file, as it was before the upgrade."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    copy = Path(f"{engine.url.database}.schema-{revision}")
    if copy.exists():
        return
    unfinished = copy.with_name(f"{copy.name}.part")
    try:
        # Outside SQLAlchemy: the upgrade's own connection holds the write lock, and this one only reads.
        with (
            closing(sqlite3.connect(engine.url.database)) as source,
            closing(sqlite3.connect(unfinished)) as target,
        ):
            source.backup(target)
        unfinished.rename(copy)
    except (sqlite3.Error, OSError) as error:
        raise StorageUnavailable(f"the database cannot be copied to {copy} before its upgrade: {error}") from error
