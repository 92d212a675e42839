"""The peers' pages for who looks: all of them, one of them, what it says to a test, the history."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from dicom_node.app.manage_peers import EditRefused, NoSuchPeer
from dicom_node.app.receivers import list_receivers
from dicom_node.core.account import Action
from dicom_node.core.delivery import Channel
from dicom_node.core.peer_test import PeerTest
from dicom_node.web.auth.gate import form_of
from dicom_node.web.auth.needs import needs
from dicom_node.web.peer_forms import detail_rows
from dicom_node.web.peers_shared import Name, management, peers_page, refused_page, sources_of, waits_for

router = APIRouter(include_in_schema=False)


@router.get("/peers")
@needs(Action.LOOK)
def peers(request: Request, done: Name = "") -> Response:
    """The configured peers as they are in use, and what is wrong with the file; `done` is what an edit left."""
    sources = sources_of(request)
    with sources.unit_of_work() as uow:
        waiting = {found.peer: found for found in list_receivers(uow) if found.channel is Channel.OBJECTS}
    context = {"peers": sources.peers.peers(), "waiting": waiting, "problem": sources.peers_problem(), "done": done}
    return peers_page(request, "peers.html", context)


@router.get("/peers/peer")
@needs(Action.LOOK)
def peer(request: Request, name: Name, done: Name = "") -> Response:
    """One peer: what the file says of it, and a button to test it. `done` is the version that an edit left."""
    return _peer_page(request, name, done=done)


@router.post("/peers/test")
@needs(Action.TEST_PEERS)
def test(request: Request) -> Response:
    """C-ECHO to the peer, and an offer of our objects; what it said."""
    name = form_of(request).get("name", "")
    try:
        tested = management(request).try_named(name)
    except EditRefused as refused:
        return refused_page(request, refused)
    return _peer_page(request, name, tested=tested)


@router.get("/peers/history")
@needs(Action.LOOK)
def history(request: Request) -> Response:
    """Every version that was replaced: who, when, what."""
    return peers_page(request, "peers_history.html", {"versions": management(request).book.history()})


def _peer_page(request: Request, name: str, *, done: str = "", tested: PeerTest | None = None) -> Response:
    manage = management(request)
    text = manage.book.text()
    known = next((entry for entry in sources_of(request).peers.peers() if entry.name == name), None)
    if known is None:
        return refused_page(request, NoSuchPeer(f"no peer is called {name!r}"))
    written = next((entry for entry in text.peers if entry["name"] == name), {})
    context = {
        "peer": known,
        "rows": detail_rows(manage.book.fields, written),
        "tested": tested,
        "done": done,
        "token": text.token,
        "waits": waits_for(request, name),
    }
    return peers_page(request, "peers_peer.html", context)
