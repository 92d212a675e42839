"""The page of quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from dicom_node.core.account import Action
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import page as _page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)

PAGE_LENGTH = 100


@router.get("/quarantine")
@needs(Action.LOOK)
def quarantine(request: Request, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    """What was set aside, why, and what became of it."""
    with _sources(request).unit_of_work() as uow:
        found = uow.quarantine.list(limit=PAGE_LENGTH + 1, offset=(page - 1) * PAGE_LENGTH)
        totals = uow.quarantine.totals()
        named = {entry.study_instance_uid for entry in found}
        known = {uid for uid in named if uid and uow.studies.get(uid) is not None}
    context = {
        "entries": found[:PAGE_LENGTH],
        "totals": totals,
        "known": known,
        "page": page,
        "has_more": len(found) > PAGE_LENGTH,
    }
    return _page(request, "quarantine.html", context)


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
