"""A web application over an in-memory node, and somebody who is logged in there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.app.accounts import Accounts
from dicom_node.app.audit_events import NoAudit
from dicom_node.app.log_in import LoggedIn, LogIn
from dicom_node.app.log_in_limits import LogInLimits
from dicom_node.app.ticks import TickReport
from dicom_node.app.verdicts import Verdicts
from dicom_node.core.account import Role, SessionPolicy
from dicom_node.observability import PrometheusCounters
from dicom_node.web.app import WebSources, create_app
from dicom_node.web.auth.browser import BrowserRules
from dicom_node.web.auth.gate import Keys, MetricsRules
from dicom_node.web.auth.passwords import Argon2Hasher
from tests.unit.app.node import Node

IDLE_S, ABSOLUTE_S = 600.0, 3600.0
PASSWORD = "a long enough one"
HASHER = Argon2Hasher(time_cost=1, memory_kib=8, parallelism=1)


def accounts(node: Node) -> Accounts:
    """Administration of this node's accounts."""
    return Accounts(uow_factory=node.database.unit_of_work, clock=node.clock, hasher=HASHER)


def keys(node: Node, **changes: Any) -> Keys:
    """Who somebody is on this node; nobody reads the metrics without an account."""
    log_in: dict[str, Any] = {
        "uow_factory": node.database.unit_of_work,
        "reading": node.database.reading,
        "clock": node.clock,
        "hasher": HASHER,
        "policy": SessionPolicy(idle_s=IDLE_S, absolute_s=ABSOLUTE_S),
        "limits": LogInLimits(per_account=3, per_address=6, within_s=900.0),
        "audit": NoAudit(),
    }
    browser = changes.pop("browser", BrowserRules())
    metrics = changes.pop("metrics", MetricsRules(from_loopback=False))
    provider = changes.pop("provider", None)
    return Keys(log_in=LogIn(**log_in | changes), browser=browser, metrics=metrics, provider=provider)


def sources(node: Node, **changes: object) -> WebSources:
    """What the pages read of this node; its ticks are well."""
    plain = WebSources(
        unit_of_work=node.database.reading,
        clock=node.clock,
        health=lambda: (TickReport(name="close_studies", is_healthy=True, last_success_at=node.clock.at, failure=""),),
        peers=node.peers,
        counters_registry=PrometheusCounters().registry,
        job_folder=node.files.job_folder,
        keys=keys(node),
        operator=node.operator,
        quarantine=node.quarantine,
        verdicts=Verdicts(uow_factory=node.uow, clock=node.clock),
        accounts=accounts(node),
        ae_title="CSPINE_AI",
        version="1.2.3",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def web(node: Node, role: Role | None = Role.VIEWER, **changes: object) -> TestClient:
    """A browser for the node's pages, of somebody who is logged in; with None, of nobody."""
    browser = TestClient(app(node, **changes), raise_server_exceptions=False)
    if role is not None:
        browser.cookies.set("cspine_session", session(node, role))
    return browser


def session(node: Node, role: Role) -> str:
    """The secret of a session of an account that is called like its role."""
    if not any(account.name == role.value for account in accounts(node).list()):
        accounts(node).add(role.value, role, PASSWORD, actor="a test")
    logged_in = keys(node).log_in.by_password(role.value, PASSWORD, address="127.0.0.1")
    assert isinstance(logged_in, LoggedIn)
    return logged_in.secret


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
