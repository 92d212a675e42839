"""Accounts on the page: what the command line does, for admins alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.core.account import Role
from dicom_node.core.audit import AuditEvent, Code
from dicom_node.web.auth.browser import csrf_token
from tests.unit.app.node import Node
from tests.unit.web.builders import PASSWORD, accounts, keys, session, web


class Trail:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str]] = []

    def record(self, event: AuditEvent) -> None:
        if event.event_type is Code.USER_SECURITY_ATTRIBUTES_CHANGED:
            thing = event.objects[0]
            self.changes.append((event.participants[1].user_id, thing.thing_id, thing.detail))  # type: ignore[union-attr]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def post(browser: TestClient, path: str, **fields: str) -> Any:
    token = csrf_token(browser.cookies["cspine_session"])
    return browser.post(path, data={"csrf_token": token, **fields}, follow_redirects=False)


def by_name(node: Node) -> dict[str, Any]:
    return {account.name: account for account in accounts(node).list()}


def test_an_admin_adds_changes_disables_and_removes_an_account_and_all_is_audited(node: Node) -> None:
    trail = Trail()
    admin = web(node, Role.ADMIN, audit=trail)
    added = post(admin, "/accounts", name="Ann", role="viewer", password=PASSWORD, again=PASSWORD)
    assert (added.status_code, added.headers["location"]) == (303, "/accounts")
    assert by_name(node)["ann"].role is Role.VIEWER
    post(admin, "/accounts/ann/role", role="operator")
    assert by_name(node)["ann"].role is Role.OPERATOR
    post(admin, "/accounts/ann/disable")
    assert by_name(node)["ann"].is_disabled
    assert "disabled" in admin.get("/accounts").text
    post(admin, "/accounts/ann/enable")
    assert not by_name(node)["ann"].is_disabled
    unsure = post(admin, "/accounts/ann/remove")
    assert (unsure.status_code, "ann" in by_name(node)) == (422, True)
    post(admin, "/accounts/ann/remove", sure="yes")
    assert set(by_name(node)) == {"admin"}
    assert trail.changes == [
        ("admin", "ann", "account added, viewer"),
        ("admin", "ann", "role changed to operator"),
        ("admin", "ann", "account disabled"),
        ("admin", "ann", "account enabled"),
        ("admin", "ann", "account removed"),
    ]


def test_another_password_ends_the_sessions_and_is_the_one_that_logs_in(node: Node) -> None:
    viewer = web(node, Role.VIEWER)
    admin = web(node, Role.ADMIN)
    wrong = post(admin, "/accounts/viewer/password", password="another long one", again="not the same")
    assert wrong.status_code == 409
    assert viewer.get("/system").status_code == 200
    assert (
        post(admin, "/accounts/viewer/password", password="another long one", again="another long one").status_code
        == 303
    )
    assert viewer.get("/system", follow_redirects=False).status_code == 303
    by = keys(node).log_in.by_password
    assert type(by("viewer", "another long one", address="::1")).__name__ == "LoggedIn"


def test_logging_out_everywhere_ends_sessions_and_leaves_the_password(node: Node) -> None:
    viewer, admin = web(node, Role.VIEWER), web(node, Role.ADMIN)
    assert post(admin, "/accounts/viewer/log-out").status_code == 303
    assert viewer.get("/", follow_redirects=False).status_code == 303
    assert session(node, Role.VIEWER)


def test_a_token_is_shown_once_opens_the_api_and_is_taken_back(node: Node) -> None:
    admin = web(node, Role.ADMIN)
    made = post(admin, "/accounts/admin/token", role="viewer", days="1", label="a robot").text
    secret = re.search(r"cspine_[\w-]+", made)
    assert secret
    page = admin.get("/accounts").text
    assert secret[0] not in page
    assert "a robot" in page
    nobody = web(node, None)
    bearer = {"Authorization": f"Bearer {secret[0]}"}
    assert nobody.get("/api/v1/studies", headers=bearer).status_code == 200
    assert post(admin, "/tokens/1/remove").status_code == 303
    assert nobody.get("/api/v1/studies", headers=bearer).status_code == 401


@pytest.mark.parametrize(
    ("path", "fields", "why"),
    [
        ("/accounts", {"name": "no way", "role": "viewer"}, "cannot be an account"),
        ("/accounts", {"name": "admin", "role": "viewer"}, "there is an account admin already"),
        ("/accounts", {"name": "bob", "role": "king"}, "Choose a role."),
        ("/accounts", {"name": "bob", "role": "viewer", "password": "short", "again": "short"}, "at least 12"),
        ("/accounts/nobody/disable", {}, "there is no account"),
        ("/accounts/admin/token", {"role": "viewer", "days": "many"}, "how many days"),
        ("/accounts/admin/token", {"role": "viewer", "days": "nan"}, "a token lasts"),
        ("/tokens/9/remove", {}, "there is no token 9"),
    ],
)
def test_what_cannot_be_is_refused_on_the_page_and_nothing_is_changed(
    node: Node, path: str, fields: dict[str, str], why: str
) -> None:
    answer = post(web(node, Role.ADMIN), path, **fields)
    assert answer.status_code == 409
    assert why in answer.text
    assert set(by_name(node)) == {"admin"}
    assert accounts(node).tokens() == ()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_nobody_but_an_admin_sees_or_changes_accounts(node: Node, role: Role) -> None:
    browser = web(node, role)
    assert browser.get("/accounts").status_code == 403
    assert browser.get("/api/v1/accounts").status_code == 403
    assert browser.get("/api/v1/tokens").status_code == 403
    assert post(browser, "/accounts", name="bob", role="admin").status_code == 403
    assert post(browser, f"/accounts/{role.value}/role", role="admin").status_code == 403
    assert 'href="/accounts"' not in browser.get("/").text
    assert set(by_name(node)) == {role.value}


def test_a_script_of_an_admin_does_the_same(node: Node) -> None:
    accounts(node).add("robot", Role.ADMIN, "", actor="a test")
    _, secret = accounts(node).add_token("robot", role=Role.ADMIN, label="", days=1, actor="a test")
    script = web(node, None)
    script.headers["Authorization"] = f"Bearer {secret}"
    made = script.post("/api/v1/accounts", json={"name": "Ann", "role": "viewer", "password": PASSWORD})
    assert (made.status_code, made.json()["name"]) == (201, "ann")
    assert script.post("/api/v1/accounts", json={"name": "ann"}).status_code == 409
    changed = script.patch("/api/v1/accounts/ann", json={"role": "operator", "disabled": True})
    assert (changed.json()["role"], changed.json()["is_disabled"]) == ("operator", True)
    assert script.patch("/api/v1/accounts/ann", json={"role": "king"}).status_code == 422
    assert script.patch("/api/v1/accounts/nobody", json={}).status_code == 404
    token = script.post("/api/v1/accounts/ann/tokens", json={"role": "viewer", "days": 2}).json()
    assert token["token"].startswith("cspine_")
    assert [each["account"] for each in script.get("/api/v1/tokens").json()] == ["robot", "ann"]
    assert script.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
    assert script.delete("/api/v1/accounts/ann/sessions").json() == {"ended": 0}
    assert script.delete("/api/v1/accounts/ann").status_code == 204
    assert script.delete("/api/v1/accounts/ann").status_code == 404
    assert [each["name"] for each in script.get("/api/v1/accounts").json()] == ["robot"]
    assert "password_hash" not in script.get("/api/v1/accounts").text
