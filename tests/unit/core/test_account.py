"""Names, passwords, roles, and when a session is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.core.account import (
    NEEDED_ROLE,
    AccountRefused,
    Action,
    Role,
    Session,
    SessionPolicy,
    account_name,
    may,
    why_not_this_password,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
CHANGING = (Action.WORK_ON_STUDIES, Action.JUDGE, Action.EDIT_PEERS, Action.MANAGE_ACCOUNTS)


def test_every_action_says_which_role_it_needs() -> None:
    assert set(NEEDED_ROLE) == set(Action)


def test_without_an_account_there_is_health_and_the_log_in_and_nothing_else() -> None:
    assert {action for action in Action if may(None, action)} == {Action.WATCH_HEALTH, Action.LOG_IN}


def test_a_viewer_looks_and_changes_nothing_but_the_own_account() -> None:
    assert may(Role.VIEWER, Action.LOOK)
    assert may(Role.VIEWER, Action.OWN_ACCOUNT)
    assert not any(may(Role.VIEWER, action) for action in CHANGING)


def test_an_operator_works_on_studies_and_an_admin_may_do_all() -> None:
    assert {action for action in CHANGING if may(Role.OPERATOR, action)} == {Action.WORK_ON_STUDIES, Action.JUDGE}
    assert all(may(Role.ADMIN, action) for action in Action)


@pytest.mark.parametrize(("given", "kept"), [(" Ann ", "ann"), ("a.b@site", "a.b@site"), ("7", "7")])
def test_a_name_is_kept_in_lower_case(given: str, kept: str) -> None:
    assert account_name(given) == kept


@pytest.mark.parametrize("name", ["", ".ann", "an n", "ann\nx", "änn", "a" * 65, "../x", "<b>"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(AccountRefused, match="cannot be an account's name"):
        account_name(name)


def test_a_password_is_long_and_more_than_the_name() -> None:
    assert why_not_this_password("correct horse battery", name="ann") == ""
    assert "at least 12" in why_not_this_password("short", name="ann")
    assert "at most" in why_not_this_password("ab cd" * 300, name="ann")
    assert "different" in why_not_this_password("aaaaaaaaaaaaaaaa", name="ann")
    assert "name" in why_not_this_password("ann.miller123", name="ann.miller")


def test_a_session_ends_when_it_is_idle_and_when_it_is_old() -> None:
    policy = SessionPolicy(idle_s=60, absolute_s=600)
    session = Session(digest="d", account_id=1, created_at=NOON, last_seen_at=NOON, address="")
    assert not policy.is_over(session, NOON + timedelta(seconds=59))
    assert policy.is_over(session, NOON + timedelta(seconds=60))
    used = replace(session, last_seen_at=NOON + timedelta(seconds=590))
    assert not policy.is_over(used, NOON + timedelta(seconds=599))
    assert policy.is_over(used, NOON + timedelta(seconds=600))
