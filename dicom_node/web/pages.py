"""The pages: node worklist, study, quarantine. Server-rendered; a script refreshes the worklist, unneeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import FileResponse, Response

from dicom_node.app.queries import list_worklist, study_detail
from dicom_node.core.account import Action
from dicom_node.core.worklist import WorklistState
from dicom_node.web.accesses import note_access, note_query
from dicom_node.web.auth.needs import needs
from dicom_node.web.guards import REPORT_POLICY
from dicom_node.web.rendering import page as _page
from dicom_node.web.shown import Leftovers, leftovers_of, shown_row, shown_study, urgency

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)

PAGE_LENGTH = 100


@router.get("/")
@needs(Action.LOOK)
def worklist(
    request: Request,
    status: WorklistState | None = None,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    part: str = "",
) -> Response:
    """The node worklist; `part=rows` is the table alone, for the refresh."""
    sources = _sources(request)
    with sources.unit_of_work() as uow:
        found = list_worklist(uow, limit=PAGE_LENGTH + 1, offset=(page - 1) * PAGE_LENGTH)
    if part != "rows":  # the page refreshes itself: whoever is shown it was recorded when it was opened
        note_query(request)
    rows = [shown_row(row) for row in found[:PAGE_LENGTH] if status is None or row.status.state is status]
    context = {
        "rows": sorted(rows, key=urgency),
        "states": list(WorklistState),
        "status": status,
        "page": page,
        "has_more": len(found) > PAGE_LENGTH,
    }
    return _page(request, "rows.html" if part == "rows" else "worklist.html", context)


@router.get("/studies/{study_instance_uid}")
@needs(Action.LOOK)
def study(request: Request, study_instance_uid: str) -> Response:
    """Everything about one study, and why it stands where it stands."""
    sources = _sources(request)
    with sources.unit_of_work() as uow:
        detail = study_detail(uow, study_instance_uid)
    if detail is None:
        return _page(request, "unknown_study.html", {"uid": study_instance_uid}, status_code=404)
    note_access(request, detail.study)
    left = leftovers_of(sources.job_folder(detail.job.id)) if detail.job else Leftovers()
    return _page(request, "study.html", {"study": shown_study(detail), "left": left})


@router.get("/studies/{study_instance_uid}/pictures/{name}")
@needs(Action.LOOK)
def picture(request: Request, study_instance_uid: str, name: str) -> Response:
    """A picture of the current revision's analysis."""
    for file in _left_by(request, study_instance_uid).pictures:
        if file.name == name:
            return FileResponse(file, media_type="image/png")
    raise HTTPException(404, "no such picture")


@router.get("/studies/{study_instance_uid}/report")
@needs(Action.LOOK)
def report(request: Request, study_instance_uid: str) -> Response:
    """The HTML report of the current revision's analysis."""
    file = _left_by(request, study_instance_uid).report
    if file is None:
        raise HTTPException(404, "no report")
    return FileResponse(file, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


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


def _left_by(request: Request, study_instance_uid: str) -> Leftovers:
    sources = _sources(request)
    with sources.unit_of_work() as uow:
        detail = study_detail(uow, study_instance_uid)
    if detail is None or detail.job is None:
        raise HTTPException(404, "no such study")
    note_access(request, detail.study)
    return leftovers_of(sources.job_folder(detail.job.id))


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
