"""Accounts, sessions and tokens: rows that the database and its twin keep alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicom_node.core.account import Account, ApiToken, Role, Session
from dicom_node.core.errors import StorageConflict
from tests.contract.rows import NOON, at


def account(name: str = "ann", **changes: Any) -> Account:
    given: dict[str, Any] = {
        "name": name,
        "role": Role.OPERATOR,
        "password_hash": "$argon2id$…",
        "created_at": NOON,
        "changed_at": at(1),
    }
    return Account(**given | changes)


def session(account_id: int, number: int = 1, **changes: Any) -> Session:
    given: dict[str, Any] = {
        "digest": f"{number:064x}",
        "account_id": account_id,
        "created_at": at(number),
        "last_seen_at": at(number),
        "address": "10.0.0.1",
    }
    return Session(**given | changes)


def token(account_id: int, number: int = 1) -> ApiToken:
    return ApiToken(
        account_id=account_id,
        label="für die Sicherung",
        digest=f"{number:064x}",
        role=Role.VIEWER,
        created_at=NOON,
        expires_at=at(60),
    )


def added(database: Any, *accounts: Account) -> tuple[Account, ...]:
    with database.unit_of_work() as uow:
        kept = tuple(uow.accounts.add(each) for each in accounts)
        uow.commit()
    return kept


def test_an_account_comes_back_whole_and_is_found_by_name_and_number(database: Any) -> None:
    bob, ann = added(database, account("bob", is_disabled=True), account("ann"))
    assert replace(ann, id=0) == account("ann")
    with database.reading() as uow:
        assert uow.accounts.list() == (ann, bob)
        assert uow.accounts.get(bob.id) == uow.accounts.by_name("bob") == bob
        assert uow.accounts.get(ann.id + bob.id) is None
        assert uow.accounts.by_name("Ann") is None


def test_a_name_is_there_once(database: Any) -> None:
    added(database, account())
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.accounts.add(account())


def test_an_update_writes_what_it_is_given(database: Any) -> None:
    (ann,) = added(database, account())
    changed = replace(ann, role=Role.ADMIN, password_hash="other", is_disabled=True, changed_at=at(9), language="de")
    with database.unit_of_work() as uow:
        uow.accounts.update(changed)
        uow.commit()
    with database.reading() as uow:
        assert uow.accounts.list() == (changed,)


def test_sessions_are_found_used_and_ended(database: Any) -> None:
    ann, bob = added(database, account("ann"), account("bob"))
    first, second, other = session(ann.id, 1), session(ann.id, 2), session(bob.id, 3)
    with database.unit_of_work() as uow:
        for each in (first, second, other):
            uow.accounts.open_session(each)
        uow.accounts.seen(first.digest, at=at(30))
        uow.commit()
    with database.unit_of_work() as uow:
        assert uow.accounts.session(first.digest) == replace(first, last_seen_at=at(30))
        assert uow.accounts.session("0" * 64) is None
        assert [each.digest for each in uow.accounts.sessions(ann.id)] == [second.digest, first.digest]
        assert uow.accounts.end_session(second.digest)
        assert not uow.accounts.end_session(second.digest)
        assert uow.accounts.end_sessions(ann.id) == 1
        uow.commit()
    with database.reading() as uow:
        assert uow.accounts.sessions(ann.id) == ()
        assert uow.accounts.session(other.digest) == other


def test_sessions_that_are_over_are_forgotten(database: Any) -> None:
    (ann,) = added(database, account())
    with database.unit_of_work() as uow:
        for number, seen in ((1, 90), (50, 60), (70, 90)):
            uow.accounts.open_session(session(ann.id, number, last_seen_at=at(seen)))
        assert uow.accounts.forget_sessions(opened_before=at(1), seen_before=at(60)) == 2
        uow.commit()
    with database.reading() as uow:
        assert [each.created_at for each in uow.accounts.sessions(ann.id)] == [at(70)]


def test_a_session_needs_its_account(database: Any) -> None:
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.accounts.open_session(session(99))


def test_tokens_are_found_listed_and_taken_back(database: Any) -> None:
    (ann,) = added(database, account())
    with database.unit_of_work() as uow:
        first, second = uow.accounts.add_token(token(ann.id, 1)), uow.accounts.add_token(token(ann.id, 2))
        uow.commit()
    assert replace(first, id=0) == token(ann.id, 1)
    with database.unit_of_work() as uow:
        assert uow.accounts.tokens() == (first, second)
        assert uow.accounts.token(second.digest) == second
        assert uow.accounts.remove_token(first.id)
        assert not uow.accounts.remove_token(first.id)
        assert uow.accounts.remove_tokens(ann.id) == 1
        uow.commit()
    with database.reading() as uow:
        assert uow.accounts.tokens() == ()


def test_an_account_goes_with_its_sessions_and_tokens(database: Any) -> None:
    ann, bob = added(database, account("ann"), account("bob"))
    with database.unit_of_work() as uow:
        for number, each in enumerate((ann, bob)):
            uow.accounts.open_session(session(each.id, number))
            uow.accounts.add_token(token(each.id, number))
        uow.accounts.remove(ann.id)
        uow.commit()
    with database.reading() as uow:
        assert uow.accounts.list() == (bob,)
        assert uow.accounts.session(session(ann.id, 0).digest) is None
        assert [each.account_id for each in uow.accounts.tokens()] == [bob.id]
