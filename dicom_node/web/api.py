"""/api/v1: what the pages show, as JSON. The keys are those of the command line's --json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request

from dicom_node.app.queries import study_detail, worklist_page
from dicom_node.core.account import Action
from dicom_node.web.accesses import note_access, note_query
from dicom_node.web.api_parts import Limit, Offset, api_router
from dicom_node.web.auth.needs import needs
from dicom_node.web.worklist import Asked, asked

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dicom_node.web.app import WebSources

router = api_router()


@router.get("/studies", summary="The node worklist, in its order")
@needs(Action.LOOK)
def studies(
    request: Request, asked: Annotated[Asked, Depends(asked)], limit: Limit = 100, offset: Offset = 0
) -> list[dict[str, Any]]:
    """Studies with the one word for where they stand: suspected fractures first, then what is not finished and has
    waited longest, then the rest, the newest first. `q` is looked for in patient name and ID, accession number and
    Study Instance UID; `from` and `to` are days (UTC) of the last image; `source` is a calling AE title."""
    with _sources(request).unit_of_work() as uow:
        rows = worklist_page(uow, asked.wanted, limit=limit, offset=offset)
    note_query(request)
    return [row.as_json() for row in rows]


@router.get(
    "/studies/{study_instance_uid}",
    summary="One study in full",
    responses={404: {"description": "The node does not know this study."}},
)
@needs(Action.LOOK)
def study(request: Request, study_instance_uid: str) -> dict[str, Any]:
    """Series, jobs, deliveries, history, and the contract's result.json under `result`."""
    with _sources(request).unit_of_work() as uow:
        detail = study_detail(uow, study_instance_uid)
    if detail is None:
        raise HTTPException(404, "this node has never received the study")
    note_access(request, detail.study)
    return detail.as_json()


@router.get("/openapi.json", include_in_schema=False)
@needs(Action.LOOK)
def description(request: Request) -> dict[str, Any]:
    """This API as an OpenAPI document."""
    application: FastAPI = request.app
    return application.openapi()


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
