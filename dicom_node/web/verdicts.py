"""A reader's verdict on a study: the part of the study page, its form, and the same for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from dicom_node.app.operator_actions import ActionRefused, UnknownStudy
from dicom_node.app.verdicts import Judged, judged, verdict_json
from dicom_node.catalogues import N_
from dicom_node.core.account import Action, Principal
from dicom_node.core.finding import LEVELS
from dicom_node.core.verdict import LONGEST_NOTE, WHOLE
from dicom_node.web.accesses import note_access, note_verdict
from dicom_node.web.api_parts import CHANGES, api_router, refusals_as_answers
from dicom_node.web.auth.gate import form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.language import say
from dicom_node.web.rendering import add_part, page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)
api = api_router()

AGREE, DISAGREE = "agree", "disagree"
Level = Annotated[str, Field(max_length=8)]


class GivenVerdict(BaseModel):
    """Empty lists agree. `revision` is the one whose result was seen."""

    model_config = ConfigDict(extra="forbid")

    revision: int = Field(ge=0, le=2**31 - 1)
    false_positives: list[Level] = Field(default=[], max_length=8, description="Called, and not fractured.")
    missed: list[Level] = Field(default=[], max_length=8, description="Fractured, and not called.")
    note: str = Field(default="", max_length=LONGEST_NOTE)


def verdict_part(request: Request, study_instance_uid: str) -> Judged | None:
    """What `verdict.html` shows on whichever page includes it."""
    with _sources(request).unit_of_work() as uow:
        return judged(uow, study_instance_uid)


add_part("verdict_part", verdict_part)


@router.get("/studies/{study_instance_uid}/verdict")
@needs(Action.LOOK)
def verdict_page(request: Request, study_instance_uid: str) -> Response:
    """What readers said of the study, and the form for who may say something."""
    return _shown(request, study_instance_uid)


@router.post("/studies/{study_instance_uid}/verdict")
@needs(Action.JUDGE)
def give_verdict(request: Request, study_instance_uid: str) -> Response:
    """The verdict is kept, and the study page shows it; or why it cannot be one."""
    form = form_of(request)
    false_positives = [level for level in (*LEVELS, WHOLE) if f"false_positive_{level}" in form]
    missed = [level for level in LEVELS if f"missed_{level}" in form]
    why_not = _why_not_one(form, has_levels=bool(false_positives or missed))
    if why_not:
        return _shown(request, study_instance_uid, why=say(why_not), status_code=422)
    try:
        given = _sources(request).verdicts.give(
            study_instance_uid,
            revision=int(form["revision"]),
            false_positives=false_positives,
            missed=missed,
            remark=form.get("note", ""),
            reader=_reader(request).name,
        )
    except UnknownStudy:
        return _shown(request, study_instance_uid)
    except ActionRefused as refused:
        return _shown(request, study_instance_uid, why=str(refused), status_code=409)
    _noted(request, given.study_instance_uid)
    return RedirectResponse(f"/studies/{study_instance_uid}#verdict", 303)


@api.get(
    "/studies/{study_instance_uid}/verdicts",
    summary="What readers said of a study's results, the newest first",
    responses={404: {"description": "The node does not know this study."}},
)
@needs(Action.LOOK)
def verdicts(request: Request, study_instance_uid: str) -> list[dict[str, Any]]:
    """Each verdict with what was called when it was given. The first one on the current revision counts."""
    found = verdict_part(request, study_instance_uid)
    if found is None:
        raise HTTPException(404, "this node has never received the study")
    note_access(request, found.study)
    return [verdict_json(verdict) for verdict in found.verdicts]


@api.post(
    "/studies/{study_instance_uid}/verdicts",
    status_code=201,
    summary="Give a verdict on the result of a revision",
    responses=CHANGES,
)
@needs(Action.JUDGE)
def add_verdict(request: Request, study_instance_uid: str, given: GivenVerdict) -> dict[str, Any]:
    """It takes the place of the one before, which stays to be read."""
    with refusals_as_answers():
        kept = _sources(request).verdicts.give(
            study_instance_uid,
            revision=given.revision,
            false_positives=given.false_positives,
            missed=given.missed,
            remark=given.note,
            reader=_reader(request).name,
        )
    _noted(request, study_instance_uid)
    return verdict_json(kept)


def _why_not_one(form: dict[str, str], *, has_levels: bool) -> str:
    choice, revision = form.get("verdict", ""), form.get("revision", "")
    if choice not in (AGREE, DISAGREE) or not (revision.isascii() and revision.isdigit() and len(revision) <= 9):
        return N_("Say whether you agree.")
    if choice == AGREE and has_levels:
        return N_("You agree and name levels: it can only be one of the two.")
    if choice == DISAGREE and not has_levels:
        return N_("Name at least one level that is wrong.")
    return ""


def _shown(request: Request, study_instance_uid: str, *, why: str = "", status_code: int = 200) -> Response:
    found = verdict_part(request, study_instance_uid)
    if found is None:
        return page(request, "unknown_study.html", {"uid": study_instance_uid}, 404)
    note_access(request, found.study)
    context = {"study": found.study, "judged_uid": study_instance_uid, "verdict_why": why}
    return page(request, "verdict_page.html", context, status_code)


def _noted(request: Request, study_instance_uid: str) -> None:
    with _sources(request).unit_of_work() as uow:
        study = uow.studies.get(study_instance_uid)
    if study is not None:
        note_verdict(request, study)


def _reader(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None  # the gate lets nobody else through
    return principal


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
