"""What a person sees of accounts: log-in, log-out, the first account, another password."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.core.account import Role
from dicom_node.web.auth.browser import BrowserRules
from tests.unit.app.node import Node
from tests.unit.web.builders import IDLE_S, PASSWORD, accounts, app, keys

OTHER = "another long password"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


class Person:
    """At a browser: opens a page, fills in its form, sends it."""

    def __init__(self, node: Node, **changes: Any) -> None:
        self.browser = TestClient(app(node, **changes), base_url="http://127.0.0.1", follow_redirects=False)

    def send(self, path: str, at: str = "", **fields: str) -> Any:
        page = self.browser.get(at or path).text
        (token,) = set(re.findall(r'name="csrf_token" value="(\w+)"', page))
        headers = {"Origin": str(self.browser.base_url).rstrip("/")}
        return self.browser.post(path, data={"csrf_token": token, **fields}, headers=headers)

    def log_in(self, name: str = "ann", password: str = PASSWORD, **fields: str) -> Any:
        return self.send("/login", name=name, password=password, **fields)

    def is_in(self) -> bool:
        return bool(self.browser.get("/").status_code == 200)


@pytest.fixture
def person(node: Node) -> Person:
    accounts(node).add("ann", Role.VIEWER, PASSWORD, actor="a test")
    return Person(node)


def test_the_log_in_leads_on_to_the_page_one_wanted_and_the_page_says_who_one_is(person: Person) -> None:
    wanted = person.browser.get("/quarantine?page=2").headers["location"]
    assert wanted == "/login?next=/quarantine%3Fpage%3D2"
    assert 'value="/quarantine?page=2"' in person.browser.get(wanted).text
    answer = person.log_in(next="/quarantine?page=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/quarantine?page=2")
    assert "viewer" in person.browser.get("/").text
    assert person.browser.get("/login").headers["location"] == "/"


def test_the_session_is_a_cookie_that_no_script_and_no_other_site_gets(person: Person) -> None:
    cookie = next(each for each in person.log_in().headers.get_list("set-cookie") if "cspine_session" in each)
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Max-Age" not in cookie


def test_with_https_the_cookie_is_for_https_alone(node: Node) -> None:
    accounts(node).add("ann", Role.VIEWER, PASSWORD, actor="a test")
    person = Person(node, keys=keys(node, browser=BrowserRules(is_secure=True)))
    person.browser.base_url = "https://127.0.0.1"  # type: ignore[assignment]
    cookies = person.log_in().headers.get_list("set-cookie")
    assert all(cookie.startswith("__Host-") and "Secure" in cookie for cookie in cookies)
    assert person.is_in()


def test_a_wrong_password_and_an_unknown_name_look_alike(person: Person) -> None:
    wrong, unknown = person.log_in(password="wrong"), person.log_in(name="bob")
    assert (wrong.status_code, unknown.status_code) == (403, 403)

    def without_what_was_typed(text: str) -> str:
        return re.sub(r'value="[^"]*"', "", text)

    assert without_what_was_typed(wrong.text) == without_what_was_typed(unknown.text)
    assert "Name or password is wrong" in wrong.text
    assert not person.is_in()


def test_too_many_attempts_are_told_how_long_to_wait(person: Person) -> None:
    for _ in range(3):
        person.log_in(password="wrong")
    answer = person.log_in()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "900")
    assert "15 min" in answer.text


def test_a_log_in_form_of_another_site_is_no_log_in(person: Person) -> None:
    given = {"name": "ann", "password": PASSWORD}
    assert person.browser.post("/login", data=given).status_code == 403
    assert person.browser.post("/login", data={**given, "csrf_token": ""}).status_code == 403
    assert not person.is_in()


def test_a_name_is_shown_back_as_text(person: Person) -> None:
    page = person.log_in(name='"><script>alert(1)</script>').text
    assert "<script>alert" not in page


def test_the_session_is_another_after_each_log_in_and_over_after_the_log_out(person: Person) -> None:
    person.log_in()
    first = person.browser.cookies["cspine_session"]
    answer = person.send("/logout", at="/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert not person.is_in()
    person.browser.cookies.set("cspine_session", first)
    assert not person.is_in(), "a copy of the cookie is over as well"
    person.browser.cookies.clear()
    person.log_in()
    assert person.browser.cookies["cspine_session"] != first


def test_a_session_that_is_idle_leads_to_the_log_in(person: Person, node: Node) -> None:
    person.log_in()
    node.clock.advance(IDLE_S)
    assert person.browser.get("/").headers["location"] == "/login"


def test_a_changed_password_is_in_use_and_other_browsers_are_logged_out(person: Person, node: Node) -> None:
    elsewhere = Person(node)
    for each in (person, elsewhere):
        each.log_in()
    assert person.send("/account", old=PASSWORD, password=OTHER, again="typo " + OTHER).status_code == 422
    assert person.send("/account", old=PASSWORD, password="short", again="short").status_code == 422
    assert person.send("/account", old="wrong", password=OTHER, again=OTHER).status_code == 403
    assert person.send("/account", old=PASSWORD, password=OTHER, again=OTHER).status_code == 303
    assert (person.is_in(), elsewhere.is_in()) == (True, False)
    assert elsewhere.log_in().status_code == 403
    assert elsewhere.log_in(password=OTHER).status_code == 303


def test_the_first_account_is_made_by_the_link_and_the_link_is_then_worth_nothing(node: Node) -> None:
    made = keys(node)
    code = made.log_in.set_up_code()
    person = Person(node, keys=made)
    assert "Nobody has an account here yet" in person.browser.get("/login").text
    given = {"name": "root", "password": PASSWORD, "again": PASSWORD}
    assert person.send("/setup", **given, code="wrong").status_code == 403
    assert "not the same" in person.send("/setup", **given | {"again": ""}, code=code).text
    assert "at least 12" in person.send("/setup", **given | {"password": "x", "again": "x"}, code=code).text
    assert accounts(node).list() == ()
    assert person.send("/setup", at=f"/setup?code={code}", **given, code=code).status_code == 303
    assert person.is_in()
    assert [account.role for account in accounts(node).list()] == [Role.ADMIN]
    assert person.browser.get(f"/setup?code={code}").headers["location"] == "/login"


def test_who_is_not_logged_in_is_told_nothing_of_the_node(node: Node) -> None:
    page = Person(node, peers_problem=lambda: "node.toml:7 is broken").browser.get("/login").text
    assert "node.toml" not in page
    assert "1.2.3" not in page, "which version it is"
    assert "Quarantine" not in page
