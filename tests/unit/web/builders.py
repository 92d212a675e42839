"""A web application over an in-memory node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.app.ticks import TickReport
from dicom_node.observability import PrometheusCounters
from dicom_node.web.app import WebSources, create_app
from tests.unit.app.node import Node


def sources(node: Node, **changes: object) -> WebSources:
    """What the pages read of this node; its ticks are well."""
    plain = WebSources(
        unit_of_work=node.database.reading,
        clock=node.clock,
        health=lambda: (TickReport(name="close_studies", is_healthy=True, last_success_at=node.clock.at, failure=""),),
        peers=node.peers,
        counters_registry=PrometheusCounters().registry,
        job_folder=node.files.job_folder,
        ae_title="CSPINE_AI",
        version="1.2.3",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def web(node: Node, **changes: object) -> TestClient:
    """A browser for the node's pages."""
    return TestClient(app(node, **changes), raise_server_exceptions=False)


def app(node: Node, **changes: object) -> FastAPI:
    """The application of this node."""
    return create_app(sources(node, **changes))


def leave_pictures(node: Node, job_id: int, attempt: int = 1) -> Path:
    """What encoding leaves for people: pictures and a report."""
    folder = node.files.job_folder(job_id) / f"attempt-{attempt}" / "objects"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "sagittal.png").write_bytes(b"\x89PNG sagittal")
    (folder / "pictures" / "C2.png").write_bytes(b"\x89PNG C2")
    (folder / "report.html").write_text("<h1>Report</h1>")
    return folder
