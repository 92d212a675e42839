"""One database transaction: begun by the first statement, ended by commit or by leaving.

Why lazily: a unit of work may be opened before there is anything to write, and on SQLite an open write transaction
keeps every other writer out. Why nothing works after an error: PostgreSQL refuses the rest of a failed transaction,
and a caller that catches a conflict and commits must not commit the half it did before, on any database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dicom_node.core.errors import NodeError, StorageConflict, StorageUnavailable

_SERIALIZATION_FAILURE, _DEADLOCK = "40001", "40P01"

# INSERT … ON CONFLICT, which SQLAlchemy spells by dialect; the SQL is the same.
UPSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Turnstile(Protocol):
    """Lets writers in one after another."""

    def enter(self) -> None: ...
    def leave(self) -> None: ...


class Transaction:
    """Statements between a lazy BEGIN and `commit` or `close`. Used by one thread at a time.

    `turnstile` is entered before a write transaction begins and left when it ends; None where the database lets
    writers run beside each other. `make_durable` runs after each commit, when the next writer is in already; None
    where the database's own commit is durable. `check` runs before each commit and raises StorageUnavailable where no
    commit can be trusted any more. `is_writing` False gives a snapshot that cannot be written to.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        dialect: str,
        is_writing: bool,
        turnstile: Turnstile | None = None,
        make_durable: Callable[[], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self.dialect = dialect
        self._turnstile = turnstile
        self._make_durable = make_durable
        self._check = check
        self.is_writing = is_writing
        self._connection: Connection | None = None
        self._failure: Exception | None = None
        self._before_commit: list[Callable[[], None]] = []
        self._touched: set[str] = set()

    def before_commit(self, act: Callable[[], None]) -> None:
        """`act` runs inside the transaction at each commit, before it."""
        self._before_commit.append(act)

    def touch(self, study_instance_uid: str) -> None:
        """Something changed from which the study's standing in the worklist follows."""
        self._touched.add(study_instance_uid)

    def take_touched(self) -> set[str]:
        """The studies that were touched since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def read(self, statement: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        return self._execute(statement, parameters)

    def write(self, statement: Executable, parameters: Parameters = None) -> CursorResult[Any]:
        """As `read`, for statements that change rows. Raises RuntimeError in a reading unit of work."""
        if not self.is_writing:
            raise RuntimeError("this unit of work only reads")
        return self._execute(statement, parameters)

    def commit(self) -> None:
        """What was written is durable. Another statement begins a new transaction."""
        if self._connection is None:
            self._refuse_after_failure()
            return
        self.commit_unsynced()
        if self._make_durable is None:
            return
        try:
            self._make_durable()
        except StorageUnavailable as error:
            self._failure = error
            raise

    def commit_unsynced(self) -> None:
        """What was written is seen by all, and durable with the next `commit` of anybody where that is ours to see to.

        Another statement begins a new transaction.
        """
        self._refuse_after_failure()
        if self._connection is None:
            return
        for act in self._before_commit:
            act()
        try:
            if self._check is not None:
                self._check()
            self._connection.commit()
        except StorageUnavailable as error:
            self._failure = error
            self.close()
            raise
        except SQLAlchemyError as error:
            # Whether the driver still is in the transaction nobody knows; the pool must not lend it again.
            self._connection.invalidate()
            raise self._failed(error) from error
        self.close()

    def close(self) -> None:
        """Nothing that was not committed remains."""
        connection, self._connection = self._connection, None
        self._touched.clear()
        if connection is None:
            return
        try:
            connection.close()
        except SQLAlchemyError:
            # The server undoes what a lost connection had begun.
            connection.invalidate()
        finally:
            self._leave()

    def end(self) -> None:
        """As `close`, and nothing can follow."""
        self.close()
        self._failure = self._failure or RuntimeError("its block was left")

    def _execute(self, statement: Executable, parameters: Parameters) -> CursorResult[Any]:
        self._refuse_after_failure()
        try:
            connection = self._connection or self._begin()
            return connection.execute(statement, parameters)  # type: ignore[call-overload,no-any-return]
        except SQLAlchemyError as error:
            raise self._failed(error) from error

    def _begin(self) -> Connection:
        if self.is_writing and self._turnstile is not None:
            self._turnstile.enter()
        try:
            self._connection = self._connect()
            self._connection.begin()
        except BaseException:
            if self._connection is None:
                self._leave()
            else:
                self.close()
            raise
        return self._connection

    def _leave(self) -> None:
        if self.is_writing and self._turnstile is not None:
            self._turnstile.leave()

    def _failed(self, error: SQLAlchemyError) -> Exception:
        self._failure = translated(error)
        self.close()
        return self._failure

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            kind = type(self._failure) if isinstance(self._failure, NodeError) else RuntimeError
            raise kind(f"this unit of work is over, open another: {self._failure}")


def translated(error: SQLAlchemyError) -> Exception:
    """The node's error for a driver's error; a programming error comes back as it was."""
    if isinstance(error, PoolTimeout):
        return StorageUnavailable("every database connection is in use; tried again later")
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return error.orig if isinstance(error.orig, Exception) else error
    if not isinstance(error, DBAPIError):
        return error
    # One line only: PostgreSQL puts the values of a failing row into the lines after it.
    cause = str(error.orig).strip().split("\n", 1)[0]
    if isinstance(error, IntegrityError) or _is_lost_race(error):
        return StorageConflict(f"another writer was first: {cause}")
    return StorageUnavailable(f"the database cannot be used now: {cause}")


def _is_lost_race(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in (_SERIALIZATION_FAILURE, _DEADLOCK)
