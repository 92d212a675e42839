"""The web server in its thread, and the page in a browser."""

from __future__ import annotations

import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from dicom_node.web.server import WebServer
from tests.peers import require
from tests.unit.app.node import Node, analysed
from tests.unit.web.builders import app


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    node = Node(tmp_path)
    node.analyzer.script.append(analysed(probability=0.93))
    node.receive_study()
    node.settle(turns=3)
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


def test_a_browser_shows_the_worklist_with_its_styles_and_no_complaint(page: str, tmp_path: Path) -> None:
    chromium = require("chromium", "chromium")
    ran = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=6000", "--dump-dom", f"{page}/"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "fracture 0.93" in ran.stdout
    complaints = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
