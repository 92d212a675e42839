"""The web server in its thread, with TLS and without, and the pages in a browser."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

from dicom_node.core.account import Role
from dicom_node.web.server import WebServer
from tests.builders.certificates import Authority
from tests.peers import require
from tests.unit.app.node import Node, analysed
from tests.unit.web.builders import PASSWORD, accounts, app
from tests.viewer.ohif import chromium


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    node = Node(tmp_path)
    node.analyzer.script.append(analysed(probability=0.93))
    node.receive_study()
    node.settle(turns=3)
    accounts(node).add("ann", Role.VIEWER, PASSWORD, actor="a test")
    server = WebServer(app(node), host="127.0.0.1", port=0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def test_port_0_takes_a_free_one_and_stop_lets_go_of_it(page: str) -> None:
    assert urllib.request.urlopen(f"{page}/readyz", timeout=10).status == 200


def test_stop_ends_the_thread_and_frees_the_port() -> None:
    server = WebServer(FastAPI(), host="127.0.0.1", port=0)
    server.start()
    port = server.port
    server.stop()
    assert "web" not in {thread.name for thread in threading.enumerate()}
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_port_in_use_is_an_os_error_at_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError):
        WebServer(FastAPI(), host="127.0.0.1", port=other.getsockname()[1]).start()


def test_with_a_certificate_it_speaks_tls_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    issued = authority.issue("node", key="ec")
    server = WebServer(
        app(Node(tmp_path)),
        host="127.0.0.1",
        port=0,
        certificate=str(issued.certificate),
        key=str(issued.key),
    )
    server.start()
    try:
        trusting = ssl.create_default_context(cafile=str(authority.file))
        address = f"127.0.0.1:{server.port}/readyz"
        assert urllib.request.urlopen(f"https://{address}", timeout=10, context=trusting).status == 200
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://{address}", timeout=10)
    finally:
        server.stop()


def test_what_a_client_writes_of_its_own_address_is_not_believed(tmp_path: Path) -> None:
    seen: list[str] = []
    application = FastAPI()

    @application.get("/")
    def address(request: Request) -> None:
        seen.append(request.client.host if request.client else "")

    server = WebServer(application, host="127.0.0.1", port=0)
    server.start()
    try:
        lie = {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https"}
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{server.port}/", headers=lie), timeout=10)
    finally:
        server.stop()
    assert seen == ["127.0.0.1"]


def test_a_person_logs_in_looks_at_the_worklist_and_logs_out_and_the_browser_complains_of_nothing(page: str) -> None:
    complaints: list[str] = []
    with chromium(require("chromium", "chromium")) as browser:
        tab = browser.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto(f"{page}/quarantine")
        assert tab.url == f"{page}/login?next=/quarantine"
        tab.get_by_label("Name").fill("ann")
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Log in").click()
        tab.wait_for_url(f"{page}/quarantine")
        tab.goto(f"{page}/")
        assert "fracture 0.93" in tab.content()
        tab.get_by_role("button", name="Log out").click()
        tab.wait_for_url(f"{page}/login")
        tab.goto(f"{page}/")
        assert "fracture 0.93" not in tab.content()
    assert complaints == []
