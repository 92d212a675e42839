"""The verdict's form, who may fill it in, and the page of agreement."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dicom_node.core.account import Role
from dicom_node.core.agreement import Share, Week
from dicom_node.core.audit import Action, AuditEvent, Code
from dicom_node.web.auth.browser import csrf_token
from dicom_node.web.quality import as_csv, chart_of
from tests.builders.verdicts import NOON, verdict
from tests.unit.app.node import STUDY, Node, analysed, incoming
from tests.unit.web.builders import web

FORM = f"/studies/{STUDY}/verdict"


class Trail:
    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.analyzer.script.append(analysed(STUDY, 0.9))
    node.receive_study()
    node.settle(turns=3)
    return node


def post(browser: TestClient, path: str = FORM, **fields: str) -> object:
    secret = browser.cookies["cspine_session"]
    return browser.post(path, data={"csrf_token": csrf_token(secret), **fields}, follow_redirects=False)


def kept(node: Node) -> list[dict[str, object]]:
    found: list[dict[str, object]] = web(node).get(f"/api/v1/studies/{STUDY}/verdicts").json()
    return found


def test_an_operator_says_on_the_study_page_what_is_wrong(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    page = browser.get(f"/studies/{STUDY}").text
    assert "No reader has judged this result yet." in page
    assert 'name="false_positive_C2"' in page
    assert 'name="false_positive_C3"' not in page
    assert 'name="missed_C7"' in page
    answer = post(browser, revision="1", verdict="disagree", false_positive_C2="1", missed_C5="1", note="an <old> one")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{STUDY}#verdict")
    page = browser.get(f"/studies/{STUDY}").text
    assert "Does not agree" in page
    assert "false positive: C2" in page
    assert "missed: C5" in page
    assert "an &lt;old&gt; one" in page
    (given,) = kept(node)
    assert (given["false_positives"], given["missed"], given["reader"]) == (["C2"], ["C5"], "operator")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "Say whether you agree."),
        ({"revision": "1"}, "Say whether you agree."),
        ({"verdict": "agree"}, "Say whether you agree."),
        ({"verdict": "agree", "revision": "²"}, "Say whether you agree."),
        ({"verdict": "agree", "revision": "1", "missed_C5": "1"}, "it can only be one of the two"),
        ({"verdict": "disagree", "revision": "1"}, "Name at least one level"),
        ({"verdict": "disagree", "revision": "1", "false_positive_C3": "1"}, "was not called"),
        ({"verdict": "agree", "revision": "7"}, "look again"),
        ({"verdict": "agree", "revision": "1", "note": "x" * 501}, "at most 500"),
    ],
)
def test_a_form_that_says_nothing_or_two_things_is_refused_with_the_reason(
    node: Node, fields: dict[str, str], why: str
) -> None:
    answer = post(web(node, Role.OPERATOR), **fields)
    assert answer.status_code in (409, 422)
    assert why in answer.text
    assert kept(node) == []


def test_a_viewer_sees_the_verdict_and_has_no_form(node: Node) -> None:
    post(web(node, Role.OPERATOR), revision="1", verdict="agree")
    viewer = web(node)
    page = viewer.get(f"/studies/{STUDY}").text
    assert "Agrees" in page
    assert "verdict-form" not in page
    assert post(viewer, revision="1", verdict="agree").status_code == 403
    script = viewer.post(f"/api/v1/studies/{STUDY}/verdicts", json={"revision": 1})
    assert script.status_code == 403
    assert len(kept(node)) == 1


def test_a_verdict_is_in_the_audit_trail_with_who_gave_it_and_on_which_study(node: Node) -> None:
    trail = Trail()
    post(web(node, Role.OPERATOR, audit=trail), revision="1", verdict="agree")
    (event,) = [each for each in trail.events if each.event is Code.INSTANCES_ACCESSED]
    assert (event.action, event.participants[0].user_id) == (Action.UPDATE, "operator")
    assert STUDY in str(event.objects)


def test_a_script_gives_a_verdict_and_is_told_why_where_it_cannot(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    headers = {"X-CSRF-Token": csrf_token(browser.cookies["cspine_session"])}
    path = f"/api/v1/studies/{STUDY}/verdicts"
    given = browser.post(path, json={"revision": 1, "missed": ["C4", "C1"]}, headers=headers)
    assert (given.status_code, given.json()["missed"], given.json()["agrees"]) == (201, ["C1", "C4"], False)
    assert browser.post(path, json={"revision": 1, "missed": ["T1"]}, headers=headers).status_code == 409
    assert browser.post(path, json={"revision": 2}, headers=headers).status_code == 409
    assert browser.post(path, json={"revision": 1, "more": 1}, headers=headers).status_code == 422
    unknown = browser.post("/api/v1/studies/9.9/verdicts", json={"revision": 1}, headers=headers)
    assert unknown.status_code == 404
    assert browser.get("/api/v1/studies/9.9/verdicts").status_code == 404


def test_the_page_of_agreement_says_what_it_is_not_and_leads_to_what_was_wrong(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    assert "No verdict was given in this time." in browser.get("/quality").text
    post(browser, revision="1", verdict="disagree", false_positive_C2="1")
    page = browser.get("/quality").text
    assert "a selected sample" in page
    assert f'href="/studies/{STUDY}#verdict"' in page
    assert "0 of 1; 95 % interval 0 % to 79 %" in page
    assert page.count('<rect class="bar"') == 1
    node.clock.advance(31 * 86400)
    assert "No verdict was given" in web(node).get("/quality?days=30").text
    assert web(node).get("/api/v1/quality").json()["agreed"]["of"] == 1


def test_the_table_to_take_away_has_a_line_a_study_and_no_formula(node: Node) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([verdict(missed=("C1", "C2"), note='=HYPERLINK("x")\nand, more')]))))
    assert rows[0]["missed"] == "C1 C2"
    assert rows[0]["note"] == '\'=HYPERLINK("x")\nand, more'
    assert rows[0]["at"] == NOON.isoformat()
    post(web(node, Role.OPERATOR), revision="1", verdict="agree")
    answer = web(node).get("/quality.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="verdicts.csv"'
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 1


def test_the_picture_has_a_bar_for_each_week_with_a_verdict_and_its_interval_around_it() -> None:
    monday = NOON.date()
    chart = chart_of(
        [
            Week(monday=monday, agreed=Share(count=3, of=4)),
            Week(monday=monday, agreed=Share(count=0, of=0)),
            Week(monday=monday, agreed=Share(count=1, of=1)),
        ]
    )
    first, second = chart.bars
    assert first.y == pytest.approx(chart.bottom - 0.75 * (chart.bottom - chart.top))
    assert first.high < first.y < first.low
    assert second.x == pytest.approx(first.x + 2 * (second.x - first.x) / 2)
    assert second.y == chart.top
    assert second.high == pytest.approx(chart.top)


def test_a_late_image_asks_for_a_verdict_on_the_new_result(node: Node) -> None:
    browser = web(node, Role.OPERATOR)
    post(browser, revision="1", verdict="agree")
    node.receive(incoming(9))
    node.settle(turns=3)
    page = browser.get(f"/studies/{STUDY}").text
    assert "No reader has judged this result yet." in page
    assert "Earlier verdicts: 1" in page
