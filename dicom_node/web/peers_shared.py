"""What every page of the peers is made with: the use case behind it, and what its templates may show."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import HTTPException, Query, Request
from starlette.responses import Response

from dicom_node.app.manage_peers import EditRefused, ManagePeers, NoSuchPeer
from dicom_node.app.receivers import Receiver, list_receivers
from dicom_node.core.delivery import Channel
from dicom_node.core.result_classes import SYNTAX_NAMES
from dicom_node.web.auth.gate import principal_of
from dicom_node.web.peer_forms import diff_lines, may_edit, may_test
from dicom_node.web.rendering import page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

Name = Annotated[str, Query(max_length=200)]


def waits_for(request: Request, name: str) -> Receiver | None:
    """What waits for the peer, and whether it could be reached; None where nothing does and it could."""
    with sources_of(request).unit_of_work() as uow:
        found = list_receivers(uow)
    return next((entry for entry in found if entry.peer == name and entry.channel is Channel.OBJECTS), None)


def refused_page(request: Request, refused: EditRefused, problem: str = "") -> Response:
    """A page that says why not; `problem` where it is the file as a whole."""
    status = 404 if isinstance(refused, NoSuchPeer) else 422
    return peers_page(request, "peers_refused.html", {"why": problem or str(refused)}, status)


def peers_page(request: Request, template: str, context: dict[str, Any], status_code: int = 200) -> Response:
    """The page, with what all of them show."""
    principal = principal_of(request)
    role = principal.role if principal else None
    has_file = sources_of(request).manage_peers is not None
    plain_port, tls_port = sources_of(request).receiver_ports()
    shared = {
        "may_edit": has_file and may_edit(role),
        "may_test": has_file and may_test(role),
        "has_file": has_file,
        "plain_port": plain_port,
        "tls_port": tls_port,
        "only_here": _loopback(sources_of(request).receiver_host),
        "syntax_names": SYNTAX_NAMES,
        "diff_lines": diff_lines,
    }
    return page(request, template, shared | context, status_code)


def _loopback(host: str) -> str:
    """The host, where nobody but this machine reaches it; else nothing."""
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    return host if is_local else ""


def management(request: Request) -> ManagePeers:
    """The use case. Raises HTTPException (404) where the node has no configuration file."""
    found = sources_of(request).manage_peers
    if found is None:
        raise HTTPException(404, "this node has no configuration file: its peers cannot be edited")
    return found


def sources_of(request: Request) -> WebSources:
    """What the pages read."""
    sources: WebSources = request.app.state.sources
    return sources
