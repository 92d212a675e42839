"""Who may do what on the pages and in the API: accounts, roles, sessions, tokens. Pure: times are given.

How to add something that can be done: an Action here with the role it needs, and `@needs(Action.…)` on its route. A
route without one is refused when the application is built, and a test walks all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from types import MappingProxyType

from dicom_node.core.errors import NodeError

SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 1024
_FEWEST_DIFFERENT_CHARACTERS = 5
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


class AccountRefused(NodeError):
    """What was asked of an account cannot be; nothing was changed. The text is one sentence for who asked."""


class Role(StrEnum):
    """What somebody may do; each may do what the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that `other` may."""
        return _ORDER[self] >= _ORDER[other]


_ORDER = {role: place for place, role in enumerate(Role)}


class Action(Enum):
    """What a request does."""

    WATCH_HEALTH = "watch health"  # /healthz, /readyz
    LOG_IN = "log in"  # the log-in and set-up pages themselves
    READ_METRICS = "read metrics"  # also without an account, as web.metrics says
    LOOK = "look"  # lists, studies, pictures, reports
    OWN_ACCOUNT = "own account"  # log out, another password
    WORK_ON_STUDIES = "work on studies"  # close, run again, send again, cancel, decide on quarantine
    JUDGE = "judge"  # give a reader's verdict on a result: it counts in the figures, so whoever only looks may not
    EDIT_PEERS = "edit peers"
    READ_CONFIGURATION = "read configuration"  # as the node runs with it, without secrets
    TEST_PEERS = "test peers"  # C-ECHO and an offer; changes nothing
    MANAGE_ACCOUNTS = "manage accounts"


NEEDED_ROLE: Mapping[Action, Role | None] = MappingProxyType(
    {
        Action.WATCH_HEALTH: None,
        Action.LOG_IN: None,
        Action.READ_METRICS: Role.VIEWER,
        Action.LOOK: Role.VIEWER,
        Action.OWN_ACCOUNT: Role.VIEWER,
        Action.WORK_ON_STUDIES: Role.OPERATOR,
        Action.JUDGE: Role.OPERATOR,
        Action.EDIT_PEERS: Role.ADMIN,
        Action.READ_CONFIGURATION: Role.ADMIN,
        Action.TEST_PEERS: Role.OPERATOR,
        Action.MANAGE_ACCOUNTS: Role.ADMIN,
    }
)
"""The least role of each action; None: anybody, without an account."""


def may(role: Role | None, action: Action) -> bool:
    """Whether somebody of this role may do that; None is who has not logged in."""
    needed = NEEDED_ROLE[action]
    return needed is None or (role is not None and role.includes(needed))


@dataclass(frozen=True, kw_only=True)
class Account:
    """`password_hash` says how it was made; empty where there is no password (log-in by a provider alone).

    `language` is that of the pages; empty where the browser is to say it.
    """

    id: int = 0
    name: str
    role: Role
    password_hash: str
    is_disabled: bool = False
    created_at: datetime
    changed_at: datetime
    language: str = ""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Somebody who is logged in. `digest` is of the token that only the browser has."""

    digest: str
    account_id: int
    created_at: datetime
    last_seen_at: datetime
    address: str


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """A script's way in, for an account. It may never do more than the account may now."""

    id: int = 0
    account_id: int
    label: str
    digest: str
    role: Role
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who makes a request. `secret` is what the browser's forms are signed with; empty for a script."""

    account_id: int
    name: str
    role: Role
    secret: str = ""
    language: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionPolicy:
    """A session ends `idle_s` after the last request and `absolute_s` after the log-in, whichever is first."""

    idle_s: float
    absolute_s: float

    def is_over(self, session: Session, now: datetime) -> bool:
        """Whether the session has ended by itself."""
        opened_before, seen_before = self.cut_off(now)
        return session.created_at <= opened_before or session.last_seen_at <= seen_before

    def cut_off(self, now: datetime) -> tuple[datetime, datetime]:
        """A session that was opened by the first or last seen by the second is over."""
        return now - timedelta(seconds=self.absolute_s), now - timedelta(seconds=self.idle_s)


def account_name(text: str) -> str:
    """The name as it is kept: lower case. Raises AccountRefused where it cannot be one."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise AccountRefused(
            f"{text[:80]!r} cannot be an account's name: 1 to 64 letters, digits and . _ @ + - , beginning with a "
            "letter or a digit"
        )
    return name


def why_not_this_password(password: str, *, name: str) -> str:
    """Why it is none to be used; empty where it is one. Length counts, not kinds of characters (NIST SP 800-63B)."""
    if len(password) < SHORTEST_PASSWORD:
        return f"a password has at least {SHORTEST_PASSWORD} characters, this one has {len(password)}"
    if len(password) > LONGEST_PASSWORD:
        return f"a password has at most {LONGEST_PASSWORD} characters"
    if len(set(password)) < _FEWEST_DIFFERENT_CHARACTERS:
        return f"a password has at least {_FEWEST_DIFFERENT_CHARACTERS} different characters"
    if name and name in password.lower() and len(password) - len(name) < SHORTEST_PASSWORD // 2:
        return "a password is more than the account's name"
    return ""
