"""What was set aside, in the in-memory twin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dicom_node.core.quarantine import QuarantinedFile, QuarantineState, QuarantineTotals
from storage.memory_transaction import MemoryTransaction


class MemoryQuarantine:
    """`QuarantineRepository` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def add(self, entry: QuarantinedFile) -> QuarantinedFile:
        entries = self._transaction.write(entry.set_aside_at, entry.settled_at).quarantine
        if any(known.file == entry.file for known in entries.values()):
            self._transaction.conflict("this file is known already")
        added = replace(entry, id=len(entries) + 1)
        entries[added.id] = added
        return added

    def get(self, entry_id: int) -> QuarantinedFile | None:
        return self._transaction.read().quarantine.get(entry_id)

    def list(
        self,
        *,
        states: Iterable[QuarantineState] | None = None,
        study_instance_uid: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[QuarantinedFile, ...]:
        wanted = set(QuarantineState if states is None else states)
        found = [
            entry
            for entry in self._transaction.read().quarantine.values()
            if entry.state in wanted and study_instance_uid in (None, entry.study_instance_uid)
        ]
        found.sort(key=lambda entry: (entry.set_aside_at, entry.id), reverse=True)
        return tuple(found[offset : offset + limit])

    def find(self, *, digest: str, sop_instance_uid: str) -> QuarantinedFile | None:
        entries = self._transaction.read().quarantine.values()
        same = [entry for entry in entries if (entry.digest, entry.sop_instance_uid) == (digest, sop_instance_uid)]
        return max(same, key=lambda entry: entry.id, default=None)

    def of_file(self, file: Path) -> QuarantinedFile | None:
        return next((entry for entry in self._transaction.read().quarantine.values() if entry.file == file), None)

    def update(self, entry: QuarantinedFile, *, expected: QuarantinedFile) -> bool:
        entries = self._transaction.write(entry.set_aside_at, entry.settled_at).quarantine
        known = entries.get(expected.id)
        if known is None or known.state is not expected.state:
            return False
        entries[expected.id] = replace(entry, id=expected.id)
        return True

    def totals(self) -> QuarantineTotals:
        held = [entry for entry in self._transaction.read().quarantine.values() if entry.state is QuarantineState.HELD]
        return QuarantineTotals(files=len(held), size_bytes=sum(entry.size_bytes for entry in held))
