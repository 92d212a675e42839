"""Why a peer could not be asked, in a word, in a sentence, and with where to look.

The reasons of a rejected association are those of PS3.8 table 9-21. Why there was no TCP connection is asked once more,
on a socket of our own: the library does not say.
"""

from __future__ import annotations

import socket

from dicom_node.core.errors import (
    AssociationAborted,
    NodeError,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    SopClassNotAccepted,
)
from dicom_node.core.peer import Peer
from dicom_node.core.peer_test import Answer, Trouble

_ADVICE = {
    Trouble.UNKNOWN_HOST: "Check the name for typing errors, or write the address in its place.",
    Trouble.REFUSED: "The machine answers, but nothing listens on this port: check the port, and whether the peer's "
    "DICOM service runs.",
    Trouble.NO_ROUTE: "Check the address and the network between the two machines.",
    Trouble.TIMEOUT: "Nothing came back: a wrong address, a firewall on the way, or a peer that hangs.",
    Trouble.CLOSED: "Something listens there and hangs up: another program than a DICOM service, a peer that wants "
    "TLS, or one that knows us by another address.",
    Trouble.TLS: "Check whether the port is the one for TLS, and the certificates on both sides.",
    Trouble.CALLED_AE_TITLE: "The peer has another AE title than the one configured here.",
    Trouble.CALLING_AE_TITLE: "The peer does not know us: enter our AE title and address there.",
    Trouble.BUSY: "The peer has no room for another association now; try again.",
    Trouble.REJECTED: "The peer's log says why.",
    Trouble.NOT_ACCEPTED: "The peer takes the association but not this service.",
    Trouble.STATUS: "The peer's log says why.",
    Trouble.ABORTED: "The peer's log says why.",
    Trouble.OURS: "The file or the variable that is named must be there, and readable for the node.",
}


def failed(peer: Peer, error: NodeError, ms: float, timeout_s: float) -> Answer:
    """What `error` says about the peer, after `ms`; each wait was at most `timeout_s`."""
    trouble, detail = _classified(peer, error, ms / 1000.0, timeout_s)
    why = f"{error}: {detail}" if detail else str(error)
    return Answer(ok=False, ms=ms, trouble=trouble, why=why, advice=_ADVICE[trouble])


def _classified(peer: Peer, error: NodeError, elapsed_s: float, timeout_s: float) -> tuple[Trouble, str]:
    if isinstance(error, (PeerRefused, PeerBusy)) and error.rejection is not None:
        return _rejected(error.rejection), ""
    if isinstance(error, SopClassNotAccepted):
        return Trouble.NOT_ACCEPTED, ""
    if isinstance(error, AssociationAborted):
        return (Trouble.TIMEOUT if elapsed_s >= timeout_s else Trouble.ABORTED), ""
    if isinstance(error, PeerUnreachable):
        return _unreachable(peer, str(error), elapsed_s, timeout_s)
    return Trouble.REJECTED, ""


def _rejected(rejection: tuple[int, int, int]) -> Trouble:
    result, source, reason = rejection
    if source == 1 and reason in (3, 7):
        return Trouble.CALLING_AE_TITLE if reason == 3 else Trouble.CALLED_AE_TITLE
    return Trouble.BUSY if result == 2 else Trouble.REJECTED


def _unreachable(peer: Peer, text: str, elapsed_s: float, timeout_s: float) -> tuple[Trouble, str]:
    if "cannot be resolved" in text:
        return Trouble.UNKNOWN_HOST, ""
    if "no TLS connection" in text:
        return Trouble.TLS, ""
    if "cannot be connected to" in text:
        return Trouble.OURS, ""
    if "does not take a TCP connection" in text:
        return _why_no_connection(peer, timeout_s)
    # A TCP connection there was, and no answer to the request for an association.
    return (Trouble.TIMEOUT, "") if elapsed_s >= 0.9 * timeout_s else (Trouble.CLOSED, "it closed the connection")


def _why_no_connection(peer: Peer, timeout_s: float) -> tuple[Trouble, str]:
    try:
        socket.create_connection((peer.host, peer.port), timeout=timeout_s).close()
    except ConnectionRefusedError:
        return Trouble.REFUSED, "connection refused"
    except TimeoutError:
        return Trouble.TIMEOUT, f"no answer in {timeout_s:g} s"
    except (socket.gaierror, UnicodeError):
        return Trouble.UNKNOWN_HOST, "the name cannot be resolved"
    except OSError as error:
        return Trouble.NO_ROUTE, str(error.strerror or error).lower()
    return Trouble.TIMEOUT, "it took one a moment later"
