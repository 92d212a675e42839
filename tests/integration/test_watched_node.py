"""A real node as whoever watches it sees it: ready, not ready for each reason, and every figure on its metrics page."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from config.load import load_settings
from dicom_node.bootstrap.node import Node, build_node
from dicom_node.gauges import GAUGES, PREFIX
from storage.disk import Disk
from storage.transaction import Transaction
from tests.builders.commands import logging_as_before

# Nothing to say of them here: no GPU, no certificate, no receiver that waits or fails, perhaps no look at drift yet.
_SILENT = {
    "certificate_expiry_timestamp_seconds",
    "circuit_failing_since_timestamp_seconds",
    "circuit_open",
    "deliveries",
    "delivery_oldest_age_seconds",
    "drift_psi",
    "drift_studies",
    "drift_verdict",
    "gpu_memory_size_bytes",
    "gpu_memory_used_bytes",
    "gpu_utilization_ratio",
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    config = tmp_path / "node.toml"
    config.write_text(
        '[node]\nhost = "127.0.0.1"\nport = 0\ndata_dir = "var"\nmin_free_bytes = 1000\n[web]\nport = 0\n'
        '[scheduler]\ntick_s = 0.05\n[log]\nlevel = "error"\n'
    )
    umask = os.umask(0o077)
    with logging_as_before():
        started = build_node(load_settings(config, environ={}))
        started.start()
        yield started
        started.stop()
    os.umask(umask)


def asked(node: Node, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.web_port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_every_figure_is_on_the_metrics_page_and_no_other(node: Node) -> None:
    status, page = asked(node, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(page)}
    samples = {name: families[f"{PREFIX}_{name}"].samples for name in GAUGES}
    assert {name for name, found in samples.items() if not found} - _SILENT == set()
    assert [sample.value for name in ("receiver_up", "database_up") for sample in samples[name]] == [1.0, 1.0]
    assert samples["disk_reserve_bytes"][0].value == 1000.0


def test_a_node_that_is_well_is_alive_and_ready(node: Node) -> None:
    assert asked(node, "/healthz")[0] == 200
    status, answer = asked(node, "/readyz")
    assert (status, json.loads(answer)["checks"]) == (200, {"database": "ok", "disk": "ok", "receiver": "ok"})


def test_a_receiver_that_does_not_listen_any_more_is_told(node: Node) -> None:
    assert node._server is not None
    node._server.stop()
    status, answer = asked(node, "/readyz")
    assert (status, json.loads(answer)["why"]) == (503, "the receiver does not listen")
    assert f"{PREFIX}_receiver_up 0.0" in asked(node, "/metrics")[1]


def test_a_disk_without_space_for_an_image_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "free_bytes", lambda self, root: 999)
    usage: Any = SimpleNamespace(total=10_000, used=9_001, free=999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    status, answer = asked(node, "/readyz")
    assert status == 503
    assert json.loads(answer)["checks"]["disk"].startswith("999 bytes are free")
    assert asked(node, "/healthz")[0] == 200, "it is alive: a restart would help nothing"
    assert f"{PREFIX}_disk_free_bytes 999.0" in asked(node, "/metrics")[1]


def test_a_database_that_is_gone_is_told_without_its_path(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Transaction) -> None:  # a file that is spoilt under SQLite may end the whole process
        raise OperationalError("BEGIN", {}, sqlite3.OperationalError(f"unable to open {tmp_path / 'node.sqlite3'}"))

    monkeypatch.setattr(Transaction, "_begin", gone)
    status, answer = asked(node, "/readyz")
    assert status == 503
    assert json.loads(answer)["checks"]["database"] != "ok"
    assert str(tmp_path) not in answer
    assert f"{PREFIX}_database_up 0.0" in asked(node, "/metrics")[1]
