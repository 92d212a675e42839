"""Nothing is reached without a role that may, and nothing is changed by a request that none of our pages made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount

from dicom_node.core.account import Action, Role
from dicom_node.core.audit import AuditEvent, Code
from dicom_node.core.errors import StorageUnavailable
from dicom_node.ports import UnitOfWork
from dicom_node.web.app import ROUTERS
from dicom_node.web.auth.browser import BrowserRules, csrf_token, local_path
from dicom_node.web.auth.gate import LONGEST_FORM_BYTES, Gate, MetricsRules, form_of
from dicom_node.web.auth.needs import declared_routes, needs
from tests.unit.app.node import Node
from tests.unit.web.builders import accounts, app, keys, session, web

HOST = "http://testserver"
CHANGES = (
    ("/work", Action.WORK_ON_STUDIES, Role.OPERATOR),
    ("/judge", Action.JUDGE, Role.OPERATOR),
    ("/peers", Action.EDIT_PEERS, Role.ADMIN),
    ("/accounts", Action.MANAGE_ACCOUNTS, Role.ADMIN),
)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


class Changed:
    """An application whose routes note that they were reached, behind a gate."""

    def __init__(self, node: Node, **rules: Any) -> None:
        self.node = node
        self.reached: list[str] = []
        self.events: list[AuditEvent] = []
        router = APIRouter()
        for path, action, _ in CHANGES:
            router.post(path)(needs(action)(self._route(path)))
        router.get("/list")(needs(Action.LOOK)(self._route("/list")))
        self.app = FastAPI()
        self.app.include_router(router)
        self.app.add_middleware(
            Gate, routes=declared_routes([router]), keys=keys(node, **rules), audit=self, clock=node.clock, show=told
        )

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    def _route(self, path: str) -> Any:
        def reached(request: Request) -> dict[str, str]:
            self.reached.append(path)
            return form_of(request)

        return reached

    def browser(self, role: Role | None, name: str = "cspine_session") -> tuple[TestClient, str]:
        """A client and the token its forms carry."""
        client = TestClient(self.app, raise_server_exceptions=False, follow_redirects=False)
        if role is None:
            return client, ""
        secret = session(self.node, role)
        client.cookies.set(name, secret)
        return client, csrf_token(secret)


def told(request: Request, status: int, text: str) -> Response:
    return PlainTextResponse(text, status_code=status)


def every_route(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    """Also those of included routers, however the framework keeps them."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from every_route(inner.routes) if inner is not None else [route]


def test_every_route_of_the_application_says_who_may_use_it(node: Node) -> None:
    declared = {id(route) for route, _ in declared_routes(ROUTERS)}
    others = [route for route in every_route(app(node).routes) if id(route) not in declared]
    assert [(type(route), getattr(route, "path", "")) for route in others] == [(Mount, "/static")]
    assert len(declared) >= 20


def test_a_route_that_does_not_say_so_is_refused_when_the_application_is_built() -> None:
    router = APIRouter()
    router.get("/forgotten")(lambda: "secret")
    with pytest.raises(TypeError, match="/forgotten"):
        declared_routes([router])


def test_every_route_without_an_account_is_health_or_the_log_in(node: Node) -> None:
    node.receive_study()
    nobody = web(node, role=None)
    seen = set()
    for route, _ in declared_routes(ROUTERS):
        path = route.path.replace("{study_instance_uid}", "1.2.3").replace("{name}", "sagittal.png")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
            answer = nobody.request(method, path, follow_redirects=False)
            assert "DOE" not in answer.text.upper()
            if answer.status_code < 300:
                seen.add((method, path))
            else:
                assert answer.status_code in (303, 401, 403, 405), (method, path, answer.status_code)
    assert seen == {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/login"), ("GET", "/setup")}


def test_what_does_not_exist_looks_to_nobody_like_what_does(node: Node) -> None:
    node.receive_study()
    nobody = web(node, role=None)
    for path in ("/studies/1.2.3", "/studies/9.9", "/no/such/page"):
        answer = nobody.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
    for path in ("/api/v1/studies/1.2.3", "/api/v1/studies/9.9", "/api/v1/nowhere", "/api/v1/openapi.json"):
        answer = nobody.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert set(answer.json()) == {"detail"}
    assert web(node).get("/no/such/page").status_code == 404


def test_a_refresh_in_the_background_is_not_led_to_the_log_in_page(node: Node) -> None:
    nobody = web(node, role=None)
    for headers in ({"HX-Request": "true"}, {"Sec-Fetch-Mode": "cors"}):
        assert nobody.get("/?part=rows", headers=headers, follow_redirects=False).status_code == 401


def test_a_form_whose_session_ended_meanwhile_leads_to_the_log_in_and_changes_nothing(node: Node) -> None:
    behind = Changed(node)
    client, _ = behind.browser(None)
    answer = client.post("/work", data={"csrf_token": "old"})
    assert (answer.status_code, answer.headers["location"], behind.reached) == (303, "/login", [])


def test_a_person_is_told_on_a_page_and_a_script_in_a_line(node: Node) -> None:
    page = web(node).get("/no/such/page")
    assert (page.status_code, "To the worklist" in page.text) == (404, True)
    assert web(node).get("/api/v1/nowhere").json() == {"detail": "There is nothing here."}


@pytest.mark.parametrize(("path", "action", "needed"), CHANGES)
def test_what_changes_something_is_done_by_the_role_it_needs_and_by_none_below(
    node: Node, path: str, action: Action, needed: Role
) -> None:
    for role in (None, *Role):
        behind = Changed(node)
        client, token = behind.browser(role)
        answer = client.post(path, headers={"X-CSRF-Token": token})
        may_do = role is not None and role.includes(needed)
        assert behind.reached == ([path] if may_do else [])
        assert answer.status_code == (200 if may_do else 403 if role else 401)


def test_a_refused_attempt_is_in_the_audit_trail_with_who_it_was(node: Node) -> None:
    behind = Changed(node)
    client, token = behind.browser(Role.VIEWER)
    client.post("/peers", headers={"X-CSRF-Token": token})
    (event,) = behind.events
    assert event.event_type is Code.USE_OF_RESTRICTED_FUNCTION
    assert event.participants[1].user_id == "viewer"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "é".encode("latin-1").decode("latin-1")},
        {"Origin": "http://evil.example", "X-CSRF-Token": "right"},
        {"Origin": "null", "X-CSRF-Token": "right"},
        {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": "right"},
        {"Sec-Fetch-Site": "same-site", "X-CSRF-Token": "right"},
    ],
)
def test_a_request_that_no_page_of_ours_made_changes_nothing(node: Node, headers: dict[str, str]) -> None:
    behind = Changed(node)
    client, token = behind.browser(Role.ADMIN)
    given = {name: token if value == "right" else value for name, value in headers.items()}
    answer = client.post("/work", headers={name: value.encode("latin-1") for name, value in given.items()})
    assert (answer.status_code, behind.reached) == (403, [])
    assert "Nothing was changed" in answer.text


def test_a_token_of_another_session_is_no_token(node: Node) -> None:
    behind = Changed(node)
    client, _ = behind.browser(Role.ADMIN)
    other = csrf_token(session(node, Role.VIEWER))
    assert client.post("/work", data={"csrf_token": other}).status_code == 403
    assert behind.reached == []


def test_a_form_of_our_own_page_is_let_through_with_its_fields(node: Node) -> None:
    behind = Changed(node)
    client, token = behind.browser(Role.OPERATOR)
    answer = client.post(
        "/work",
        data={"csrf_token": token, "why": "größer & mehr"},
        headers={"Origin": HOST, "Sec-Fetch-Site": "same-origin"},
    )
    assert (answer.status_code, behind.reached) == (200, ["/work"])
    assert answer.json()["why"] == "größer & mehr"


def test_a_form_that_is_too_long_or_none_is_refused_before_anything_reads_it(node: Node) -> None:
    behind = Changed(node)
    client, token = behind.browser(Role.OPERATOR)
    long = client.post("/work", data={"csrf_token": token, "why": "x" * LONGEST_FORM_BYTES})
    many = client.post("/work", data={"csrf_token": token, **{f"f{number}": "" for number in range(300)}})
    raw = client.post("/work", content=b"\xff\xfe=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert [answer.status_code for answer in (long, many, raw)] == [413, 400, 400]
    assert behind.reached == []


def test_a_script_with_a_token_needs_no_page_and_may_what_its_token_may(node: Node) -> None:
    behind = Changed(node)
    accounts(node).add("robot", Role.ADMIN, "", actor="a test")
    client, _ = behind.browser(None)
    for role, status in ((Role.VIEWER, 403), (Role.OPERATOR, 200)):
        _, secret = accounts(node).add_token("robot", role=role, label="", days=1, actor="a test")
        answer = client.post("/work", headers={"Authorization": f"Bearer {secret}", "Origin": "http://else.where"})
        assert answer.status_code == status
    assert client.get("/list", headers={"Authorization": "Bearer cspine_wrong"}).status_code == 401
    assert client.get("/list", headers={"Authorization": "Basic YTpi"}).status_code == 401
    assert behind.reached == ["/work"]


def test_a_script_that_sends_too_much_is_refused_before_anything_reads_it(node: Node) -> None:
    behind = Changed(node)
    accounts(node).add("robot", Role.ADMIN, "", actor="a test")
    _, secret = accounts(node).add_token("robot", role=Role.ADMIN, label="", days=1, actor="a test")
    client, _ = behind.browser(None)
    client.headers["Authorization"] = f"Bearer {secret}"
    assert client.post("/work", content=b"x" * (LONGEST_FORM_BYTES + 1)).status_code == 413
    assert client.post("/work", content=iter([b"x" * LONGEST_FORM_BYTES, b"x"])).status_code == 413
    assert behind.reached == []
    assert client.post("/work", content=b"x" * LONGEST_FORM_BYTES).status_code == 200


def test_a_session_cookie_beside_a_wrong_token_does_not_count(node: Node) -> None:
    behind = Changed(node)
    client, _ = behind.browser(Role.ADMIN)
    assert client.get("/list").status_code == 200
    assert client.get("/list", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_metrics_are_for_who_may_look_for_this_machine_and_for_who_has_the_token(node: Node) -> None:
    def ask(metrics: MetricsRules, client: str, role: Role | None = None, **headers: str) -> int:
        browser = TestClient(app(node, keys=keys(node, metrics=metrics)), client=(client, 1), follow_redirects=False)
        if role:
            browser.cookies.set("cspine_session", session(node, role))
        return browser.get("/metrics", headers=headers).status_code

    closed, local = MetricsRules(from_loopback=False), MetricsRules()
    token = MetricsRules(from_loopback=False, token_sha256=sha256(b"a token of Prometheus").hexdigest())
    assert ask(closed, "127.0.0.1") == 401
    assert ask(closed, "10.0.0.1", Role.VIEWER) == 200
    assert ask(local, "127.0.0.1") == 200
    assert ask(local, "10.0.0.1") == 401
    assert ask(local, "127.0.0.1", **{"X-Forwarded-For": "10.0.0.1"}) == 401
    assert ask(token, "10.0.0.1", Authorization="Bearer a token of Prometheus") == 200
    assert ask(token, "10.0.0.1", Authorization="Bearer another") == 401
    assert ask(token, "10.0.0.1") == 401


def test_without_the_database_health_is_told_and_all_else_is_503_without_a_word_of_a_patient(node: Node) -> None:
    @contextlib.contextmanager
    def away() -> Iterator[UnitOfWork]:
        raise StorageUnavailable("the database does not answer")
        yield

    secret = session(node, Role.VIEWER)
    browser = TestClient(app(node, keys=keys(node, reading=away)))
    browser.cookies.set("cspine_session", secret)
    assert browser.get("/healthz").status_code == 200
    for path in ("/", "/api/v1/studies"):
        answer = browser.get(path)
        assert (answer.status_code, "does not answer" in answer.text) == (503, True)


def test_behind_a_proxy_the_origin_that_browsers_see_is_ours_and_cookies_are_for_https_alone(node: Node) -> None:
    behind = Changed(node, browser=BrowserRules(is_secure=True, public_origin="https://node.example"))
    client, token = behind.browser(Role.OPERATOR, "__Host-cspine_session")
    assert (
        client.post("/work", data={"csrf_token": token}, headers={"Origin": "https://node.example"}).status_code == 200
    )
    assert (
        client.post("/work", data={"csrf_token": token}, headers={"Origin": "https://evil.example"}).status_code == 403
    )


@pytest.mark.parametrize("path", ["/studies/1.2?x=1", "/"])
def test_after_the_log_in_one_goes_on_to_where_one_wanted(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "", "/a\r\nSet-Cookie: x", "/" * 3000],
)
def test_and_never_elsewhere(path: str) -> None:
    assert local_path(path) == "/"
