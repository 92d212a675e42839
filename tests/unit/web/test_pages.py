"""What people see."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.core.delivery import Channel
from dicom_node.core.errors import PeerUnreachable
from dicom_node.core.finding import ResultKind
from dicom_node.core.notice import Notice
from dicom_node.core.study import PatientSummary
from dicom_node.web.language import word
from tests.unit.app.node import Node, analysed, incoming, not_applicable, pacs
from tests.unit.web.builders import leave_pictures, web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def analyse(node: Node, uid: str, probability: float, name: str = "Doe^Jane") -> None:
    node.analyzer.script.append(analysed(uid, probability))
    instance = incoming(study=uid)
    assert instance.header is not None
    patient = PatientSummary(patient_id=f"ID-{uid}", patient_name=name)
    node.receive(replace(instance, header=replace(instance.header, patient=patient)))
    node.settle(turns=3)


def links(page: str) -> list[str]:
    return re.findall(r'href="/studies/([0-9.]+)"', page)


def test_an_empty_worklist_says_how_to_fill_it(node: Node) -> None:
    page = web(node).get("/").text
    assert "No study yet. Send one by C-STORE to CSPINE_AI" in page


def test_suspected_fractures_come_first_then_what_needs_a_person(node: Node) -> None:
    analyse(node, "1.2.1", 0.6)
    analyse(node, "1.2.2", 0.95)
    node.analyzer.script.append(not_applicable("1.2.4"))
    node.receive_study(study="1.2.4")
    node.settle(turns=3)
    node.pacs.failures += [PeerUnreachable("away")] * 50
    analyse(node, "1.2.3", 0.1)
    node.settle(turns=40)
    node.receive_study(study="1.2.5")
    assert links(web(node).get("/").text) == ["1.2.2", "1.2.1", "1.2.3", "1.2.5", "1.2.4"]


def test_a_row_says_each_level_in_figures_and_in_words(node: Node) -> None:
    analyse(node, "1.2.1", 0.93)
    page = web(node).get("/").text
    assert "fracture 0.93" in page
    assert "C2: fracture suspected, probability 0.93, threshold 0.50" in page
    assert "C1: no fracture suspected, probability 0.10, threshold 0.50" in page
    assert "C7: not assessed" in page
    assert "stored at pacs" in page


def test_a_study_that_is_not_applicable_shows_why_and_no_level(node: Node) -> None:
    node.analyzer.script.append(not_applicable())
    node.receive_study()
    node.settle(turns=3)
    page = web(node).get("/").text
    assert "no cervical spine was found" in page
    assert 'class="level ' not in page


def test_the_filter_shows_one_status_and_refuses_an_unknown_one(node: Node) -> None:
    analyse(node, "1.2.1", 0.6)
    node.receive_study(study="1.2.2")
    browser = web(node)
    assert links(browser.get("/?status=RECEIVING").text) == ["1.2.2"]
    assert links(browser.get("/?status=DELIVERED").text) == ["1.2.1"]
    assert browser.get("/?status=LOST").status_code == 422


def test_a_hundred_studies_make_a_page_and_the_next_one_is_linked(node: Node) -> None:
    for number in range(101):
        node.clock.advance(1)
        node.receive(incoming(study=f"1.2.{number}"))
    browser = web(node)
    first, second = browser.get("/").text, browser.get("/?page=2").text
    assert len(links(first)) == 100
    assert 'href="/?page=2"' in first
    assert links(second) == ["1.2.100"], "who has waited longest comes first"
    assert 'href="/"' in second


def test_the_refresh_fetches_the_rows_alone(node: Node) -> None:
    node.receive_study()
    rows = web(node).get("/?part=rows").text
    assert "<html" not in rows
    assert links(rows) == ["1.2.3"]


def test_the_study_page_says_why(node: Node) -> None:
    node.analyzer.script.append(not_applicable())
    node.receive_study()
    node.settle(turns=3)
    page = web(node).get("/studies/1.2.3").text
    assert "left out (no cervical spine): no vertebra found" in page
    assert "no image for 30 s" in page
    assert "quiet elapsed" in page
    assert "nothing eligible" in page


def test_the_study_page_shows_each_delivery_and_its_failure(node: Node) -> None:
    node.pacs.failures.append(PeerUnreachable("pacs is away"))
    node.receive_study()
    node.close_now()
    node.turn()
    page = web(node).get("/studies/1.2.3").text
    assert word(node.deliveries()[0].state) in page
    assert "pacs is away" in page


def test_the_study_page_says_what_was_sent_instead_of_what_and_why(node: Node) -> None:
    node.encoder.kinds = (ResultKind.SEG, ResultKind.SR, ResultKind.SR_COMPREHENSIVE)
    node.pacs.refusals["pacs"] = {ResultKind.SR: "accepts no presentation context for it"}
    node.notifiers = {Channel.HL7: _Acknowledging()}
    node.restart()
    node.receive_study()
    node.settle(turns=3)
    page = web(node).get("/studies/1.2.3").text
    instead = "Comprehensive SR instead of Comprehensive 3D SR: the peer accepts no presentation context for it"
    assert page.count(instead) >= 2, "at the delivery and in the history"
    assert "SEG, SR_COMPREHENSIVE" in page
    assert 'hl7 <span class="small">notification</span>' in page
    shown = web(node).get("/api/v1/studies/1.2.3").json()
    to_pacs = next(delivery for delivery in shown["deliveries"] if delivery["channel"] == "objects")
    assert [(entry["wanted"], entry["sent"]) for entry in to_pacs["substitutions"]] == [("SR", "SR_COMPREHENSIVE")]
    assert [entry["kind"] for entry in to_pacs["objects"] if entry["held"]] == ["SEG", "SR_COMPREHENSIVE"]


class _Acknowledging:
    def tell(self, notice: Notice) -> str:
        return "acknowledged with AA"


def test_pictures_and_report_are_served_from_the_latest_attempt_with_its_overview_first(node: Node) -> None:
    analyse(node, "1.2.1", 0.93)
    leave_pictures(node, 1)
    browser = web(node)
    page = browser.get("/studies/1.2.1").text
    assert re.findall(r'src="/studies/1\.2\.1/pictures/([^"]+)"', page) == ["sagittal.png", "C2.png"]
    picture = browser.get("/studies/1.2.1/pictures/C2.png")
    assert (picture.status_code, picture.content) == (200, b"\x89PNG C2")
    report = browser.get("/studies/1.2.1/report")
    assert report.text == "<h1>Report</h1>"
    assert "sandbox" in report.headers["content-security-policy"]
    assert "script-src" not in report.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["..%2F..%2F..%2Frows", "C3.png", "%2Fetc%2Fpasswd", "report.html"])
def test_nothing_but_its_pictures_is_served(node: Node, name: str) -> None:
    analyse(node, "1.2.1", 0.93)
    leave_pictures(node, 1)
    assert web(node).get(f"/studies/1.2.1/pictures/{name}").status_code == 404


def test_an_unknown_study_is_a_page_with_404(node: Node) -> None:
    browser = web(node)
    answer = browser.get("/studies/9.9.9")
    assert answer.status_code == 404
    assert "never received the study" in answer.text
    assert browser.get("/studies/9.9.9/report").status_code == 404


def test_the_peers_page_shows_what_is_configured_and_what_is_wrong_with_the_file(node: Node) -> None:
    node.peers.known.append(replace(pacs("viewer"), enabled=False))
    page = web(node).get("/peers").text
    assert "VIEWER" in page
    assert "127.0.0.1:104" in page
    assert "has a mistake" not in page
    troubled = web(node, peers_problem=lambda: "node.toml:12 port").get("/peers").text
    assert "has a mistake" in troubled
    assert "node.toml:12 port" in troubled


def test_markup_in_a_header_stays_text(node: Node) -> None:
    analyse(node, "1.2.1", 0.93, name="<script>alert(1)</script>^<b>")
    for path in ("/", "/studies/1.2.1"):
        page = web(node).get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize("path", ["/", "/quarantine", "/peers", "/studies/1.2.1"])
def test_every_page_has_one_heading_a_language_and_labels(node: Node, path: str) -> None:
    analyse(node, "1.2.1", 0.93)
    leave_pictures(node, 1)
    page = web(node).get(path).text
    assert page.count("<h1") == 1
    assert '<html lang="en">' in page
    assert '<main id="main"' in page
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert not re.search(r"<[^>]+\s(style|onclick)=", page)
