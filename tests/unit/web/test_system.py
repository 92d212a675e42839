"""The System page, and the configuration for admins."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.app.system import (
    Backup,
    Certificate,
    ConfiguredValue,
    Disk,
    Drift,
    DriftFinding,
    Gpu,
    ModelCard,
    Surroundings,
)
from dicom_node.core.account import Role
from tests.unit.app.node import T0, Node
from tests.unit.web.builders import web

AROUND = Surroundings(
    versions=(("cspine-node", "1.2.3"),),
    disk=Disk(free=50_000_000_000, size=100_000_000_000, reserve=1_000_000_000),
    gpus=(Gpu(number="0", memory_used=1_000_000_000, memory_size=8_000_000_000, busy=0.5),),
    certificates=(Certificate(use="web", ends_at=T0 - timedelta(days=1)), Certificate(use="audit", ends_at=None)),
    audit_waiting=3,
    drift=Drift(studies=40, findings=(DriftFinding(quantity="p_C1", verdict="drifted", psi_excess=0.4),)),
    model=ModelCard(name="cspine", version="7", sha256="ab" * 32, trained_on="phantoms", thresholds=(("C1", 0.25),)),
    backup=Backup(at=T0 - timedelta(days=2), archive="/copy.tar", files=3, size_bytes=2_000_000),
)
SECRET_FREE = (ConfiguredValue(key="node.port", value="11112", source="node.toml:3"),)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_it_shows_what_the_node_runs_on_and_what_needs_somebody(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    page = web(node, surroundings=lambda: AROUND).get("/system").text
    for words in (
        "50.0 GB of 100.0 GB are free; below 1.0 GB images are refused",
        "0: 1.0 GB of 8.0 GB in use, works 50 % of the time",
        "has ended",
        "cannot be read",
        "cspine 7",
        "phantoms",
        "C1 0.25",
        "drifted",
        "3 files, 2.0 MB",
        "half within 31 s, 95 % within 31 s (latest 1 studies)",
        "close_studies",
    ):
        assert words in page, words


def test_what_is_not_known_is_said_to_be_unknown(node: Node) -> None:
    page = web(node).get("/system").text
    assert "No result was stored yet." in page
    assert "none that this node knows of" in page
    assert "The scores were not compared yet." in page


def test_a_script_gets_the_same(node: Node) -> None:
    shown = web(node, surroundings=lambda: AROUND).get("/api/v1/system").json()
    assert shown["model"]["thresholds"] == {"C1": 0.25}
    assert shown["certificates"][1] == {"use": "audit", "ends_at": None}
    assert shown["gpus"][0]["busy"] == 0.5
    assert shown["last_backup"]["files"] == 3


def test_the_configuration_is_for_admins(node: Node) -> None:
    for role, status in ((Role.VIEWER, 403), (Role.OPERATOR, 403), (Role.ADMIN, 200)):
        browser = web(node, role, configuration=lambda: SECRET_FREE)
        assert browser.get("/system/configuration").status_code == status
        assert browser.get("/api/v1/system/configuration").status_code == status
        assert ('href="/system/configuration"' in browser.get("/system").text) is (status == 200)
    assert "node.toml:3" in browser.get("/system/configuration").text
