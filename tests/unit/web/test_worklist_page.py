"""The worklist page: what narrows it stays in its links, and what it says of how many there are is so."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from dicom_node.core.study import PatientSummary
from tests.unit.app.node import Node, analysed, incoming
from tests.unit.web.builders import web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    for uid, name, probability in (("1.2.1", "Doe^Jane", 0.9), ("1.2.2", "Müller^Jürgen", 0.1)):
        node.analyzer.script.append(analysed(uid, probability))
        instance = incoming(study=uid)
        assert instance.header is not None
        patient = PatientSummary(patient_id=f"ID{uid[-1]}", patient_name=name)
        node.receive(replace(instance, header=replace(instance.header, patient=patient)))
        node.settle(turns=3)
    node.receive_study(study="1.2.3")
    return node


def links(page: str) -> list[str]:
    return re.findall(r'href="/studies/([0-9.]+)"', page)


def test_a_search_finds_a_patient_whatever_the_case_and_says_so_in_every_link(node: Node) -> None:
    page = web(node).get("/", params={"q": "mÜLLER jürgen", "source": "SCANNER"}).text
    assert links(page) == ["1.2.2"]
    addresses = [unescape(address) for address in re.findall(r'href="(/\?[^"]+)"', page)]
    assert addresses
    assert all("q=m%C3%9CLLER+j%C3%BCrgen" in address and "source=SCANNER" in address for address in addresses)
    assert 'value="mÜLLER jürgen"' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("fracture=yes", ["1.2.1"]),
        ("fracture=no&status=DELIVERED", ["1.2.2"]),
        ("status=RECEIVING", ["1.2.3"]),
        ("source=NOBODY", []),
        ("from=2000-01-01&to=2000-01-02", []),
        ("from=2000-01-01", ["1.2.1", "1.2.3", "1.2.2"]),
        ("from=not-a-day&to=", ["1.2.1", "1.2.3", "1.2.2"]),
        ("to=9999-12-31", ["1.2.1", "1.2.3", "1.2.2"]),
    ],
)
def test_each_field_narrows(node: Node, query: str, found: list[str]) -> None:
    assert links(web(node).get(f"/?{query}").text) == found


def test_the_states_say_how_many_there_are_among_what_is_searched(node: Node) -> None:
    counts = dict(re.findall(r'>([a-z ]+) <span class="count">(\d+)</span>', web(node).get("/").text))
    assert (counts["delivered"], counts["receiving"], counts["analysing"]) == ("2", "1", "0")
    narrowed = web(node).get("/?fracture=yes&status=RECEIVING").text
    assert dict(re.findall(r'>([a-z ]+) <span class="count">(\d+)</span>', narrowed))["delivered"] == "1"


def test_a_row_says_how_long_after_the_last_image_the_result_was_delivered(node: Node) -> None:
    page = web(node).get("/?fracture=yes").text
    assert re.search(r'data-label="Delivered after">\d+ (s|min)<', page)
    shown = web(node).get("/api/v1/studies?fracture=yes").json()
    assert shown[0]["delivered_after_s"] > 0


def test_what_is_not_there_says_how_to_see_all(node: Node) -> None:
    page = web(node).get("/?q=nobody").text
    assert "No study is like that" in page
    assert "No study is like that" in web(node).get("/?page=99").text


def test_the_api_narrows_and_orders_as_the_page(node: Node) -> None:
    browser = web(node)
    assert [row["study_instance_uid"] for row in browser.get("/api/v1/studies").json()] == ["1.2.1", "1.2.3", "1.2.2"]
    assert [row["study_instance_uid"] for row in browser.get("/api/v1/studies?q=id2").json()] == ["1.2.2"]
    assert [row["study_instance_uid"] for row in browser.get("/api/v1/studies?status=RECEIVING&limit=1").json()] == [
        "1.2.3"
    ]
    assert browser.get("/api/v1/studies?fracture=perhaps").status_code == 422


def test_the_refresh_asks_for_the_same_rows(node: Node) -> None:
    page = web(node).get("/?q=doe&status=DELIVERED").text
    address = unescape(re.search(r'hx-get="([^"]+)"', page)[1])  # type: ignore[index]
    rows = web(node).get(address).text
    assert links(rows) == ["1.2.1"]
    assert "<html" not in rows
