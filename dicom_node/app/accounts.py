"""Administration of accounts and tokens. Each change is one transaction with its entry in the history, and ends the
sessions it makes wrong.

There may be no admin left: the command line needs no account, and is the way back in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

from dicom_node.core.account import Account, AccountRefused, ApiToken, Role, account_name, why_not_this_password
from dicom_node.core.errors import StorageConflict
from dicom_node.core.history import HistoryEntry
from dicom_node.core.languages import LANGUAGES
from dicom_node.ports import Clock, PasswordHasher, UnitOfWork, UnitOfWorkFactory

TOKEN_MARK = "cspine_"
LONGEST_TOKEN_DAYS = 3650.0


def new_secret() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """What is kept of a token. One round is enough: there is nothing to guess in 256 random bits."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Accounts:
    """What an admin does. `actor` names who it was. Raises AccountRefused with one sentence for them."""

    def __init__(self, *, uow_factory: UnitOfWorkFactory, clock: Clock, hasher: PasswordHasher) -> None:
        self._uow = uow_factory
        self._clock = clock
        self._hasher = hasher

    def list(self) -> tuple[Account, ...]:
        """By name."""
        with self._uow() as uow:
            return uow.accounts.list()

    def add(self, name: str, role: Role, password: str, *, actor: str, only_as_first: bool = False) -> Account:
        """One more account; with an empty `password` it can log in by a provider alone.

        `only_as_first` refuses where there is an account already.
        """
        name, now = account_name(name), self._clock.now()
        account = Account(
            name=name, role=role, password_hash=self._hashed(password, name), created_at=now, changed_at=now
        )
        try:
            with self._uow() as uow:
                if only_as_first and uow.accounts.list():
                    raise AccountRefused("there is an account already: ask its admin for one of your own")
                added = uow.accounts.add(account)
                self._note(uow, name, "account_added", "", role.value, actor)
                uow.commit()
        except StorageConflict:
            raise AccountRefused(f"there is an account {name} already") from None
        return added

    def set_role(self, name: str, role: Role, *, actor: str) -> Account:
        """Another role; who is logged in has to log in again."""
        return self._change(name, "role_changed", lambda account: replace(account, role=role), actor)

    def set_password(self, name: str, password: str, *, actor: str) -> Account:
        """Another password; the account's sessions end. Its tokens stay: they are taken back one by one."""
        password_hash = self._hashed(password, account_name(name))
        if not password_hash:
            raise AccountRefused("an empty password is none")
        return self._change(
            name, "password_changed", lambda account: replace(account, password_hash=password_hash), actor
        )

    def disable(self, name: str, *, actor: str) -> Account:
        """Nobody logs in with it, its sessions end, its tokens do nothing while it is disabled."""
        return self._change(name, "account_disabled", lambda account: replace(account, is_disabled=True), actor)

    def enable(self, name: str, *, actor: str) -> Account:
        """As it was before it was disabled, without its sessions."""
        return self._change(name, "account_enabled", lambda account: replace(account, is_disabled=False), actor)

    def set_language(self, name: str, language: str, *, actor: str) -> Account:
        """The pages' language for this account, empty for what the browser says; nobody is logged out for it."""
        if language and language not in LANGUAGES:
            raise AccountRefused(f"the pages are in {', '.join(LANGUAGES)}, not in {language[:20]!r}")
        with self._uow() as uow:
            before = _known(uow, name)
            after = replace(before, language=language)
            uow.accounts.update(after)
            self._note(uow, after.name, "language_changed", before.language, after.language, actor)
            uow.commit()
        return after

    def end_sessions(self, name: str, *, actor: str) -> int:
        """Who is logged in with it has to log in again; returns how many sessions ended. Its tokens stay."""
        with self._uow() as uow:
            account = _known(uow, name)
            ended = uow.accounts.end_sessions(account.id)
            self._note(uow, account.name, "sessions_ended", f"{ended} sessions", "", actor)
            uow.commit()
        return ended

    def remove(self, name: str, *, actor: str) -> Account:
        """Gone with its sessions and tokens; what it did stays in the history under its name."""
        with self._uow() as uow:
            account = _known(uow, name)
            uow.accounts.remove(account.id)
            self._note(uow, account.name, "account_removed", _word(account), "", actor)
            uow.commit()
        return account

    def add_token(self, name: str, *, role: Role, label: str, days: float, actor: str) -> tuple[ApiToken, str]:
        """A token for scripts and its secret, which is shown once and kept nowhere."""
        if not 0 < days <= LONGEST_TOKEN_DAYS:
            raise AccountRefused(f"a token lasts more than 0 and at most {LONGEST_TOKEN_DAYS:.0f} days, not {days:g}")
        now, secret = self._clock.now(), TOKEN_MARK + new_secret()
        with self._uow() as uow:
            account = _known(uow, name)
            if not account.role.includes(role):
                raise AccountRefused(f"{account.name} is {account.role.value}: no token of it can be {role.value}")
            token = uow.accounts.add_token(
                ApiToken(
                    account_id=account.id,
                    label=label[:200],
                    digest=digest_of(secret),
                    role=role,
                    created_at=now,
                    expires_at=now + timedelta(days=days),
                )
            )
            self._note(uow, account.name, "token_added", "", f"token {token.id} {role.value}", actor)
            uow.commit()
        return token, secret

    def tokens(self) -> tuple[tuple[ApiToken, Account], ...]:
        """Each with its account."""
        with self._uow() as uow:
            accounts = {account.id: account for account in uow.accounts.list()}
            return tuple((token, accounts[token.account_id]) for token in uow.accounts.tokens())

    def remove_token(self, token_id: int, *, actor: str) -> None:
        """It opens nothing any more."""
        with self._uow() as uow:
            token = next((each for each in uow.accounts.tokens() if each.id == token_id), None)
            if token is None:
                raise AccountRefused(f"there is no token {token_id}; `users token list` shows what there is")
            uow.accounts.remove_token(token_id)
            account = uow.accounts.get(token.account_id)
            self._note(uow, account.name if account else "", "token_removed", f"token {token_id}", "", actor)
            uow.commit()

    def _change(self, name: str, event: str, change: Callable[[Account], Account], actor: str) -> Account:
        with self._uow() as uow:
            before = _known(uow, name)
            after = replace(change(before), changed_at=self._clock.now())
            uow.accounts.update(after)
            uow.accounts.end_sessions(after.id)
            self._note(uow, after.name, event, _word(before), _word(after), actor)
            uow.commit()
        return after

    def _hashed(self, password: str, name: str) -> str:
        if not password:
            return ""
        why_not = why_not_this_password(password, name=name)
        if why_not:
            raise AccountRefused(why_not)
        return self._hasher.hash(password)

    def _note(self, uow: UnitOfWork, name: str, event: str, before: str, after: str, actor: str) -> None:
        uow.history.append(
            HistoryEntry(
                at=self._clock.now(),
                subject=f"account:{name}",
                event=event,
                from_state=before,
                to_state=after,
                reason="",
                actor=actor,
            )
        )


def _known(uow: UnitOfWork, name: str) -> Account:
    account = uow.accounts.by_name(account_name(name))
    if account is None:
        raise AccountRefused(f"there is no account {name!r}; `cspine-node users list` shows what there is")
    return account


def _word(account: Account) -> str:
    return f"{account.role.value}, disabled" if account.is_disabled else account.role.value
