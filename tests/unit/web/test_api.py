"""What scripts and watchers get."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from dicom_node.app.ticks import TickReport
from dicom_node.core.commitment import Reference
from dicom_node.core.errors import StorageUnavailable
from dicom_node.observability import PrometheusCounters
from dicom_node.ports import UnitOfWork
from dicom_node.web.app import LOOPBACK, create_app, hosts_for
from tests.unit.app.node import Node
from tests.unit.web.builders import sources, web


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@contextlib.contextmanager
def no_database() -> Iterator[UnitOfWork]:
    raise StorageUnavailable("the database does not answer")
    yield


@contextlib.contextmanager
def broken() -> Iterator[UnitOfWork]:
    raise ValueError("cannot parse Doe^Jane")
    yield


def test_the_api_lists_and_shows_studies_with_the_words_of_the_command_line(node: Node) -> None:
    node.receive_study()
    node.settle(turns=3)
    api = web(node)
    (row,) = api.get("/api/v1/studies").json()
    assert (row["status"], row["study_instance_uid"], row["levels"]) == ("DELIVERED", "1.2.3", ["C2"])
    study = api.get("/api/v1/studies/1.2.3").json()
    assert study == node.detail().as_json()
    assert [level["level"] for level in study["result"]["levels"]] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert [delivery["peer"] for delivery in api.get("/api/v1/deliveries").json()] == ["pacs"]
    assert api.get("/api/v1/peers").json()["peers"][0]["ae_title"] == "PACS"


def test_the_api_tells_which_receivers_could_not_be_reached_and_what_waits_for_them(node: Node) -> None:
    node.pacs.away = {"pacs"}
    node.receive_study()
    node.settle(turns=4)
    (receiver,) = web(node).get("/api/v1/receivers").json()
    assert (receiver["peer"], receiver["state"], receiver["waiting"]) == ("pacs", "open", 1)
    assert receiver["why"] == "PeerUnreachable: pacs does not take a TCP connection"
    node.pacs.away = set()
    node.settle(turns=10)
    assert web(node).get("/api/v1/receivers").json() == []


def test_the_api_tells_what_scanners_asked_the_node_to_commit_to(node: Node) -> None:
    asked = (Reference(sop_class_uid="1.2", sop_instance_uid="1.2.3"),)
    node.duties.take_on("2.25.7", asked, calling_aet="SCANNER", peer="scanner")
    (duty,) = web(node).get("/api/v1/commitments").json()
    assert (duty["transaction_uid"], duty["peer"], duty["instances"]) == ("2.25.7", "scanner", 1)


def test_the_api_pages_and_filters(node: Node) -> None:
    for number in range(3):
        node.clock.advance(1)
        node.receive_study(1, study=f"1.2.{number}")
    api = web(node)
    assert [row["study_instance_uid"] for row in api.get("/api/v1/studies?limit=1&offset=1").json()] == ["1.2.1"]
    assert api.get("/api/v1/studies?status=DELIVERED").json() == []
    assert api.get("/api/v1/studies?limit=0").status_code == 422


def test_an_unknown_study_is_404(node: Node) -> None:
    assert web(node).get("/api/v1/studies/9.9").status_code == 404


def test_the_schema_stands_at_its_place_and_names_every_path(node: Node) -> None:
    schema = web(node).get("/api/v1/openapi.json").json()
    assert set(schema["paths"]) >= {"/api/v1/studies", "/api/v1/studies/{study_instance_uid}", "/healthz", "/readyz"}
    changing = {path for path, methods in schema["paths"].items() if set(methods) - {"get"}}
    assert not changing & {"/api/v1/studies", "/api/v1/studies/{study_instance_uid}", "/api/v1/system"}


def test_health_turns_red_with_a_tick(node: Node) -> None:
    assert web(node).get("/healthz").status_code == 200
    stale = TickReport(name="deliver_1", is_healthy=False, last_success_at=None, failure="OSError")
    answer = web(node, health=lambda: (stale,)).get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["ticks"]["deliver_1"]["failure"] == "OSError"


def test_ready_means_that_the_database_answers_and_nothing_else_objects(node: Node) -> None:
    ready = {"ready": True, "why": "", "checks": {"database": "ok"}}
    assert web(node).get("/readyz").json() == ready
    away = web(node, unit_of_work=no_database).get("/readyz")
    assert (away.status_code, away.json()["why"]) == (503, "the database does not answer")
    problems = {"database": "", "disk": "", "receiver": "the receiver does not listen"}
    refused = web(node, readiness=lambda: problems).get("/readyz")
    assert (refused.status_code, refused.json()["why"]) == (503, "the receiver does not listen")
    assert refused.json()["checks"] == {"database": "ok", "disk": "ok", "receiver": "the receiver does not listen"}


def test_metrics_are_prometheus_text(node: Node) -> None:
    counters = PrometheusCounters()
    counters.count("studies_closed", event="quiet_elapsed")
    answer = web(node, counters_registry=counters.registry).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'cspine_studies_closed_total{event="quiet_elapsed"} 1.0' in answer.text


@pytest.mark.parametrize("path", ["/", "/api/v1/studies"])
def test_an_unexpected_error_is_an_incident_number_here_and_its_places_in_the_log(node: Node, path: str) -> None:
    with capture_logs() as logs:
        answer = web(node, unit_of_work=broken).get(path)
    assert answer.status_code == 500
    assert "Doe" not in answer.text
    (entry,) = logs
    assert entry["incident"] in answer.text
    assert entry["kind"] == "ValueError"
    assert "Doe" not in str(entry)
    assert any("test_api.py" in place for place in entry["places"])


@pytest.mark.parametrize("path", ["/", "/api/v1/studies", "/static/node.css", "/nowhere"])
def test_every_answer_carries_the_security_headers(node: Node, path: str) -> None:
    headers = web(node).get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    # What is the same for everybody a browser may keep, if it asks each time whether it still is the same.
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")


def test_on_loopback_only_requests_for_a_loopback_host_are_answered(node: Node) -> None:
    app = create_app(sources(node), allowed_hosts=hosts_for("127.0.0.1"))
    assert TestClient(app, base_url="http://127.0.0.1:8080").get("/readyz").status_code == 200
    assert TestClient(app, base_url="http://localhost:8080").get("/readyz").status_code == 200
    assert TestClient(app, base_url="http://rebound.example").get("/readyz").status_code == 400
    assert hosts_for("127.0.0.1") == LOOPBACK
    assert hosts_for("0.0.0.0") == ("*",)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_but_what_is_meant_to_can_be_changed_over_http(node: Node, method: str) -> None:
    node.receive_study()
    for path in ("/", "/peers", "/studies/1.2.3", "/api/v1/studies/1.2.3"):
        assert web(node).request(method, path).status_code == 405
