"""The study page with its pictures, its report and the volumes of its viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import FileResponse, Response

from dicom_node.app.queries import StudyDetail, study_detail
from dicom_node.app.viewing import STUDY, VOLUMES, viewer_folder
from dicom_node.core.account import Action, may
from dicom_node.web.accesses import note_access
from dicom_node.web.auth.gate import principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.guards import REPORT_POLICY
from dicom_node.web.rendering import page as _page
from dicom_node.web.shown import Leftovers, leftovers_of, shown_study
from dicom_node.web.viewer import LIBRARY, shown_viewer

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)


@router.get("/studies/{study_instance_uid}")
@needs(Action.LOOK)
def study(request: Request, study_instance_uid: str, part: str = "") -> Response:
    """Everything about one study, and why it stands where it stands; `part=standing` is how the page renews itself."""
    return study_page(request, study_instance_uid, is_renewal=part == "standing")


def study_page(
    request: Request,
    study_instance_uid: str,
    *,
    refused: str = "",
    status_code: int = 200,
    is_renewal: bool = False,
) -> Response:
    """The page; `refused` says why what was asked for was not done."""
    sources = _sources(request)
    with sources.unit_of_work() as uow:
        detail = study_detail(uow, study_instance_uid)
    if detail is None:
        return _page(request, "unknown_study.html", {"uid": study_instance_uid}, status_code=404)
    if not is_renewal:  # whoever is shown the page was recorded when it was opened
        note_access(request, detail.study)
    folder = sources.job_folder(detail.job.id) if detail.job else None
    left = leftovers_of(folder) if folder else Leftovers()
    shown = shown_study(detail)
    principal = principal_of(request)
    context = {
        "study": shown,
        "left": left,
        "viewer": shown_viewer(folder, shown.levels) if folder else None,
        "may_work": principal is not None and may(principal.role, Action.WORK_ON_STUDIES),
        "library": LIBRARY,
        "refused": refused,
    }
    return _page(request, "study.html", context, status_code=status_code)


@router.get("/studies/{study_instance_uid}/pictures/{name}")
@needs(Action.LOOK)
def picture(request: Request, study_instance_uid: str, name: str) -> Response:
    """A picture of the current revision's analysis."""
    detail = _known(request, study_instance_uid)
    for file in _left_by(request, detail).pictures:
        if file.name == name:
            return FileResponse(file, media_type="image/png")
    raise HTTPException(404, "no such picture")


@router.get("/studies/{study_instance_uid}/viewer/{name}")
@needs(Action.LOOK)
def viewer_file(request: Request, study_instance_uid: str, name: str) -> Response:
    """A file for the viewer, of the current revision's analysis: see `dicom_node.app.viewing`."""
    detail = _known(request, study_instance_uid)
    folder = viewer_folder(_sources(request).job_folder(detail.job.id)) if detail.job else None
    if folder is None or name not in (STUDY, *VOLUMES) or not (folder / name).is_file():
        raise HTTPException(404, "no such file")
    media_type = "application/json" if name == STUDY else "application/gzip"
    return FileResponse(folder / name, media_type=media_type)


@router.get("/studies/{study_instance_uid}/report")
@needs(Action.LOOK)
def report(request: Request, study_instance_uid: str) -> Response:
    """The HTML report of the current revision's analysis."""
    file = _left_by(request, _known(request, study_instance_uid)).report
    if file is None:
        raise HTTPException(404, "no report")
    return FileResponse(file, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def _known(request: Request, study_instance_uid: str) -> StudyDetail:
    with _sources(request).unit_of_work() as uow:
        detail = study_detail(uow, study_instance_uid)
    if detail is None or detail.job is None:
        raise HTTPException(404, "no such study")
    note_access(request, detail.study)
    return detail


def _left_by(request: Request, detail: StudyDetail) -> Leftovers:
    return leftovers_of(_sources(request).job_folder(detail.job.id)) if detail.job else Leftovers()


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
