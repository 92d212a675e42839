"""The web application: pages for people, JSON for scripts, health and metrics for whoever watches the node.

Everything is read; nothing here changes anything yet. There is no log-in, so the node listens on loopback unless told
otherwise, and then answers only requests that name a loopback host (a page elsewhere could otherwise read it through
DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dicom_node.app.audit_events import NoAudit
from dicom_node.app.ticks import TickReport
from dicom_node.ports import AuditLog, Clock, PeerDirectory, UnitOfWorkFactory
from dicom_node.web import api, operation, pages
from dicom_node.web.guards import IncidentGuard, SecurityHeaders

STATIC = Path(__file__).with_name("static")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


_NO_AUDIT = NoAudit()


@dataclass(frozen=True, kw_only=True)
class WebSources:
    """What the pages read. `unit_of_work` is never committed; `health` and `readiness` answer at once.

    `job_folder` is where a job's analysis and encoding leave their pictures and reports. `readiness` says of each
    thing the node needs why it cannot be had, empty where it can; `peers_problem` says why the configuration file as it stands is not in use.
    `audit` is told who was shown what.
    """

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    health: Callable[[], Iterable[TickReport]]
    peers: PeerDirectory
    counters_registry: CollectorRegistry
    job_folder: Callable[[int], Path]
    readiness: Callable[[], Mapping[str, str]] = lambda: {}
    peers_problem: Callable[[], str] = lambda: ""
    ae_title: str = ""
    version: str = ""
    audit: AuditLog = _NO_AUDIT


def create_app(sources: WebSources, *, allowed_hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The application on these sources; requests for other hosts than `allowed_hosts` are refused."""
    app = FastAPI(
        title="cspine-node",
        version=sources.version or "0",
        description="What this node received, what it found, and where the results are.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.sources = sources
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.include_router(operation.router)
    app.include_router(api.router)
    app.include_router(pages.router)
    # The last one added is the first to see a request.
    app.add_middleware(IncidentGuard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    app.add_middleware(SecurityHeaders)
    return app


def hosts_for(bound_to: str) -> tuple[str, ...]:
    """The hosts that requests may name, for the address the server listens on."""
    return LOOPBACK if bound_to in LOOPBACK else ("*",)
