"""Which peers get the results of a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.core.peer import Peer


@dataclass(frozen=True, kw_only=True)
class Route:
    """`peers` are the names of the receivers, in the order of the configuration; `why` explains the choice."""

    peers: tuple[str, ...]
    why: str


def route(peers: Iterable[Peer]) -> Route:
    """Every enabled peer that receives results. None at all is a valid answer: results then stay on the node."""
    known = tuple(peers)
    chosen = tuple(peer.name for peer in known if peer.receives_results and peer.enabled)
    disabled = tuple(peer.name for peer in known if peer.receives_results and not peer.enabled)
    parts = [f"results go to {', '.join(chosen)}" if chosen else "no peer is set to receive results"]
    if disabled:
        parts.append(f"disabled: {', '.join(disabled)}")
    return Route(peers=chosen, why="; ".join(parts))


def why_not_deliverable(peer: Peer | None, name: str) -> str:
    """Why a delivery made earlier can no longer go to `name`; empty where it can.

    A disabled peer is not refused here: it may be enabled again, so its deliveries are tried later.
    """
    if peer is None:
        return f"peer {name} is no longer configured"
    if not peer.receives_results:
        return f"peer {name} is no longer set to receive results"
    return ""
