"""Accounts, sessions and tokens, in the database."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, insert, or_, select, update

from dicom_node.core.account import Account, ApiToken, Role, Session
from storage.rows import AccountRow, ApiTokenRow, SessionRow, table_of
from storage.transaction import Transaction

_account, _session, _token = (table_of(row) for row in (AccountRow, SessionRow, ApiTokenRow))


class Accounts:
    """`AccountRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, account: Account) -> Account:
        statement = insert(_account).values(_values(account)).returning(_account)
        return _account_from(self._transaction.write(statement).mappings().one())

    def get(self, account_id: int) -> Account | None:
        row = self._one(select(_account).where(_account.c.id == account_id))
        return None if row is None else _account_from(row)

    def by_name(self, name: str) -> Account | None:
        row = self._one(select(_account).where(_account.c.name == name))
        return None if row is None else _account_from(row)

    def list(self) -> tuple[Account, ...]:
        rows = self._transaction.read(select(_account).order_by(_account.c.name)).mappings()
        return tuple(_account_from(row) for row in rows)

    def update(self, account: Account) -> None:
        statement = update(_account).where(_account.c.id == account.id).values(_values(account))
        self._transaction.write(statement)

    def remove(self, account_id: int) -> None:
        self.end_sessions(account_id)
        self.remove_tokens(account_id)
        self._transaction.write(delete(_account).where(_account.c.id == account_id))

    def open_session(self, session: Session) -> None:
        self._transaction.write(insert(_session).values(asdict(session)))

    def session(self, digest: str) -> Session | None:
        row = self._one(select(_session).where(_session.c.digest == digest))
        return None if row is None else Session(**row)

    def sessions(self, account_id: int) -> tuple[Session, ...]:
        statement = select(_session).where(_session.c.account_id == account_id)
        statement = statement.order_by(_session.c.created_at.desc(), _session.c.digest)
        return tuple(Session(**row) for row in self._transaction.read(statement).mappings())

    def seen(self, digest: str, *, at: datetime) -> None:
        self._transaction.write(update(_session).where(_session.c.digest == digest).values(last_seen_at=at))

    def end_session(self, digest: str) -> bool:
        return self._transaction.write(delete(_session).where(_session.c.digest == digest)).rowcount == 1

    def end_sessions(self, account_id: int) -> int:
        return self._transaction.write(delete(_session).where(_session.c.account_id == account_id)).rowcount

    def forget_sessions(self, *, opened_before: datetime, seen_before: datetime) -> int:
        is_over = or_(_session.c.created_at <= opened_before, _session.c.last_seen_at <= seen_before)
        return self._transaction.write(delete(_session).where(is_over)).rowcount

    def add_token(self, token: ApiToken) -> ApiToken:
        statement = insert(_token).values(_values(token)).returning(_token)
        return _token_from(self._transaction.write(statement).mappings().one())

    def token(self, digest: str) -> ApiToken | None:
        row = self._one(select(_token).where(_token.c.digest == digest))
        return None if row is None else _token_from(row)

    def tokens(self) -> tuple[ApiToken, ...]:
        rows = self._transaction.read(select(_token).order_by(_token.c.id)).mappings()
        return tuple(_token_from(row) for row in rows)

    def remove_token(self, token_id: int) -> bool:
        return self._transaction.write(delete(_token).where(_token.c.id == token_id)).rowcount == 1

    def remove_tokens(self, account_id: int) -> int:
        return self._transaction.write(delete(_token).where(_token.c.account_id == account_id)).rowcount

    def _one(self, statement: Any) -> RowMapping | None:
        return self._transaction.read(statement).mappings().one_or_none()


def _values(kept: Account | ApiToken) -> dict[str, Any]:
    values = asdict(kept) | {"role": kept.role.value}
    del values["id"]
    return values


def _account_from(row: RowMapping) -> Account:
    return Account(**{**row, "role": Role(row["role"])})


def _token_from(row: RowMapping) -> ApiToken:
    return ApiToken(**{**row, "role": Role(row["role"])})
