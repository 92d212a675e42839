"""What jobs and deliveries have in common: claims, heartbeats, compare-and-set, and who is due or stuck.

A claim is one conditional UPDATE. On PostgreSQL the inner SELECT skips rows that another claim has locked, so two
workers take two rows instead of waiting for one; SQLite has one writer at a time and ignores the clause.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Table, and_, select, update

from dicom_node.core.delivery import Delivery
from dicom_node.core.job import AnalysisJob
from storage.transaction import Transaction


class LeasedTable:
    """One table whose rows are worked on under a lease. States are the three names that matter here."""

    def __init__(self, table: Table, *, waiting: str, working: str, retry: str) -> None:
        self._table = table
        self._waiting = waiting
        self._working = working
        self._retry = retry

    def claim(
        self,
        transaction: Transaction,
        *,
        owner: str,
        lease_until: datetime,
        where: tuple[ColumnElement[bool], ...] = (),
        first: tuple[ColumnElement[Any], ...] = (),
    ) -> RowMapping | None:
        """The oldest waiting row, now worked on by `owner`; None where there is none. `first` goes before age."""
        table = self._table
        oldest = (
            select(table.c.id)
            .where(table.c.state == self._waiting, *where)
            .order_by(*first, table.c.created_at, table.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        taken = (
            update(table)
            .where(table.c.id == oldest, table.c.state == self._waiting)
            .values(
                state=self._working,
                attempt=table.c.attempt + 1,
                next_attempt_at=None,
                lease_owner=owner,
                lease_expires_at=lease_until,
            )
            .returning(table)
        )
        return transaction.write(taken).mappings().one_or_none()

    def extend_lease(self, transaction: Transaction, row_id: int, *, owner: str, until: datetime) -> bool:
        table = self._table
        held = and_(table.c.id == row_id, table.c.state == self._working, table.c.lease_owner == owner)
        return transaction.write(update(table).where(held).values(lease_expires_at=until)).rowcount == 1

    def update(self, transaction: Transaction, values: dict[str, Any], *, expected: AnalysisJob | Delivery) -> bool:
        """`values` are written if state, attempt and lease owner are still those of `expected`."""
        table = self._table
        unchanged = and_(
            table.c.id == expected.id,
            table.c.state == expected.state.value,
            table.c.attempt == expected.attempt,
            table.c.lease_owner == expected.lease.owner if expected.lease else table.c.lease_owner.is_(None),
        )
        return transaction.write(update(table).where(unchanged).values(values)).rowcount == 1

    def due(self, transaction: Transaction, now: datetime) -> tuple[RowMapping, ...]:
        """Rows whose next attempt has come, the longest due first. One without a time is due at once."""
        return self.waited(transaction, self._retry, now)

    def waited(self, transaction: Transaction, state: str, now: datetime) -> tuple[RowMapping, ...]:
        """As `due`, for rows that wait in another state."""
        table = self._table
        come = (table.c.next_attempt_at <= now) | table.c.next_attempt_at.is_(None)
        return self._rows(transaction, state, come, order=table.c.next_attempt_at)

    def expired(self, transaction: Transaction, now: datetime) -> tuple[RowMapping, ...]:
        """Rows whose lease has run out, the longest first. One without a lease has run out."""
        table = self._table
        over = (table.c.lease_expires_at <= now) | table.c.lease_expires_at.is_(None)
        return self._rows(transaction, self._working, over, order=table.c.lease_expires_at)

    def leased_by_others(self, transaction: Transaction, owner: str, *, owner_prefix: str) -> tuple[RowMapping, ...]:
        table = self._table
        earlier = and_(table.c.lease_owner != owner, table.c.lease_owner.startswith(owner_prefix, autoescape=True))
        return self._rows(transaction, self._working, earlier, order=table.c.id)

    def _rows(
        self,
        transaction: Transaction,
        state: str,
        condition: ColumnElement[bool],
        *,
        order: ColumnElement[Any],
    ) -> tuple[RowMapping, ...]:
        table = self._table
        statement = select(table).where(table.c.state == state, condition).order_by(order.nulls_first(), table.c.id)
        return tuple(transaction.read(statement).mappings())
