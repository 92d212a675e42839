"""Logging in, and who makes a request.

What a log-in must not tell: whether there is such an account. So an unknown name costs the same hash as a known one,
every refusal is the same word, and limits count unknown names like known ones.

A session is looked up in the database at each request: what an admin has changed holds from the next request on.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hmac import compare_digest

from dicom_node.app import audit_events
from dicom_node.app.accounts import Accounts, digest_of, new_secret
from dicom_node.app.log_in_limits import LogInLimits
from dicom_node.core.account import (
    Account,
    AccountRefused,
    Principal,
    Role,
    Session,
    SessionPolicy,
    account_name,
    why_not_this_password,
)
from dicom_node.core.errors import StorageUnavailable
from dicom_node.ports import AuditLog, Clock, PasswordHasher, UnitOfWorkFactory

_PROVIDER = "log-in provider"
_SEEN_EVERY = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class LoggedIn:
    """`secret` is the session's token, for the browser alone."""

    principal: Principal
    secret: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Name or password are wrong, or the account is disabled: nobody is told which."""


@dataclass(frozen=True, kw_only=True)
class TooMany:
    """Too many attempts; the next may be made after `wait_s`."""

    wait_s: float


class LogIn:
    """Log-in, log-out and the question who somebody is. Used by many threads.

    `reading` never waits for a writer. Everything raises StorageUnavailable where the database does not answer.
    """

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        reading: UnitOfWorkFactory,
        clock: Clock,
        hasher: PasswordHasher,
        policy: SessionPolicy,
        limits: LogInLimits,
        audit: AuditLog,
        ae_title: str = "",
    ) -> None:
        self._uow = uow_factory
        self._reading = reading
        self._clock = clock
        self._hasher = hasher
        self._policy = policy
        self._limits = limits
        self._audit = audit
        self._ae_title = ae_title
        self._accounts = Accounts(uow_factory=uow_factory, clock=clock, hasher=hasher)
        self._nobodys_hash = hasher.hash(new_secret())
        self._guard = threading.Lock()
        self._set_up_code = ""

    def by_password(
        self, name: str, password: str, *, address: str, previous: str = ""
    ) -> LoggedIn | Refused | TooMany:
        """A new session where name and password are right. The browser's `previous` session ends."""
        wait_s = self._limits.begin(name, address, self._clock.now())
        if wait_s > 0:
            self._record(name, address, failure="too many attempts")
            return TooMany(wait_s=wait_s)
        account = self._account(name)
        known_hash = account.password_hash if account and not account.is_disabled else ""
        is_right = self._hasher.verify(known_hash or self._nobodys_hash, password)
        if account is None or not known_hash or not is_right:
            self._record(name, address, failure="name or password is wrong, or the account is disabled")
            return Refused()
        opened = self._open(account, address, previous, password)
        if opened is None:
            return Refused()
        self._limits.succeeded(name, address)
        return opened

    def by_provider(self, name: str, role: Role, *, address: str, previous: str = "") -> LoggedIn | Refused:
        """A new session for whom a provider vouches, with the role it gives them; their account is made where needed.

        Refused where the account is disabled, or has a password: then it is not the provider's to give away.
        """
        try:
            name = account_name(name)
            account = self._account(name) or self._accounts.add(name, role, "", actor=_PROVIDER)
        except AccountRefused as refused:
            self._record(name, address, failure=str(refused))
            return Refused()
        if account.is_disabled or account.password_hash:
            self._record(name, address, failure="the account is disabled, or has a password of its own")
            return Refused()
        if account.role is not role:
            account = self._accounts.set_role(name, role, actor=_PROVIDER)
        return self._open(account, address, previous) or Refused()

    def of_browser(self, secret: str) -> Principal | None:
        """Who the session's cookie belongs to; None where it is over."""
        if not secret:
            return None
        now = self._clock.now()
        with self._reading() as uow:
            session = uow.accounts.session(digest_of(secret))
            account = uow.accounts.get(session.account_id) if session else None
        if session is None or account is None or account.is_disabled or self._policy.is_over(session, now):
            return None
        self._seen(session, now)
        return Principal(
            account_id=account.id, name=account.name, role=account.role, secret=secret, language=account.language
        )

    def of_script(self, secret: str) -> Principal | None:
        """Whom a Bearer token belongs to; None where it has expired, was taken back, or its account is disabled."""
        now = self._clock.now()
        with self._reading() as uow:
            token = uow.accounts.token(digest_of(secret))
            account = uow.accounts.get(token.account_id) if token else None
        if token is None or account is None or account.is_disabled or token.expires_at <= now:
            return None
        role = token.role if account.role.includes(token.role) else account.role
        return Principal(account_id=account.id, name=account.name, role=role)

    def log_out(self, principal: Principal, *, address: str) -> None:
        """The session is over."""
        with self._uow() as uow:
            uow.accounts.end_session(digest_of(principal.secret))
            uow.commit()
        self._audit.record(
            audit_events.logged_out(
                user_id=principal.name, address=address, ae_title=self._ae_title, at=self._clock.now()
            )
        )

    def change_password(
        self, principal: Principal, old: str, new: str, *, address: str
    ) -> LoggedIn | Refused | TooMany:
        """Another password for who knows the old one; all sessions end, this browser gets a new one.

        Raises AccountRefused where the new one cannot be used.
        """
        why_not = why_not_this_password(new, name=principal.name)
        if why_not:
            raise AccountRefused(why_not)
        checked = self.by_password(principal.name, old, address=address, previous=principal.secret)
        if not isinstance(checked, LoggedIn):
            return checked
        changed = self._accounts.set_password(principal.name, new, actor=principal.name)
        self._audit.record(
            audit_events.security_changed(
                what="password changed",
                name=principal.name,
                by=principal.name,
                address=address,
                ae_title=self._ae_title,
                at=self._clock.now(),
            )
        )
        return self._open(changed, address, "", new) or Refused()

    def needs_set_up(self) -> bool:
        """Whether nobody has an account yet."""
        with self._reading() as uow:
            return not uow.accounts.list()

    def set_up_code(self) -> str:
        """What whoever starts the node is told, to make the first account; empty where there is one already."""
        with self._guard:
            self._set_up_code = new_secret() if self.needs_set_up() else ""
            return self._set_up_code

    def set_up(self, code: str, name: str, password: str, *, address: str) -> LoggedIn | Refused | TooMany:
        """The first account, an admin, for who was told the code. Raises AccountRefused where it cannot be made."""
        wait_s = self._limits.begin(f"set-up {address}", address, self._clock.now())
        if wait_s > 0:
            return TooMany(wait_s=wait_s)
        with self._guard:
            expected = self._set_up_code
            if not expected or not compare_digest(digest_of(code), digest_of(expected)):
                self._record(name, address, failure="the set-up code is wrong")
                return Refused()
            account = self._accounts.add(name, Role.ADMIN, password, actor="set-up link", only_as_first=True)
            self._set_up_code = ""
        self._audit.record(
            audit_events.security_changed(
                what="first admin made",
                name=account.name,
                by="set-up link",
                address=address,
                ae_title=self._ae_title,
                at=self._clock.now(),
            )
        )
        return self._open(account, address, "", password) or Refused()

    def _open(self, account: Account, address: str, previous: str, password: str = "") -> LoggedIn | None:
        """A session of the account as it was seen; None where it has been changed meanwhile."""
        secret, now = new_secret(), self._clock.now()
        session = Session(
            digest=digest_of(secret), account_id=account.id, created_at=now, last_seen_at=now, address=address
        )
        opened_before, seen_before = self._policy.cut_off(now)
        is_outdated = bool(password) and self._hasher.is_outdated(account.password_hash)
        new_hash = self._hasher.hash(password) if is_outdated else ""
        with self._uow() as uow:
            if uow.accounts.get(account.id) != account:
                return None
            if new_hash:
                uow.accounts.update(replace(account, password_hash=new_hash))
            if previous:
                uow.accounts.end_session(digest_of(previous))
            uow.accounts.forget_sessions(opened_before=opened_before, seen_before=seen_before)
            uow.accounts.open_session(session)
            uow.commit()
        self._record(account.name, address)
        return LoggedIn(
            principal=Principal(account_id=account.id, name=account.name, role=account.role, secret=secret),
            secret=secret,
        )

    def _account(self, name: str) -> Account | None:
        try:
            name = account_name(name)
        except AccountRefused:
            return None
        with self._reading() as uow:
            return uow.accounts.by_name(name)

    def _seen(self, session: Session, now: datetime) -> None:
        # Not at each request: pages refresh themselves, and each write costs a sync of the disk.
        every = min(_SEEN_EVERY, timedelta(seconds=self._policy.idle_s / 4))
        if now - session.last_seen_at < every:
            return
        try:
            with self._uow() as uow:
                uow.accounts.seen(session.digest, at=now)
                uow.commit()
        except StorageUnavailable:
            return  # who may look may look on while the disk is full; the session ends as if it had not been used

    def _record(self, name: str, address: str, *, failure: str = "") -> None:
        self._audit.record(
            audit_events.logged_in(
                user_id=name[:80], address=address, ae_title=self._ae_title, at=self._clock.now(), failure=failure
            )
        )
