"""Accounts, sessions and tokens, in the in-memory twin."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dicom_node.core.account import Account, ApiToken, Session
from storage.memory_transaction import MemoryTransaction


class MemoryAccounts:
    """`AccountRepository` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def add(self, account: Account) -> Account:
        accounts = self._transaction.write(account.created_at, account.changed_at).accounts
        if any(known.name == account.name for known in accounts.values()):
            self._transaction.conflict("this account is known already")
        added = replace(account, id=max(accounts, default=0) + 1)
        accounts[added.id] = added
        return added

    def get(self, account_id: int) -> Account | None:
        return self._transaction.read().accounts.get(account_id)

    def by_name(self, name: str) -> Account | None:
        return next((known for known in self._transaction.read().accounts.values() if known.name == name), None)

    def list(self) -> tuple[Account, ...]:
        return tuple(sorted(self._transaction.read().accounts.values(), key=lambda account: account.name))

    def update(self, account: Account) -> None:
        accounts = self._transaction.write(account.created_at, account.changed_at).accounts
        if account.id in accounts:
            accounts[account.id] = account

    def remove(self, account_id: int) -> None:
        self.end_sessions(account_id)
        self.remove_tokens(account_id)
        self._transaction.write().accounts.pop(account_id, None)

    def open_session(self, session: Session) -> None:
        tables = self._transaction.write(session.created_at, session.last_seen_at)
        if session.digest in tables.sessions or session.account_id not in tables.accounts:
            self._transaction.conflict("this session is known already, or its account is gone")
        tables.sessions[session.digest] = session

    def session(self, digest: str) -> Session | None:
        return self._transaction.read().sessions.get(digest)

    def sessions(self, account_id: int) -> tuple[Session, ...]:
        found = [each for each in self._transaction.read().sessions.values() if each.account_id == account_id]
        found.sort(key=lambda session: session.digest)
        return tuple(sorted(found, key=lambda session: session.created_at, reverse=True))

    def seen(self, digest: str, *, at: datetime) -> None:
        sessions = self._transaction.write(at).sessions
        if digest in sessions:
            sessions[digest] = replace(sessions[digest], last_seen_at=at)

    def end_session(self, digest: str) -> bool:
        return self._transaction.write().sessions.pop(digest, None) is not None

    def end_sessions(self, account_id: int) -> int:
        sessions = self._transaction.write().sessions
        ended = [session.digest for session in sessions.values() if session.account_id == account_id]
        for digest in ended:
            del sessions[digest]
        return len(ended)

    def forget_sessions(self, *, opened_before: datetime, seen_before: datetime) -> int:
        sessions = self._transaction.write(opened_before, seen_before).sessions
        ended = [
            session.digest
            for session in sessions.values()
            if session.created_at <= opened_before or session.last_seen_at <= seen_before
        ]
        for digest in ended:
            del sessions[digest]
        return len(ended)

    def add_token(self, token: ApiToken) -> ApiToken:
        tables = self._transaction.write(token.created_at, token.expires_at)
        if token.account_id not in tables.accounts or self.token(token.digest) is not None:
            self._transaction.conflict("this token is known already, or its account is gone")
        added = replace(token, id=max(tables.tokens, default=0) + 1)
        tables.tokens[added.id] = added
        return added

    def token(self, digest: str) -> ApiToken | None:
        return next((known for known in self._transaction.read().tokens.values() if known.digest == digest), None)

    def tokens(self) -> tuple[ApiToken, ...]:
        return tuple(sorted(self._transaction.read().tokens.values(), key=lambda token: token.id))

    def remove_token(self, token_id: int) -> bool:
        return self._transaction.write().tokens.pop(token_id, None) is not None

    def remove_tokens(self, account_id: int) -> int:
        tokens = self._transaction.write().tokens
        removed = [token.id for token in tokens.values() if token.account_id == account_id]
        for token_id in removed:
            del tokens[token_id]
        return len(removed)
