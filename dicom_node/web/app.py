"""The web application: pages for people, JSON for scripts, health and metrics for whoever watches the node.

Nothing is reached without a role that may: every route declares what it does, and the gate before them lets through
who may do that (`web/auth`). On loopback the node answers only requests that name a loopback host (a page elsewhere
could otherwise come here through DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from dicom_node.app.accounts import Accounts
from dicom_node.app.audit_events import NoAudit
from dicom_node.app.manage_peers import ManagePeers
from dicom_node.app.operator_actions import OperatorActions
from dicom_node.app.quarantine import Quarantine
from dicom_node.app.system import ConfiguredValue, Surroundings
from dicom_node.app.ticks import TickReport
from dicom_node.app.verdicts import Verdicts
from dicom_node.ports import AuditLog, Clock, PeerDirectory, UnitOfWorkFactory
from dicom_node.web import (
    accounts,
    api,
    api_peers,
    api_studies,
    deliveries,
    operation,
    peers,
    peers_edit,
    quality,
    quarantine,
    study,
    study_actions,
    system,
    verdicts,
    worklist,
)
from dicom_node.web.auth import pages as auth_pages
from dicom_node.web.auth.gate import Gate, Keys
from dicom_node.web.auth.needs import declared_routes
from dicom_node.web.guards import IncidentGuard, SecurityHeaders
from dicom_node.web.rendering import refusal

_PARTS = (verdicts, quality, deliveries, quarantine, system, accounts)
ROUTERS = (
    operation.router,
    api.router,
    api_peers.router,
    api_studies.router,
    *(part.api for part in _PARTS),
    auth_pages.router,
    *(part.router for part in _PARTS),
    worklist.router,
    study.router,
    study_actions.router,
    peers.router,
    peers_edit.router,
)
STATIC = Path(__file__).with_name("static")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


_NO_AUDIT = NoAudit()


@dataclass(frozen=True, kw_only=True)
class WebSources:
    """What the pages read. `unit_of_work` is never committed; `health` and `readiness` answer at once.

    `keys` say who somebody is; `operator`, `quarantine`, `verdicts` and `accounts` change something. `surroundings` and
    `configuration` tell of the node itself. `job_folder` is where a job's analysis and encoding leave their pictures
    and reports.
    `readiness` says of each thing the node needs why it cannot be had, empty where it can; `peers_problem` says why
    the configuration file as it stands is not in use; `manage_peers` changes it, None where there is no file. Images
    come to `receiver_host` at `receiver_ports`, without and with TLS, 0 where there is none. `audit` is told
    who was shown what.
    """

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    health: Callable[[], Iterable[TickReport]]
    peers: PeerDirectory
    counters_registry: CollectorRegistry
    job_folder: Callable[[int], Path]
    keys: Keys
    operator: OperatorActions
    quarantine: Quarantine
    verdicts: Verdicts
    accounts: Accounts
    surroundings: Callable[[], Surroundings] = Surroundings
    configuration: Callable[[], tuple[ConfiguredValue, ...]] = tuple
    readiness: Callable[[], Mapping[str, str]] = dict
    peers_problem: Callable[[], str] = lambda: ""
    receiver_host: str = ""
    receiver_ports: Callable[[], tuple[int, int]] = lambda: (0, 0)
    ae_title: str = ""
    version: str = ""
    audit: AuditLog = _NO_AUDIT
    manage_peers: ManagePeers | None = None


class KeptStatic(StaticFiles):
    """Static files that a browser keeps, and asks for each time whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def create_app(sources: WebSources, *, allowed_hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The application on these sources; requests for other hosts than `allowed_hosts` are refused.

    Raises TypeError where a route does not say who may use it.
    """
    app = FastAPI(
        title="cspine-node",
        version=sources.version or "0",
        description="What this node received, what it found, and where the results are.",
        openapi_url=None,  # a route of the API like the others, for who may look
        docs_url=None,
        redoc_url=None,
    )
    app.state.sources = sources
    app.mount("/static", KeptStatic(directory=STATIC), name="static")
    for router in ROUTERS:
        app.include_router(router)
    # The last one added is the first to see a request.
    app.add_middleware(
        Gate,
        routes=declared_routes(ROUTERS),
        keys=sources.keys,
        audit=sources.audit,
        clock=sources.clock,
        show=refusal,
        ae_title=sources.ae_title,
    )
    app.add_middleware(IncidentGuard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    app.add_middleware(SecurityHeaders)
    return app


def hosts_for(bound_to: str, public_host: str = "") -> tuple[str, ...]:
    """The hosts that requests may name, for the address the server listens on and the name it is known by."""
    if bound_to not in LOOPBACK:
        return ("*",)
    return (*LOOPBACK, public_host) if public_host else LOOPBACK
