"""For whoever watches the node: /healthz, /readyz, /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from dicom_node.core.account import Action
from dicom_node.core.errors import NodeError
from dicom_node.web.auth.needs import needs

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter()


@router.get("/healthz", summary="Does the node still do its work?", responses={503: {"description": "It does not."}})
@needs(Action.WATCH_HEALTH)
def healthz(request: Request) -> Any:
    """200 while every tick succeeds often enough, else 503; the ticks one by one either way."""
    reports = list(_sources(request).health())
    is_healthy = all(report.is_healthy for report in reports)
    ticks = {
        report.name: {
            "healthy": report.is_healthy,
            "last_success_at": report.last_success_at.isoformat() if report.last_success_at else None,
            "failure": report.failure,
        }
        for report in reports
    }
    return JSONResponse({"healthy": is_healthy, "ticks": ticks}, status_code=200 if is_healthy else 503)


@router.get("/readyz", summary="Can the node take work now?", responses={503: {"description": "It cannot."}})
@needs(Action.WATCH_HEALTH)
def readyz(request: Request) -> Any:
    """200 while associations can be taken: the database answers, there is space, the receiver listens. Else 503."""
    sources = _sources(request)
    problems = dict(sources.readiness())
    problems["database"] = problems.get("database") or _database_problem(sources)
    why_not = "; ".join(problem for problem in problems.values() if problem)
    checks = {name: problem or "ok" for name, problem in problems.items()}
    return JSONResponse({"ready": not why_not, "why": why_not, "checks": checks}, status_code=503 if why_not else 200)


@router.get("/metrics", include_in_schema=False)
@needs(Action.READ_METRICS)
def metrics(request: Request) -> Response:
    """Prometheus text format."""
    page = generate_latest(_sources(request).counters_registry)
    return Response(page, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _database_problem(sources: WebSources) -> str:
    try:
        with sources.unit_of_work() as uow:
            uow.studies.list(limit=1)
    except NodeError:
        # Its words may name a file or a host, and who asks here need not have logged in.
        return "the database does not answer"
    return ""


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
