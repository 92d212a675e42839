"""The page of deliveries, and what an operator may do there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_node.app.operator_actions import OperatorActions
from dicom_node.core.account import Role
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import PeerRefused
from dicom_node.web.auth.browser import csrf_token
from tests.unit.app.node import STUDY, Node, pacs
from tests.unit.web.builders import web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, peers=(pacs(), pacs("viewer")))


def operator(node: Node) -> TestClient:
    actions = OperatorActions(
        uow_factory=node.uow, clock=node.clock, counters=node.counters, has_file=lambda file: True
    )
    return web(node, Role.OPERATOR, operator=actions)


def post(browser: TestClient, path: str, **fields: str) -> Any:
    token = csrf_token(browser.cookies["cspine_session"])
    return browser.post(path, data={"csrf_token": token, **fields}, follow_redirects=False)


def numbers(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'<tr><th scope="row" class="number">(\d+)</th>', page)]


def failed(node: Node) -> None:
    """Both deliveries of a study have failed."""
    node.pacs.failures += [PeerRefused("refuses SR"), PeerRefused("refuses SR")]
    node.receive_study()
    node.settle(turns=3)


def test_a_page_without_deliveries_says_so(node: Node) -> None:
    page = web(node).get("/deliveries").text
    assert "Nothing was sent yet." in page
    assert "Nobody has asked." in page


def test_each_delivery_stands_there_with_its_answers_and_leads_to_its_study(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    page = web(node).get("/deliveries").text
    assert numbers(page) == [2, 1]
    assert page.count("0x0000") == 4
    assert f'href="/studies/{STUDY}"' in page
    assert "stored (2)" in page


def test_the_list_is_narrowed_by_state_and_receiver_and_refuses_an_unknown_state(node: Node) -> None:
    node.pacs.failures.append(PeerRefused("refuses SR"))
    node.receive_study()
    node.settle(turns=3)
    browser = web(node)
    assert numbers(browser.get("/deliveries?state=FAILED").text) == [1]
    assert numbers(browser.get("/deliveries?peer=viewer").text) == [2]
    assert "No delivery is like that." in browser.get("/deliveries?state=FAILED&peer=viewer").text
    assert browser.get("/deliveries?state=LOST").status_code == 422
    found = browser.get("/api/v1/deliveries?state=FAILED").json()
    assert [each["id"] for each in found] == [1]
    assert [each["id"] for each in browser.get("/api/v1/deliveries?limit=1&offset=1").json()] == [1]


def test_fifty_make_a_page_and_the_next_one_is_linked_with_its_filter(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    with node.uow() as uow:
        for _ in range(50):
            node.clock.advance(1)
            uow.deliveries.add(
                job_id=1,
                study_instance_uid=STUDY,
                revision=1,
                peer="pacs",
                objects=(),
                round=2 + _,
                created_at=node.clock.now(),
            )
        uow.commit()
    browser = web(node)
    assert len(numbers(browser.get("/deliveries?peer=pacs").text)) == 50
    assert 'href="/deliveries?state=&amp;peer=pacs&amp;page=2"' in browser.get("/deliveries?peer=pacs").text
    assert numbers(browser.get("/deliveries?peer=pacs&page=2").text) == [1]


def test_an_operator_tries_gives_up_and_sends_again(node: Node) -> None:
    failed(node)
    browser = operator(node)
    answer = post(browser, "/deliveries/1/retry", back="/deliveries?state=FAILED")
    assert (answer.status_code, answer.headers["location"]) == (303, "/deliveries?state=FAILED")
    node.settle(turns=3)
    assert node.deliveries()[0].state is DeliveryState.STORED
    assert post(browser, "/deliveries/2/cancel").status_code == 303
    assert node.deliveries()[1].state is DeliveryState.CANCELLED
    assert post(browser, "/deliveries/1/send-again").status_code == 303
    node.settle(turns=3)
    assert [(each.peer, each.round, each.state.value) for each in node.deliveries()] == [
        ("pacs", 1, "STORED"),
        ("viewer", 1, "CANCELLED"),
        ("pacs", 2, "STORED"),
    ]
    assert "sent again" in browser.get("/deliveries").text


def test_what_makes_no_sense_is_refused_on_the_page_and_nothing_is_changed(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    browser = operator(node)
    refused = post(browser, "/deliveries/1/retry")
    assert (refused.status_code, "it needs no retry" in refused.text) == (409, True)
    assert post(browser, "/deliveries/99/cancel").status_code == 409
    assert post(browser, "/deliveries/1/explode").status_code == 404
    assert post(browser, "/receivers/explode", peer="pacs").status_code == 404
    assert [each.state for each in node.deliveries()] == [DeliveryState.STORED] * 2


def test_it_does_not_lead_elsewhere_afterwards(node: Node) -> None:
    failed(node)
    answer = post(operator(node), "/deliveries/1/retry", back="https://evil.example/")
    assert answer.headers["location"] == "/"


def test_a_receiver_that_cannot_be_reached_is_shown_and_tried_at_once(node: Node) -> None:
    node.pacs.away.add("pacs")
    node.receive_study()
    node.settle(turns=8)
    browser = operator(node)
    page = browser.get("/deliveries").text
    assert "does not take a TCP connection" in page
    assert "Try it now" in page
    assert "Try it now" not in web(node).get("/deliveries").text
    assert post(browser, "/receivers/reset", peer="pacs").status_code == 303
    assert web(node).get("/api/v1/receivers").json()[0]["state"] == "reachable"


def test_everything_that_failed_at_a_receiver_is_sent_again(node: Node) -> None:
    failed(node)
    browser = operator(node)
    assert "Send everything again that failed at pacs" in browser.get("/deliveries").text
    assert post(browser, "/receivers/retry", peer="pacs").status_code == 303
    assert [each.state.value for each in node.deliveries()] == ["PENDING", "FAILED"]
    assert post(browser, "/receivers/retry", peer="nobody").status_code == 409


@pytest.mark.parametrize(
    "path", ["/deliveries/1/retry", "/deliveries/1/send-again", "/deliveries/1/cancel", "/receivers/retry"]
)
def test_a_viewer_looks_and_changes_nothing(node: Node, path: str) -> None:
    failed(node)
    viewer = web(node)
    assert "/retry" not in viewer.get("/deliveries").text
    assert post(viewer, path, peer="pacs").status_code == 403
    assert viewer.post(f"/api/v1{path}", json={"peer": "pacs"}).status_code == 403
    assert [each.state for each in node.deliveries()] == [DeliveryState.FAILED] * 2


def test_a_script_does_the_same_and_sees_one_delivery_whole(node: Node) -> None:
    failed(node)
    browser = operator(node)
    headers = {"X-CSRF-Token": csrf_token(browser.cookies["cspine_session"])}
    shown = browser.get("/api/v1/deliveries/2").json()
    assert (shown["state"], shown["commitments"]) == ("FAILED", [])
    assert "permanent_error" in [entry["event"] for entry in shown["history"]]
    assert browser.get("/api/v1/deliveries/99").status_code == 404
    assert browser.post("/api/v1/deliveries/2/retry", headers=headers).json()["state"] == "PENDING"
    assert browser.post("/api/v1/deliveries/2/cancel", headers=headers).json()["state"] == "CANCELLED"
    assert browser.post("/api/v1/deliveries/2/send-again", headers=headers).json()["round"] == 2
    assert browser.post("/api/v1/deliveries/2/send-again", headers=headers).status_code == 409
    assert browser.post("/api/v1/deliveries/99/cancel", headers=headers).status_code == 404
    assert browser.post("/api/v1/receivers/reset", headers=headers, json={"peer": "x"}).status_code == 409
