"""What people and scripts see of quarantine, and what they decide there."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.core.account import Role
from dicom_node.core.audit import Action, AuditedStudy, AuditEvent
from dicom_node.core.errors import RejectedInput, StorageUnavailable
from dicom_node.core.quarantine import QuarantinedFile, QuarantineState
from dicom_node.ports import UnitOfWork
from dicom_node.web import language
from dicom_node.web.auth.browser import csrf_token
from tests.unit.app.node import STUDY, Node, incoming, silenced
from tests.unit.app.quarantined import OTHER, entries, set_aside
from tests.unit.web.builders import accounts, app, web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """1 conflicts with what is held; 2 could not be read and was discarded."""
    with silenced():
        node = Node(tmp_path)
        node.receive(incoming(1))
        set_aside(node, incoming(1, content=OTHER))
        with pytest.raises(RejectedInput):
            node.receive(incoming(2, header=None, why_unreadable="<b>noise</b>"))
        node.quarantine.discard(2, actor="ann", reason="a test")
        return node


class Trail:
    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


def post(browser: TestClient, path: str, **fields: str) -> Any:
    token = csrf_token(browser.cookies["cspine_session"])
    return browser.post(path, data={"csrf_token": token, **fields}, follow_redirects=False)


def states(node: Node) -> dict[int, str]:
    return {entry.id: entry.state.value for entry in entries(node)}


def script(node: Node, role: Role, **changes: Any) -> TestClient:
    accounts(node).add(f"robot-{role.value}", role, "", actor="a test")
    _, token = accounts(node).add_token(f"robot-{role.value}", role=role, label="", days=1, actor="a test")
    client = TestClient(app(node, **changes), raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def test_the_page_says_what_waits_why_from_whom_and_what_became_of_the_rest(node: Node) -> None:
    page = web(node).get("/quarantine").text
    assert "1 files" in page
    assert "conflicting instance" in page
    assert f'href="/studies/{STUDY}"' in page
    assert 'href="/quarantine/1"' in page
    assert "a test" in page
    assert "by ann" in page
    assert "&lt;b&gt;noise&lt;/b&gt;" in page
    assert "<b>noise" not in page
    assert 'href="/quarantine" aria-current="page"' in page


def test_an_empty_quarantine_is_a_page_too(tmp_path: Path) -> None:
    assert "Nothing was set aside" in web(Node(tmp_path)).get("/quarantine").text


def test_one_file_is_shown_with_the_evidence_beside_what_the_node_holds(node: Node) -> None:
    trail = Trail()
    page = web(node, Role.VIEWER, audit=trail).get("/quarantine/1").text
    with node.database.reading() as uow:
        held, entry = uow.studies.find_instance("1.2.3.1.1"), uow.quarantine.get(1)
    assert held is not None
    assert entry is not None
    assert held.digest in page
    assert entry.digest in page
    assert "holds other content under the same SOP Instance UID" in page
    assert page.count("SCANNER") >= 3, "who sent each, and whose the history is"
    assert "16 B" in page, "its size"
    assert [event.action for event in trail.events] == [Action.READ]
    assert "/quarantine/1/release" not in page, "who only looks has no button"
    gone = web(node).get("/quarantine/2").text
    assert "(gone)" in gone
    assert "holds no instance" in gone
    assert "by ann: a test" in gone


@pytest.mark.parametrize("path", ["/quarantine/77", "/quarantine/77/release", "/quarantine/1/burn"])
def test_what_is_not_there_is_404(node: Node, path: str) -> None:
    assert web(node, Role.OPERATOR).get(path).status_code == 404
    if path != "/quarantine/77":
        assert post(web(node, Role.OPERATOR), path).status_code == 404
    assert states(node)[1] == "HELD"


def test_nothing_is_decided_before_the_operator_has_seen_what_would_happen(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    assert 'action="/quarantine/1/release"' in browser.get("/quarantine/1").text
    asked = browser.get("/quarantine/1/release").text
    assert "takes the place of the instance that is held" in asked
    assert "never acknowledged" in browser.get("/quarantine/1/discard").text
    assert states(node)[1] == "HELD"


def test_a_released_file_is_taken_in_and_the_page_says_so(node: Node) -> None:
    trail = Trail()
    browser = web(node, Role.OPERATOR, audit=trail)
    answer = post(browser, "/quarantine/1/release", reason="  the second try ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/quarantine/1")
    page = browser.get("/quarantine/1").text
    assert "holds exactly this content" in page
    assert "the second try" in page
    assert 'action="/quarantine/1/release"' not in page
    (decided,) = [event for event in trail.events if event.action is Action.UPDATE]
    assert (decided.participants[0].user_id, decided.outcome_description) == ("operator", "quarantine 1: RELEASED")
    assert AuditedStudy(study_instance_uid=STUDY, instances=((entries(node)[-1].sop_class_uid, 1),)) in decided.objects
    replaced = browser.get("/quarantine/3/discard").text
    assert "may be the only one" in replaced, "what was acknowledged once is not thrown away unwarned"


def test_a_discarded_file_is_gone_and_the_trail_says_who_removed_it(node: Node) -> None:
    trail = Trail()
    browser = web(node, Role.OPERATOR, audit=trail)
    (file,) = node.files.quarantined()
    assert post(browser, "/quarantine/1/discard").status_code == 303
    assert node.files.quarantined() == ()
    assert not node.files.absolute(file).exists()
    (decided,) = [event for event in trail.events if event.action is Action.DELETE]
    assert decided.participants[0].user_id == "operator"


def test_a_decision_that_makes_no_sense_says_why_on_the_files_own_page(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    for answer in (browser.get("/quarantine/2/release"), post(browser, "/quarantine/2/discard")):
        assert answer.status_code == 409
        assert "quarantine 2 is DISCARDED since" in answer.text
    node.found.clear()
    assert "can only be discarded" in post(browser, "/quarantine/1/release").text
    assert states(node) == {1: "HELD", 2: "DISCARDED"}


@pytest.mark.parametrize("role", [None, Role.VIEWER])
@pytest.mark.parametrize("act", ["release", "discard"])
def test_who_only_looks_decides_nothing(node: Node, role: Role | None, act: str) -> None:
    browser = web(node, role)
    token = csrf_token(browser.cookies["cspine_session"]) if role else ""
    page = browser.post(f"/quarantine/1/{act}", data={"csrf_token": token}, follow_redirects=False)
    assert page.status_code == (403 if role else 303)
    asked = browser.get(f"/quarantine/1/{act}", follow_redirects=False)
    assert asked.status_code == (403 if role else 303)
    if role:
        assert script(node, role).post(f"/api/v1/quarantine/1/{act}").status_code == 403
    else:
        assert browser.post(f"/api/v1/quarantine/1/{act}").status_code == 401
    assert states(node)[1] == "HELD"


def test_a_form_that_no_page_of_ours_made_decides_nothing(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    assert browser.post("/quarantine/1/discard", data={"csrf_token": "0" * 64}).status_code == 403
    assert states(node)[1] == "HELD"


def test_where_the_disk_refuses_nothing_is_decided_and_it_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.files.failure = StorageUnavailable("/secret/place is full")
    answer = post(web(node, Role.OPERATOR), "/quarantine/1/release")
    assert answer.status_code == 503
    assert "Nothing was changed" in answer.text
    assert "/secret/place" not in answer.text
    answer = script(node, Role.OPERATOR).post("/api/v1/quarantine/1/release")
    assert (answer.status_code, "Nothing was changed" in answer.json()["detail"]) == (503, True)
    assert states(node)[1] == "HELD"


def test_a_decision_that_was_made_is_told_as_made_although_the_database_went_away_after_it(node: Node) -> None:
    @contextlib.contextmanager
    def away() -> Iterator[UnitOfWork]:
        raise StorageUnavailable("the database does not answer")
        yield

    trail = Trail()
    answer = post(web(node, Role.OPERATOR, audit=trail, unit_of_work=away), "/quarantine/1/discard")
    assert answer.status_code == 303
    assert [event.action for event in trail.events] == [Action.DELETE]
    assert states(node)[1] == "DISCARDED"


def test_the_api_lists_it_and_narrows_by_state(node: Node) -> None:
    every = web(node).get("/api/v1/quarantine").json()
    held = web(node).get("/api/v1/quarantine", params={"state": "HELD"}).json()
    assert [entry["state"] for entry in every] == ["DISCARDED", "HELD"]
    assert [(entry["id"], entry["reason"]) for entry in held] == [(1, "conflicting_instance")]
    assert web(node).get("/api/v1/quarantine", params={"state": "NONE"}).status_code == 422


def test_a_script_sees_the_evidence_and_decides_with_the_same_rules(node: Node) -> None:
    api = script(node, Role.OPERATOR)
    shown = api.get("/api/v1/quarantine/1").json()
    assert (shown["is_there"], shown["held"]["calling_aet"]) == (True, "SCANNER")
    assert shown["held"]["digest"] != shown["digest"]
    assert [each["event"] for each in shown["history"]] == ["conflicting_instance"]
    assert api.post("/api/v1/quarantine/1/release", json={"reason": "x" * 201}).status_code == 422
    released = api.post("/api/v1/quarantine/1/release", json={"reason": "by a script"}).json()
    assert (released["state"], released["settled_by"]) == ("RELEASED", "robot-operator")
    assert "by a script" in released["settled_why"]
    again = api.post("/api/v1/quarantine/1/release")
    assert (again.status_code, "is RELEASED since" in again.json()["detail"]) == (409, True)
    assert api.post("/api/v1/quarantine/3/discard").json()["state"] == "DISCARDED"
    assert api.get("/api/v1/quarantine/77").status_code == 404
    assert api.post("/api/v1/quarantine/77/discard").status_code == 404


@pytest.mark.parametrize("name", ["de", "fr", "es"])
def test_the_file_and_the_decision_are_in_the_language_of_who_looks(node: Node, name: str) -> None:
    browser = web(node, Role.OPERATOR)
    browser.cookies.set(language.COOKIE, name)
    for path in ("/quarantine", "/quarantine/1", "/quarantine/1/release", "/quarantine/1/discard", "/quarantine/2"):
        page = browser.get(path).text
        assert f'<html lang="{name}">' in page
        english = re.findall(r'lang="en">([^<]*)<', page.replace('lang="en">English<', ""))
        assert set(english) <= {"&lt;b&gt;noise&lt;/b&gt;"}, path
    refused = post(browser, "/quarantine/2/discard").text
    assert "is DISCARDED since" not in refused


def test_a_file_that_names_no_study_is_decided_about_as_any_other(node: Node) -> None:
    with silenced(), node.uow() as uow:
        entry = _nameless(uow, node)
        uow.commit()
    trail = Trail()
    browser = web(node, Role.OPERATOR, audit=trail)
    assert browser.get(f"/quarantine/{entry.id}").status_code == 200
    assert post(browser, f"/quarantine/{entry.id}/discard").status_code == 303
    (event,) = trail.events
    assert not any(isinstance(found, AuditedStudy) for found in event.objects)


def _nameless(uow: UnitOfWork, node: Node) -> QuarantinedFile:
    held = uow.quarantine.get(1)
    assert held is not None
    values = {name: getattr(held, name) for name in ("reason", "why", "digest", "size_bytes")}
    return uow.quarantine.add(
        QuarantinedFile(
            file=Path("quarantine/nameless.dcm"),
            set_aside_at=node.clock.now(),
            study_instance_uid="no UID at all",
            state=QuarantineState.HELD,
            **values,
        )
    )
