"""The tables of the in-memory twin and its transactions.

A writing transaction copies the tables at its first write and puts the copy in place at its commit, so leaving
without one forgets everything and readers see the last commit whole. Writers queue as on SQLite.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from dicom_node.core.account import Account, ApiToken, Session
from dicom_node.core.circuit import Circuit
from dicom_node.core.commitment import CommitmentDuty, CommitmentRequest
from dicom_node.core.delivery import Channel, Delivery
from dicom_node.core.errors import NodeError, StorageConflict
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import AnalysisJob
from dicom_node.core.quarantine import QuarantinedFile
from dicom_node.core.study import InstanceRecord, StudyIntake
from dicom_node.core.verdict import Verdict
from storage.writers import WriterQueue


@dataclass
class Tables:
    """Keyed by what identifies a row; `of_study` lists SOP Instance UIDs in the order of arrival."""

    studies: dict[str, StudyIntake] = field(default_factory=dict)
    instances: dict[str, InstanceRecord] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    of_study: dict[str, tuple[str, ...]] = field(default_factory=dict)
    opened: dict[str, datetime] = field(default_factory=dict)
    closed: dict[str, datetime] = field(default_factory=dict)
    carriers: dict[str, frozenset[str]] = field(default_factory=dict)
    jobs: dict[int, AnalysisJob] = field(default_factory=dict)
    deliveries: dict[int, Delivery] = field(default_factory=dict)
    history: dict[int, HistoryEntry] = field(default_factory=dict)
    circuits: dict[tuple[Channel, str], Circuit] = field(default_factory=dict)
    requests: dict[str, CommitmentRequest] = field(default_factory=dict)
    duties: dict[int, CommitmentDuty] = field(default_factory=dict)
    quarantine: dict[int, QuarantinedFile] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    tokens: dict[int, ApiToken] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    def copied(self) -> Tables:
        return Tables(**{each.name: dict(getattr(self, each.name)) for each in fields(self)})


class Committed:
    """What every reader sees, and the queue of those who want to replace it."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.queue = WriterQueue(timeout_s=30)


class MemoryTransaction:
    """Compare `transaction.Transaction`: begun by the first access, dead after an error."""

    def __init__(self, state: Committed, *, is_writing: bool) -> None:
        self._state = state
        self._is_writing = is_writing
        self._tables: Tables | None = None
        self._is_copy = False
        self._failure: Exception | None = None
        self.studies_needed: set[str] = set()

    def read(self) -> Tables:
        self._refuse_after_failure()
        if self._tables is None:
            if self._is_writing:
                self._state.queue.enter()
            self._tables, self._is_copy = self._state.tables, False
        return self._tables

    def write(self, *times: datetime | None) -> Tables:
        if not self._is_writing:
            raise RuntimeError("this unit of work only reads")
        tables = self.read()
        if any(time is not None and time.tzinfo is None for time in times):
            self._fail(ValueError("a time without a time zone cannot be stored"))
        if not self._is_copy:
            self._tables, self._is_copy = tables.copied(), True
        assert self._tables is not None
        return self._tables

    def commit(self) -> None:
        self._refuse_after_failure()
        if self._tables is not None and self._is_copy:
            if not self.studies_needed <= self._tables.studies.keys():
                self.conflict("an instance without its study")
            self._state.tables = self._tables
        self.close()

    def close(self) -> None:
        was_open, self._tables, self._is_copy = self._tables is not None, None, False
        self.studies_needed = set()
        if was_open and self._is_writing:
            self._state.queue.leave()

    def end(self) -> None:
        """As `close`, and nothing can follow."""
        self.close()
        self._failure = self._failure or RuntimeError("its block was left")

    def conflict(self, what: str) -> NoReturn:
        self._fail(StorageConflict(f"another writer was first: {what}"))

    def _fail(self, error: Exception) -> NoReturn:
        self._failure = error
        self.close()
        raise error

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            kind = type(self._failure) if isinstance(self._failure, NodeError) else RuntimeError
            raise kind(f"this unit of work is over, open another: {self._failure}")
