"""What becomes of a driver's error."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DataError, IntegrityError, InvalidRequestError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dicom_node.core.errors import StorageConflict, StorageUnavailable
from storage.transaction import translated


class PostgresError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__("could not serialize access\nDETAIL: Key (patient_name)=(Doe^Jane)")
        self.sqlstate = sqlstate


def test_a_unique_key_that_exists_is_a_conflict() -> None:
    cause = sqlite3.IntegrityError("UNIQUE constraint failed: instance.sop_instance_uid")
    failure = translated(IntegrityError("INSERT", {}, cause))
    assert isinstance(failure, StorageConflict)
    assert "instance.sop_instance_uid" in str(failure)


def test_a_lost_serialization_race_and_a_deadlock_are_conflicts() -> None:
    for sqlstate in ("40001", "40P01"):
        assert isinstance(translated(OperationalError("UPDATE", {}, PostgresError(sqlstate))), StorageConflict)


def test_a_full_disk_and_a_lost_server_are_unavailable() -> None:
    for cause in (sqlite3.OperationalError("database or disk is full"), PostgresError("57P01")):
        assert isinstance(translated(OperationalError("INSERT", {}, cause)), StorageUnavailable)
    assert isinstance(translated(DataError("INSERT", {}, ValueError("bad"))), StorageUnavailable)
    assert isinstance(translated(PoolTimeout()), StorageUnavailable)


def test_the_values_of_a_row_are_not_in_the_message() -> None:
    assert "Doe" not in str(translated(OperationalError("UPDATE", {"name": "Doe^Jane"}, PostgresError("40001"))))


def test_a_bug_of_ours_stays_what_it_is() -> None:
    bug = ValueError("a time without a time zone cannot be stored")
    assert translated(StatementError("bind", "INSERT", {}, bug)) is bug
    misuse = InvalidRequestError("closed")
    assert translated(misuse) is misuse
