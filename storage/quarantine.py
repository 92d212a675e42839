"""What was set aside, in the database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import func, insert, select, update

from dicom_node.core.quarantine import QuarantinedFile, QuarantineState, QuarantineTotals
from storage.mapping import path_text, quarantined_from, quarantined_values
from storage.rows import QuarantineRow, table_of
from storage.transaction import Transaction

_quarantine = table_of(QuarantineRow)
_NEWEST_FIRST = (_quarantine.c.set_aside_at.desc(), _quarantine.c.id.desc())


class Quarantined:
    """`QuarantineRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, entry: QuarantinedFile) -> QuarantinedFile:
        statement = insert(_quarantine).values(quarantined_values(entry)).returning(_quarantine)
        return quarantined_from(self._transaction.write(statement).mappings().one())

    def get(self, entry_id: int) -> QuarantinedFile | None:
        row = self._transaction.read(select(_quarantine).where(_quarantine.c.id == entry_id)).mappings().one_or_none()
        return None if row is None else quarantined_from(row)

    def list(
        self,
        *,
        states: Iterable[QuarantineState] | None = None,
        study_instance_uid: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[QuarantinedFile, ...]:
        statement = select(_quarantine).order_by(*_NEWEST_FIRST).limit(limit).offset(offset)
        if states is not None:
            statement = statement.where(_quarantine.c.state.in_([state.value for state in states]))
        if study_instance_uid is not None:
            statement = statement.where(_quarantine.c.study_instance_uid == study_instance_uid)
        return tuple(quarantined_from(row) for row in self._transaction.read(statement).mappings())

    def find(self, *, digest: str, sop_instance_uid: str) -> QuarantinedFile | None:
        """The last one of this content and UID."""
        same = (_quarantine.c.digest == digest, _quarantine.c.sop_instance_uid == sop_instance_uid)
        statement = select(_quarantine).where(*same).order_by(_quarantine.c.id.desc()).limit(1)
        row = self._transaction.read(statement).mappings().one_or_none()
        return None if row is None else quarantined_from(row)

    def of_file(self, file: Path) -> QuarantinedFile | None:
        statement = select(_quarantine).where(_quarantine.c.file == path_text(file))
        row = self._transaction.read(statement).mappings().one_or_none()
        return None if row is None else quarantined_from(row)

    def update(self, entry: QuarantinedFile, *, expected: QuarantinedFile) -> bool:
        statement = (
            update(_quarantine)
            .where(_quarantine.c.id == expected.id, _quarantine.c.state == expected.state.value)
            .values(quarantined_values(entry))
        )
        return self._transaction.write(statement).rowcount == 1

    def totals(self) -> QuarantineTotals:
        held = _quarantine.c.state == QuarantineState.HELD.value
        size_bytes = func.coalesce(func.sum(_quarantine.c.size_bytes), 0)
        statement = select(func.count().label("files"), size_bytes.label("size_bytes")).where(held)
        row = self._transaction.read(statement).mappings().one()
        return QuarantineTotals(files=row["files"], size_bytes=int(row["size_bytes"]))
