"""What people and scripts see of quarantine."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.core.errors import RejectedInput
from tests.unit.app.node import STUDY, Node, incoming, silenced
from tests.unit.app.test_quarantine import quarantine
from tests.unit.web.builders import web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    with silenced():
        node = Node(tmp_path)
        node.receive(incoming(1))
        for instance in (incoming(1, content=b"other"), incoming(2, header=None, why_unreadable="<b>noise</b>")):
            with pytest.raises(RejectedInput):
                node.receive(instance)
        quarantine(node).discard(2, actor="ann", reason="a test")
        return node


def test_the_page_says_what_waits_why_from_whom_and_what_became_of_the_rest(node: Node) -> None:
    page = web(node).get("/quarantine").text
    assert "1 files" in page
    assert "conflicting instance" in page
    assert f'href="/studies/{STUDY}"' in page
    assert "a test" in page
    assert "by ann" in page
    assert "&lt;b&gt;noise&lt;/b&gt;" in page
    assert "<b>noise" not in page
    assert 'href="/quarantine" aria-current="page"' in page


def test_an_empty_quarantine_is_a_page_too(tmp_path: Path) -> None:
    assert "Nothing was set aside" in web(Node(tmp_path)).get("/quarantine").text


def test_the_api_lists_it_and_narrows_by_state(node: Node) -> None:
    every = web(node).get("/api/v1/quarantine").json()
    held = web(node).get("/api/v1/quarantine", params={"state": "HELD"}).json()
    assert [entry["state"] for entry in every] == ["DISCARDED", "HELD"]
    assert [(entry["id"], entry["reason"]) for entry in held] == [(1, "conflicting_instance")]
    assert web(node).get("/api/v1/quarantine", params={"state": "NONE"}).status_code == 422
