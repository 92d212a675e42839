"""How the node itself is, and what it is configured with: pages and API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from dicom_node.app.system import SystemReport, configuration_json, system_report
from dicom_node.core.account import Action
from dicom_node.web.api_parts import api_router
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)
api = api_router()


@router.get("/system")
@needs(Action.LOOK)
def system_page(request: Request) -> Response:
    """Disk, queue, GPU, model, drift, versions, times, certificates, audit, backup."""
    return page(request, "system.html", {"report": _report(request), "ticks": list(_sources(request).health())})


@router.get("/system/configuration")
@needs(Action.READ_CONFIGURATION)
def configuration_page(request: Request) -> Response:
    """Each value with where it came from; what is secret is hidden."""
    return page(request, "configuration.html", {"values": _sources(request).configuration()})


@api.get("/system", summary="How the node itself is")
@needs(Action.LOOK)
def system(request: Request) -> dict[str, Any]:
    """What cannot be said now is null. `/metrics` has the same and more for Prometheus."""
    return _report(request).as_json()


@api.get("/system/configuration", summary="What the node runs with, without secrets")
@needs(Action.READ_CONFIGURATION)
def configuration(request: Request) -> list[dict[str, str]]:
    """`source` is default, a line of the file, an environment variable or the command line."""
    return configuration_json(_sources(request).configuration())


def _report(request: Request) -> SystemReport:
    sources = _sources(request)
    around = sources.surroundings()
    with sources.unit_of_work() as uow:
        return system_report(uow, around, at=sources.clock.now())


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
