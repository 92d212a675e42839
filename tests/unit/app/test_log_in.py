"""Accounts, sessions, tokens and the limits of guessing, on the in-memory twin with a hasher that costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.app.accounts import Accounts, digest_of
from dicom_node.app.log_in import LoggedIn, LogIn, Refused, TooMany
from dicom_node.app.log_in_limits import MOST_KEYS, LogInLimits
from dicom_node.core.account import AccountRefused, Role, SessionPolicy
from dicom_node.core.audit import AuditEvent, Code, Outcome
from dicom_node.core.errors import StorageUnavailable
from storage.memory import MemoryDatabase
from tests.unit.app.node import T0, FakeClock

GOOD, OTHER = "correct horse battery", "another long password"


class PlainHasher:
    """Counts how often somebody waits for it."""

    def __init__(self) -> None:
        self.verified = 0
        self.costs = "1"

    def hash(self, password: str) -> str:
        return f"{self.costs}:{password}"

    def verify(self, password_hash: str, password: str) -> bool:
        self.verified += 1
        return password_hash.partition(":")[2] == password

    def is_outdated(self, password_hash: str) -> bool:
        return not password_hash.startswith(f"{self.costs}:")


class Door:
    """A log-in and its administration over one database."""

    def __init__(self) -> None:
        self.database, self.clock, self.hasher = MemoryDatabase(), FakeClock(), PlainHasher()
        self.events: list[AuditEvent] = []
        self.accounts = Accounts(uow_factory=self.database.unit_of_work, clock=self.clock, hasher=self.hasher)
        self.log_in = self.made()
        self.accounts.add("ann", Role.OPERATOR, GOOD, actor="root")

    def made(self, **changes: Any) -> LogIn:
        given: dict[str, Any] = {
            "uow_factory": self.database.unit_of_work,
            "reading": self.database.reading,
            "clock": self.clock,
            "hasher": self.hasher,
            "policy": SessionPolicy(idle_s=600, absolute_s=3600),
            "limits": LogInLimits(per_account=3, per_address=6, within_s=900),
            "audit": self,
        }
        return LogIn(**given | changes)

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    def enter(self, name: str = "ann", password: str = GOOD, address: str = "10.0.0.1", previous: str = "") -> str:
        logged_in = self.log_in.by_password(name, password, address=address, previous=previous)
        assert isinstance(logged_in, LoggedIn), logged_in
        return logged_in.secret

    def is_in(self, secret: str) -> bool:
        return self.log_in.of_browser(secret) is not None


@pytest.fixture
def door() -> Door:
    return Door()


def test_who_knows_the_password_is_let_in_and_known_by_the_session(door: Door) -> None:
    principal = door.log_in.of_browser(door.enter("Ann"))
    assert principal is not None
    assert (principal.name, principal.role) == ("ann", Role.OPERATOR)


def test_neither_password_nor_token_stand_in_the_database(door: Door) -> None:
    secret = door.enter()
    _, bearer = door.accounts.add_token("ann", role=Role.VIEWER, label="", days=1, actor="root")
    with door.database.reading() as uow:
        kept = repr((uow.accounts.session(digest_of(secret)), uow.accounts.tokens()))
    assert secret not in kept
    assert bearer not in kept


def test_wrong_unknown_disabled_and_without_a_password_are_the_same_refusal_at_the_same_cost(door: Door) -> None:
    door.accounts.add("gone", Role.ADMIN, GOOD, actor="root")
    door.accounts.disable("gone", actor="root")
    door.accounts.add("sso", Role.ADMIN, "", actor="root")
    for name, password in (("ann", "wrong"), ("nobody", GOOD), ("gone", GOOD), ("sso", ""), ("<no name>", GOOD)):
        before = door.hasher.verified
        assert door.log_in.by_password(name, password, address=name) == Refused()
        assert door.hasher.verified == before + 1


def test_guessing_at_an_account_ends_after_a_few_attempts_also_where_there_is_none(door: Door) -> None:
    for name in ("ann", "nobody"):
        for number in range(3):
            assert door.log_in.by_password(name, "wrong", address=f"10.0.1.{number}") == Refused()
        refused = door.log_in.by_password(name, GOOD, address="10.0.2.1")
        assert refused == TooMany(wait_s=900.0)
    door.clock.advance(901)
    door.enter()


def test_guessing_from_one_address_ends_whatever_the_names(door: Door) -> None:
    for number in range(6):
        assert door.log_in.by_password(f"n{number}", "wrong", address="10.0.0.9") == Refused()
    assert isinstance(door.log_in.by_password("ann", GOOD, address="10.0.0.9"), TooMany)
    door.enter(address="10.0.0.1")


def test_one_who_gets_in_does_not_open_the_address_for_guessing_at_others(door: Door) -> None:
    for number in range(6):
        door.log_in.by_password(f"n{number}", "wrong", address="10.0.0.9")
        if number < 5:
            door.enter(address="10.0.0.9")
    assert isinstance(door.log_in.by_password("n9", "wrong", address="10.0.0.9"), TooMany)


def test_an_ipv6_network_is_one_address_and_a_flood_of_names_takes_bounded_memory() -> None:
    limits = LogInLimits(per_account=100, per_address=2, within_s=900)
    for last in ("1", "2"):
        assert limits.begin(last, f"2001:db8::{last}", T0) == 0
    assert limits.begin("3", "2001:db8::3", T0) > 0
    assert limits.begin("3", "2001:db8:0:1::3", T0) == 0
    for number in range(MOST_KEYS):
        limits.begin(f"n{number}", f"a{number}", T0)
    assert len(limits._attempts) <= MOST_KEYS


def test_a_session_ends_idle_and_old_and_use_keeps_it(door: Door) -> None:
    secret = door.enter()
    for _ in range(7):
        door.clock.advance(500)
        assert door.is_in(secret)
    door.clock.advance(101)
    assert not door.is_in(secret), "3600 s after the log-in"
    idle = door.enter()
    door.clock.advance(600)
    assert not door.is_in(idle)


@pytest.mark.parametrize(
    "change",
    [
        lambda accounts: accounts.set_role("ann", Role.VIEWER, actor="root"),
        lambda accounts: accounts.set_password("ann", OTHER, actor="root"),
        lambda accounts: accounts.disable("ann", actor="root"),
        lambda accounts: accounts.remove("ann", actor="root"),
    ],
)
def test_sessions_end_with_what_they_stood_on(door: Door, change: Any) -> None:
    secret = door.enter()
    change(door.accounts)
    assert not door.is_in(secret)


def test_a_log_in_ends_the_browsers_earlier_session_and_a_log_out_this_one(door: Door) -> None:
    first = door.enter()
    second = door.enter(previous=first)
    assert not door.is_in(first)
    principal = door.log_in.of_browser(second)
    assert principal is not None
    door.log_in.log_out(principal, address="10.0.0.1")
    assert not door.is_in(second)


def test_an_account_changed_while_its_password_is_checked_opens_no_session(door: Door) -> None:
    class Slow(PlainHasher):
        def verify(self, password_hash: str, password: str) -> bool:
            door.accounts.disable("ann", actor="root")
            return super().verify(password_hash, password)

    assert door.made(hasher=Slow()).by_password("ann", GOOD, address="") == Refused()


def test_a_hash_of_earlier_costs_is_made_anew_at_the_log_in(door: Door) -> None:
    door.hasher.costs = "2"
    door.enter()
    (account,) = door.accounts.list()
    assert account.password_hash == f"2:{GOOD}"
    door.enter()


def test_the_own_password_is_changed_by_who_knows_the_old_one_and_ends_all_other_sessions(door: Door) -> None:
    here, elsewhere = door.enter(), door.enter()
    principal = door.log_in.of_browser(here)
    assert principal is not None
    assert door.log_in.change_password(principal, "wrong", OTHER, address="") == Refused()
    with pytest.raises(AccountRefused, match="at least 12"):
        door.log_in.change_password(principal, GOOD, "short", address="")
    assert door.is_in(here)
    changed = door.log_in.change_password(principal, GOOD, OTHER, address="")
    assert isinstance(changed, LoggedIn)
    assert [door.is_in(secret) for secret in (here, elsewhere, changed.secret)] == [False, False, True]
    door.enter(password=OTHER)


def test_a_token_lets_a_script_in_until_it_expires_or_is_taken_back_or_the_account_is_disabled(door: Door) -> None:
    token, secret = door.accounts.add_token("ann", role=Role.VIEWER, label="backup", days=1, actor="root")
    principal = door.log_in.of_script(secret)
    assert principal is not None
    assert (principal.name, principal.role, principal.secret) == ("ann", Role.VIEWER, "")
    door.accounts.disable("ann", actor="root")
    assert door.log_in.of_script(secret) is None
    door.accounts.enable("ann", actor="root")
    door.clock.advance(86_400)
    assert door.log_in.of_script(secret) is None
    token, secret = door.accounts.add_token("ann", role=Role.VIEWER, label="", days=1, actor="root")
    door.accounts.remove_token(token.id, actor="root")
    assert door.log_in.of_script(secret) is None
    assert door.log_in.of_browser(secret) is None


def test_a_token_never_does_more_than_its_account(door: Door) -> None:
    with pytest.raises(AccountRefused, match="no token of it can be admin"):
        door.accounts.add_token("ann", role=Role.ADMIN, label="", days=1, actor="root")
    _, secret = door.accounts.add_token("ann", role=Role.OPERATOR, label="", days=1, actor="root")
    door.accounts.set_role("ann", Role.VIEWER, actor="root")
    principal = door.log_in.of_script(secret)
    assert principal is not None
    assert principal.role is Role.VIEWER


def test_refusals_of_administration_say_what_is_wrong_and_change_nothing(door: Door) -> None:
    before = door.accounts.list()
    for refused, words in (
        (lambda: door.accounts.add("ANN", Role.VIEWER, GOOD, actor="root"), "already"),
        (lambda: door.accounts.add("bob", Role.VIEWER, "short", actor="root"), "at least 12"),
        (lambda: door.accounts.set_role("bob", Role.VIEWER, actor="root"), "no account 'bob'"),
        (lambda: door.accounts.set_password("ann", "", actor="root"), "empty"),
        (lambda: door.accounts.remove_token(9, actor="root"), "no token 9"),
        (lambda: door.accounts.add_token("ann", role=Role.VIEWER, label="", days=0, actor="root"), "days"),
    ):
        with pytest.raises(AccountRefused, match=words):
            refused()
    assert door.accounts.list() == before


def test_every_change_stands_in_the_history_with_who_made_it(door: Door) -> None:
    door.accounts.set_role("ann", Role.ADMIN, actor="root")
    door.accounts.disable("ann", actor="root")
    door.accounts.remove("ann", actor="root")
    with door.database.reading() as uow:
        entries = uow.history.of_study("")
    assert [(entry.subject, entry.event, entry.to_state, entry.actor) for entry in entries] == [
        ("account:ann", "account_added", "operator", "root"),
        ("account:ann", "role_changed", "admin", "root"),
        ("account:ann", "account_disabled", "admin, disabled", "root"),
        ("account:ann", "account_removed", "", "root"),
    ]


def test_the_first_account_is_made_with_the_code_once() -> None:
    door = Door()
    assert door.log_in.set_up_code() == ""
    door.accounts.remove("ann", actor="root")
    code = door.log_in.set_up_code()
    assert door.log_in.set_up("", "eve", GOOD, address="a") == Refused()
    assert door.log_in.set_up(code + "x", "eve", GOOD, address="a") == Refused()
    with pytest.raises(AccountRefused):
        door.log_in.set_up(code, "bob", "short", address="b")
    made = door.log_in.set_up(code, "bob", GOOD, address="b")
    assert isinstance(made, LoggedIn)
    assert made.principal.role is Role.ADMIN
    assert door.log_in.set_up(code, "eve", GOOD, address="b") == Refused()
    assert [account.name for account in door.accounts.list()] == ["bob"]


def test_a_set_up_code_makes_no_second_admin_beside_one_from_the_command_line() -> None:
    door = Door()
    door.accounts.remove("ann", actor="root")
    code = door.log_in.set_up_code()
    door.accounts.add("ann", Role.VIEWER, GOOD, actor="root")
    with pytest.raises(AccountRefused, match="an account already"):
        door.log_in.set_up(code, "eve", GOOD, address="a")


def test_log_ins_refusals_and_log_outs_are_in_the_audit_trail_without_a_password(door: Door) -> None:
    principal = door.log_in.of_browser(door.enter())
    assert principal is not None
    door.log_in.by_password("ann", "not the password", address="10.0.0.7")
    door.log_in.log_out(principal, address="10.0.0.1")
    told = [(event.event_type, event.outcome, event.participants[0].address) for event in door.events]
    assert told == [
        (Code.LOGIN, Outcome.SUCCESS, "10.0.0.1"),
        (Code.LOGIN, Outcome.MINOR_FAILURE, "10.0.0.7"),
        (Code.LOGOUT, Outcome.SUCCESS, "10.0.0.1"),
    ]
    assert "not the password" not in repr(door.events)


def test_who_is_logged_in_may_look_on_while_nothing_can_be_written(door: Door) -> None:
    secret = door.enter()

    def full() -> Any:
        raise StorageUnavailable("no space left")

    door.clock.advance(300)
    assert door.made(uow_factory=full).of_browser(secret) is not None
