"""/api/v1/peers: AE-title administration for scripts, by the same writer and the same rules as the page.

Whoever changes something says which text of the file it is meant for: `If-Match` with the ETag of an earlier answer.
Where the file has changed since, the answer is 412 with what changed; without the header it is 428.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Path, Query, Request, Response
from fastapi.security import HTTPBearer

from dicom_node.app.manage_peers import (
    AddPeer,
    ChangePeer,
    EditRefused,
    FileChange,
    KeptVersion,
    NoSuchPeer,
    PeerEdit,
    PeersChanged,
    RemovePeer,
    RestoreVersion,
)
from dicom_node.core.account import Action
from dicom_node.core.peer_test import trial_json
from dicom_node.web.auth.gate import address_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.peers_shared import management, sources_of

router = APIRouter(
    prefix="/api/v1",
    tags=["peers"],
    dependencies=[Depends(HTTPBearer(auto_error=False))],
    responses={
        401: {"description": "Neither token nor log-in."},
        403: {"description": "The account's role may not."},
        404: {"description": "There is no such peer or version, or the node has no configuration file."},
    },
)
CHANGES: dict[int | str, dict[str, Any]] = {
    412: {"description": "The file has changed since; `diff` says how."},
    422: {"description": "The file would be wrong with the edit; nothing was changed."},
    428: {"description": "Without If-Match."},
}

Keys = Annotated[
    dict[str, str | bool | int | float | list[str] | None],
    Body(description="Keys of a peer, as in docs/CONFIGURATION.md; null takes a key out."),
]
Named = Annotated[str, Path(max_length=200, description="The peer's name.")]
_MEANT_FOR = "The ETag of the text that the edit is meant for, or *."
IfMatch = Annotated[str, Header(max_length=200, pattern=r"\S", description=_MEANT_FOR)]
# Described as what it is, which is needed; it may be missing here so that the answer is 428 (RFC 6585) and not 422.
NeededIfMatch = Annotated[str, Header(alias="If-Match", max_length=200, include_in_schema=False)]
NEEDS_IF_MATCH = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": _MEANT_FOR,
            "schema": {"type": "string", "maxLength": 200, "pattern": r"\S"},
        }
    ]
}
DryRun = Annotated[bool, Query(description="Say what would change, and change nothing.")]


@router.get("/peers", summary="The configured peers as they are now")
@needs(Action.LOOK)
def peers(request: Request, response: Response) -> dict[str, Any]:
    """`peers` are those in use, `written` what the file gives of each; `problem` says why the file as it stands is not
    in use, and is empty where it is. The ETag is for If-Match.
    """
    sources = sources_of(request)
    found: dict[str, Any] = {
        "peers": [asdict(peer) for peer in sources.peers.peers()],
        "problem": sources.peers_problem(),
        "written": [],
    }
    if sources.manage_peers is not None:
        text = sources.manage_peers.book.text()
        response.headers["ETag"] = f'"{text.token}"'
        found["written"] = [dict(peer) for peer in text.peers]
    return found


@router.post("/peers", summary="One more peer", responses=CHANGES, status_code=201)
@needs(Action.EDIT_PEERS)
def add(
    request: Request, response: Response, values: Keys, if_match: IfMatch = "*", dry_run: DryRun = False
) -> dict[str, Any]:
    """Whatever is not given has its default. If-Match may be left out: nothing of somebody else's is overwritten."""
    return _done(request, response, AddPeer(values=values), if_match, dry_run)


@router.put("/peers/{name}", summary="A peer with exactly these keys", responses=CHANGES, openapi_extra=NEEDS_IF_MATCH)
@needs(Action.EDIT_PEERS)
def replace(
    request: Request,
    response: Response,
    name: Named,
    values: Keys,
    if_match: NeededIfMatch = "",
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Keys that are not given are taken out and have their defaults; the name stays where none is given."""
    with _refusals(request):
        present = management(request).book.text().of(name)
    changes = {key: None for key in present if key != "name"} | values
    return _done(request, response, ChangePeer(name=name, changes=changes), if_match, dry_run)


@router.patch("/peers/{name}", summary="Some keys of a peer", responses=CHANGES, openapi_extra=NEEDS_IF_MATCH)
@needs(Action.EDIT_PEERS)
def change(
    request: Request,
    response: Response,
    name: Named,
    values: Keys,
    if_match: NeededIfMatch = "",
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Keys that are not given stay as they are."""
    return _done(request, response, ChangePeer(name=name, changes=values), if_match, dry_run)


@router.delete("/peers/{name}", summary="One peer less", responses=CHANGES, openapi_extra=NEEDS_IF_MATCH)
@needs(Action.EDIT_PEERS)
def remove(
    request: Request, response: Response, name: Named, if_match: NeededIfMatch = "", dry_run: DryRun = False
) -> dict[str, Any]:
    """Open associations go on; what waits for the peer finds no receiver any more."""
    return _done(request, response, RemovePeer(name=name), if_match, dry_run)


@router.post("/peers/test", summary="Try a peer that is not configured", responses={422: CHANGES[422]})
@needs(Action.EDIT_PEERS)
def try_values(request: Request, values: Keys) -> dict[str, object]:
    """C-ECHO, and an offer of our objects; nothing is written here or there."""
    with _refusals(request):
        tested = management(request).try_edited(AddPeer(values=values))
        if tested is None:
            raise NoSuchPeer("a peer has a name", key="name")
        return trial_json(tested)


@router.post("/peers/{name}/test", summary="Try a peer", responses={422: CHANGES[422]})
@needs(Action.TEST_PEERS)
def try_named(request: Request, name: Named) -> dict[str, object]:
    """C-ECHO, and an offer of our objects: which presentation contexts it accepts. Nothing is sent to be kept."""
    with _refusals(request):
        return trial_json(management(request).try_named(name))


@router.get("/peers/history", summary="Every earlier version of the file, newest first")
@needs(Action.LOOK)
def history(request: Request) -> list[dict[str, Any]]:
    """Who replaced it, when, and by what."""
    return [_version_json(version) for version in management(request).book.history()]


@router.get("/peers/history/{version}", summary="What one change did")
@needs(Action.LOOK)
def version(request: Request, version: Annotated[str, Path(max_length=200)]) -> dict[str, str]:
    """As a unified diff."""
    with _refusals(request):
        return {"id": version, "diff": management(request).book.diff_of(version)}


@router.post(
    "/peers/rollback", summary="Go back to an earlier version", responses=CHANGES, openapi_extra=NEEDS_IF_MATCH
)
@needs(Action.EDIT_PEERS)
def rollback(
    request: Request,
    response: Response,
    version: Annotated[str, Body(embed=True, max_length=200, description='Of the history, or "last-good".')],
    if_match: NeededIfMatch = "",
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """The whole file is as it was before that change; the present text becomes a version itself."""
    return _done(request, response, RestoreVersion(version=version), if_match, dry_run)


@contextmanager
def _refusals(request: Request, token: str = "") -> Iterator[None]:
    """The use case's refusals as answers, with what somebody else has changed where that is the reason."""
    try:
        yield
    except PeersChanged as error:
        since = management(request).book.diff_since(token) or ""
        raise HTTPException(412, {"message": str(error), "diff": since}) from None
    except EditRefused as error:
        status = 404 if isinstance(error, NoSuchPeer) else 422
        raise HTTPException(status, {"message": str(error), "key": error.key}) from None


def _done(request: Request, response: Response, edit: PeerEdit, if_match: str, dry_run: bool) -> dict[str, Any]:
    if not if_match:
        raise HTTPException(428, "say which text of the file is meant: If-Match with the ETag of GET /api/v1/peers")
    token = if_match.removeprefix("W/").strip('"')
    wanted = None if if_match == "*" else token
    manage, principal = management(request), principal_of(request)
    with _refusals(request, token):
        if dry_run:
            change = manage.preview(edit, token=wanted)
        else:
            who = principal.name if principal else ""
            change = manage.apply(edit, who=who, address=address_of(request), token=wanted)
    response.headers["ETag"] = f'"{change.base if dry_run else change.digest}"'
    if dry_run:
        response.status_code = 200
    return _change_json(change)


def _change_json(change: FileChange) -> dict[str, Any]:
    return {"version": change.version, "diff": change.diff, "digest": change.digest, "words": list(change.words)}


def _version_json(version: KeptVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "at": version.at,
        "who": version.who,
        "address": version.address,
        "action": version.action,
        "words": list(version.words),
    }
