"""The pages that change peers: add, edit, remove, roll back.

Every page works without a script. A form goes through three steps under one address: `form` (fill it in), `review`
(what it would do to the file, and what the peer says to a test), `apply`. Between them the text that the form was made
for travels as `token`: where the file has changed since, the page shows what somebody else did first (409). `base` is
the text that the values in the form came from, also when `token` has moved on to a newer one: what is different from
that was touched, and nothing else is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from dicom_node.app.manage_peers import (
    AddPeer,
    ChangePeer,
    EditRefused,
    NoSuchPeer,
    PeerEdit,
    PeersChanged,
    PeersText,
    RemovePeer,
    RestoreVersion,
    Value,
)
from dicom_node.app.peer_words import differing, form_values, without_defaults
from dicom_node.core.account import Action
from dicom_node.web.auth.gate import address_of, form_of, principal_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.peer_forms import diff_lines, groups, hidden
from dicom_node.web.peers_shared import Name, management, peers_page, refused_page, waits_for

router = APIRouter(include_in_schema=False)

LAST_GOOD = "last-good"
_STEERING = ("step", "token", "base", "csrf_token")
MakeEdit = Callable[[PeersText, dict[str, Value]], PeerEdit]


@router.get("/peers/new")
@needs(Action.EDIT_PEERS)
def new(request: Request) -> Response:
    """An empty form."""
    text = management(request).book.text()
    return _form_page(request, "new", "", text.token, {"receives_results": False}, problem=text.problem)


@router.post("/peers/new")
@needs(Action.EDIT_PEERS)
def add(request: Request) -> Response:
    """The steps of one more peer."""
    fields = management(request).book.fields
    return _steps(request, "new", "", lambda base, values: AddPeer(values=without_defaults(fields, values)))


@router.get("/peers/edit")
@needs(Action.EDIT_PEERS)
def edit(request: Request, name: Name) -> Response:
    """The form of a peer, as the file has it."""
    text = management(request).book.text()
    try:
        return _form_page(request, "edit", name, text.token, dict(text.of(name)))
    except NoSuchPeer as refused:
        return refused_page(request, refused, text.problem)


@router.post("/peers/edit")
@needs(Action.EDIT_PEERS)
def change(request: Request) -> Response:
    """The steps of another state of a peer. What was not touched in the form stays as somebody else may have set it."""
    name, fields = form_of(request).get("peer", ""), management(request).book.fields

    def edit_of(base: PeersText, values: dict[str, Value]) -> PeerEdit:
        return ChangePeer(name=name, changes=differing(fields, base.of(name), values))

    return _steps(request, "edit", name, edit_of)


@router.get("/peers/remove")
@needs(Action.EDIT_PEERS)
def removal(request: Request, name: Name) -> Response:
    """What the removal would do."""
    return _confirm(request, "remove", RemovePeer(name=name), management(request).book.text().token, {"peer": name})


@router.post("/peers/remove")
@needs(Action.EDIT_PEERS)
def remove(request: Request) -> Response:
    """One peer less."""
    form = form_of(request)
    return _apply(request, "remove", RemovePeer(name=form.get("peer", "")), form.get("token", ""))


@router.get("/peers/version")
@needs(Action.LOOK)
def version(request: Request, id: Name) -> Response:
    """What one change did, and for an admin what it would mean to go back behind it."""
    return _confirm(request, "restore", RestoreVersion(version=id), management(request).book.text().token, {"id": id})


@router.post("/peers/restore")
@needs(Action.EDIT_PEERS)
def restore(request: Request) -> Response:
    """The file is as it was before that change."""
    form = form_of(request)
    return _apply(request, "restore", RestoreVersion(version=form.get("id", "")), form.get("token", ""))


def _steps(request: Request, kind: str, name: str, edit_of: MakeEdit) -> Response:
    """Form, review or apply, as the button that was pressed says."""
    form, manage = form_of(request), management(request)
    token, step = form.get("token", ""), form.get("step", "review")
    values: dict[str, Value] = {}
    try:
        values = form_values(manage.book.fields, form)
        if step == "form":
            return _form_page(request, kind, name, token, values)
        edited = edit_of(manage.book.text_with(form.get("base") or token) or manage.book.text(), values)
        return _apply(request, kind, edited, token) if step == "apply" else _review(request, kind, edited, token)
    except EditRefused as refused:
        shown = values or _as_typed(request)
        return _form_page(request, kind, name, token, shown, refused=refused)


def _review(request: Request, kind: str, edited: PeerEdit, token: str) -> Response:
    """What the edit would do, and what the peer says. Raises EditRefused."""
    manage = management(request)
    try:
        change = manage.preview(edited, token=token)
    except PeersChanged:
        return _conflict(request, kind, edited, token)
    tested = manage.try_edited(edited) if change.diff else None
    context = {"kind": kind, "change": change, "tested": tested, **_review_form(request, kind, change.base)}
    return peers_page(request, "peers_review.html", context)


def _apply(request: Request, kind: str, edited: PeerEdit, token: str) -> Response:
    who = principal_of(request)
    try:
        change = management(request).apply(
            edited, who=who.name if who else "", address=address_of(request), token=token or None
        )
    except PeersChanged:
        return _conflict(request, kind, edited, token)
    except EditRefused as refused:
        return refused_page(request, refused)
    return RedirectResponse(_next(edited, change.version), 303)


def _next(edited: PeerEdit, version: str) -> str:
    """Where a change leads: to the peer it was about, or to the list."""
    if isinstance(edited, (AddPeer, ChangePeer)):
        changed = edited.values if isinstance(edited, AddPeer) else edited.changes
        name = changed.get("name") or (edited.name if isinstance(edited, ChangePeer) else "")
        return "/peers/peer?" + urlencode({"name": str(name), "done": version or "nothing"})
    return "/peers?" + urlencode({"done": version or "nothing"})


def _conflict(request: Request, kind: str, edited: PeerEdit, token: str) -> Response:
    """Somebody was first: what they did, and what the edit would do now, to be applied on top."""
    manage = management(request)
    since, present = manage.book.diff_since(token), manage.book.text()
    change, refused = None, ""
    try:
        change = manage.preview(edited, token=present.token)
    except EditRefused as error:
        refused = str(error)
    context = {
        "kind": kind,
        "since": diff_lines(since) if since is not None else None,
        "last": manage.book.history()[:1],
        "change": change,
        "refused": refused,
        **_review_form(request, kind, present.token),
    }
    return peers_page(request, "peers_conflict.html", context, 409)


def _confirm(request: Request, kind: str, edited: PeerEdit, token: str, fields: dict[str, str]) -> Response:
    """A page that shows what an edit without a form would do."""
    manage, of_version = management(request), isinstance(edited, RestoreVersion)
    try:
        was = manage.book.diff_of(fields["id"]) if of_version and fields["id"] != LAST_GOOD else ""
    except NoSuchPeer as refused:
        return refused_page(request, refused)
    change, why_not = None, ""
    try:
        change = manage.preview(edited, token=token)
    except EditRefused as refused:
        if not of_version:
            return refused_page(request, refused)
        why_not = str(refused)
    except PeersChanged as error:  # in the moment since the page was asked for
        why_not = str(error)
    context = {
        "kind": kind,
        "change": change,
        "why_not": why_not,
        "did": diff_lines(was),
        "kept": next((kept for kept in manage.book.history() if kept.id == fields.get("id")), None),
        "waits": waits_for(request, fields.get("peer", "")),
        "fields": (*fields.items(), ("token", token)),
        "action": f"/peers/{kind}",
    }
    return peers_page(request, "peers_confirm.html", context)


def _form_page(
    request: Request,
    kind: str,
    name: str,
    token: str,
    values: dict[str, Any],
    *,
    refused: EditRefused | None = None,
    problem: str = "",
) -> Response:
    shown = groups(management(request).book.fields, values, refused)
    context = {
        "kind": kind,
        "name": name,
        "token": token,
        "base": form_of(request).get("base") or token,
        "groups": shown,
        "refused": str(refused) if refused else problem,
    }
    return peers_page(request, "peers_form.html", context, 422 if refused else 200)


def _review_form(request: Request, kind: str, token: str) -> dict[str, Any]:
    form = form_of(request)
    base = form.get("base") or form.get("token", "")
    return {
        "action": f"/peers/{kind}",
        "fields": (*hidden(form, leaving_out=_STEERING), ("token", token), ("base", base)),
    }


def _as_typed(request: Request) -> dict[str, Any]:
    """What was typed where it could not be read as values: shown again, to be mended."""
    form = form_of(request)
    flags = {field.name: field.name in form for field in management(request).book.fields if field.kind == "flag"}
    boxes = {
        field.name: [choice for choice in field.choices if f"{field.name}.{choice}" in form]
        for field in management(request).book.fields
        if field.kind == "choices"
    }
    return {name: value for name, value in form.items() if name not in (*_STEERING, "peer")} | flags | boxes
