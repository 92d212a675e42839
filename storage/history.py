"""The history in the database: append and read."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, or_, select

from dicom_node.core.history import HistoryEntry
from storage.mapping import history_from, history_values
from storage.rows import HistoryRow, table_of
from storage.transaction import Transaction

_history = table_of(HistoryRow)

_APPEND = insert(_history)
_OF_STUDY = (
    select(_history)
    .where(or_(_history.c.study_instance_uid == bindparam("uid"), _history.c.subject == bindparam("subject")))
    .order_by(_history.c.at, _history.c.id)
)


class History:
    """`HistoryRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def append(self, entry: HistoryEntry) -> None:
        self._transaction.write(_APPEND, history_values(entry))

    def of_study(self, study_instance_uid: str) -> tuple[HistoryEntry, ...]:
        parameters = {"uid": study_instance_uid, "subject": f"study:{study_instance_uid}"}
        rows = self._transaction.read(_OF_STUDY, parameters).mappings()
        return tuple(history_from(row) for row in rows)
