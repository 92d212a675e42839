"""Files that were set aside: the list, one of them with the evidence, and the decision about it; and the same for
scripts. Nothing is decided in one step: `/quarantine/{id}/release` and `.../discard` say first what would happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from dicom_node.app.operator_actions import ActionRefused
from dicom_node.app.quarantine import ForeseenRelease, Quarantine, UnknownQuarantine
from dicom_node.app.quarantine_detail import QuarantineDetail
from dicom_node.app.queries import quarantine_json
from dicom_node.catalogues import N_
from dicom_node.core.account import Action
from dicom_node.core.errors import StorageConflict, StorageUnavailable
from dicom_node.core.quarantine import QuarantinedFile, QuarantineState
from dicom_node.web.accesses import note_access, note_decision
from dicom_node.web.api_parts import CHANGES, Limit, Offset, api_router, refusals_as_answers
from dicom_node.web.auth.gate import form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import page, refusal

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)
api = api_router()

PAGE_LENGTH = 100
LONGEST_REASON = 200
BUSY = N_("Disk or database do not take it now. Nothing was changed.")
_DECISIONS: dict[str, Callable[..., QuarantinedFile]] = {"release": Quarantine.release, "discard": Quarantine.discard}

EntryId = Annotated[int, InPath(ge=1, le=2**62, description="As `/quarantine` says.")]
_KNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no file of this number in quarantine."}}
_DECIDED: dict[int | str, dict[str, Any]] = CHANGES | _KNOWN | {503: {"description": BUSY}}


class Decision(BaseModel):
    """Why, for the history; may be left out."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=LONGEST_REASON)


@router.get("/quarantine")
@needs(Action.LOOK)
def quarantine(request: Request, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    """What was set aside, why, and what became of it."""
    return _list_page(request, page)


@router.get("/quarantine/{entry_id}")
@needs(Action.LOOK)
def entry(request: Request, entry_id: EntryId) -> Response:
    """One file: why it is here, what it is, what it contradicts, what became of it."""
    return _entry_page(request, entry_id)


@router.get("/quarantine/{entry_id}/{act}")
@needs(Action.WORK_ON_STUDIES)
def confirm(request: Request, entry_id: EntryId, act: str) -> Response:
    """What the decision would do, and the button that does it."""
    _require_decision(act)
    use = _sources(request).quarantine
    try:
        foreseen = use.foresee_release(entry_id) if act == "release" else None
        if foreseen is None:
            use.foresee_discard(entry_id)
    except UnknownQuarantine as unknown:
        return refusal(request, 404, str(unknown))
    except ActionRefused as refused:
        return _entry_page(request, entry_id, why=str(refused), status_code=409)
    return _entry_page(request, entry_id, act=act, foreseen=foreseen)


@router.post("/quarantine/{entry_id}/{act}")
@needs(Action.WORK_ON_STUDIES)
def decide(request: Request, entry_id: EntryId, act: str) -> Response:
    """The file is taken in or removed, and its page says so; or why it was not."""
    _require_decision(act)
    reason = form_of(request).get("reason", "").strip()[:LONGEST_REASON]
    try:
        _decide(request, act, entry_id, reason)
    except UnknownQuarantine as unknown:
        return refusal(request, 404, str(unknown))
    except (ActionRefused, StorageConflict) as refused:
        return _entry_page(request, entry_id, why=str(refused), status_code=409)
    except StorageUnavailable:
        return refusal(request, 503, BUSY)
    return RedirectResponse(f"/quarantine/{entry_id}", 303)


@api.get("/quarantine", summary="What was set aside and why, newest first")
@needs(Action.LOOK)
def files(
    request: Request, state: QuarantineState | None = None, limit: Limit = 100, offset: Offset = 0
) -> list[dict[str, Any]]:
    """Each file with its reason, and with what became of it; `state` narrows to those that wait or are settled."""
    states = None if state is None else [state]
    with _sources(request).unit_of_work() as uow:
        return [quarantine_json(each) for each in uow.quarantine.list(states=states, limit=limit, offset=offset)]


@api.get("/quarantine/{entry_id}", summary="One file that was set aside, with the evidence", responses=_KNOWN)
@needs(Action.LOOK)
def file(request: Request, entry_id: EntryId) -> dict[str, Any]:
    """As in the list, with its `history`, and under `held` the instance of the same UID that the node holds now."""
    with refusals_as_answers():
        return _looked_at(request, entry_id).as_json()


@api.post("/quarantine/{entry_id}/release", summary="Take a file in that was set aside", responses=_DECIDED)
@needs(Action.WORK_ON_STUDIES)
def release(request: Request, entry_id: EntryId, decision: Decision | None = None) -> dict[str, Any]:
    """It is an instance of its study from then on, in a new revision; one whose place it takes goes into quarantine
    itself. Answers with the file."""
    return _decided_for_script(request, "release", entry_id, decision)


@api.post("/quarantine/{entry_id}/discard", summary="Remove a file that was set aside", responses=_DECIDED)
@needs(Action.WORK_ON_STUDIES)
def discard(request: Request, entry_id: EntryId, decision: Decision | None = None) -> dict[str, Any]:
    """It is gone for good; that it was there stays noted. Answers with the file."""
    return _decided_for_script(request, "discard", entry_id, decision)


def _require_decision(act: str) -> None:
    if act not in _DECISIONS:
        raise HTTPException(404, "there is no such action")


def _decide(request: Request, act: str, entry_id: int, reason: str) -> QuarantinedFile:
    sources, principal = _sources(request), principal_of(request)
    settled = _DECISIONS[act](sources.quarantine, entry_id, actor=principal.name if principal else "", reason=reason)
    note_decision(request, settled)
    return settled


def _decided_for_script(request: Request, act: str, entry_id: int, decision: Decision | None) -> dict[str, Any]:
    reason = (decision or Decision()).reason.strip()
    with refusals_as_answers(), _storage_as_answers():
        return quarantine_json(_decide(request, act, entry_id, reason))


@contextmanager
def _storage_as_answers() -> Iterator[None]:
    try:
        yield
    except StorageConflict as conflict:
        raise HTTPException(409, str(conflict)) from None
    except StorageUnavailable:
        raise HTTPException(503, BUSY) from None


def _looked_at(request: Request, entry_id: int) -> QuarantineDetail:
    """Raises UnknownQuarantine. Who looked is recorded where it is known whose images these are."""
    detail = _sources(request).quarantine.detail(entry_id)
    if detail.study is not None:
        note_access(request, detail.study)
    return detail


def _entry_page(
    request: Request,
    entry_id: int,
    *,
    act: str = "",
    foreseen: ForeseenRelease | None = None,
    why: str = "",
    status_code: int = 200,
) -> Response:
    try:
        detail = _looked_at(request, entry_id)
    except UnknownQuarantine as unknown:
        return refusal(request, 404, str(unknown))
    context = {"detail": detail, "entry": detail.entry, "act": act, "foreseen": foreseen, "why": why}
    return page(request, "quarantine_entry.html", context | {"longest_reason": LONGEST_REASON}, status_code)


def _list_page(request: Request, number: int) -> Response:
    with _sources(request).unit_of_work() as uow:
        found = uow.quarantine.list(limit=PAGE_LENGTH + 1, offset=(number - 1) * PAGE_LENGTH)
        totals = uow.quarantine.totals()
        named = {each.study_instance_uid for each in found}
        known = {uid for uid in named if uid and uow.studies.get(uid) is not None}
    context = {
        "entries": found[:PAGE_LENGTH],
        "totals": totals,
        "known": known,
        "page": number,
        "has_more": len(found) > PAGE_LENGTH,
    }
    return page(request, "quarantine.html", context)


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
