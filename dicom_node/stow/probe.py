"""Does a peer's DICOMweb service answer, and to our token?"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import requests

from dicom_node.core.errors import PeerRefused, PeerUnreachable
from dicom_node.core.peer import Peer
from dicom_node.stow.session import open_session


def probe(peer: Peer, *, timeout_s: float = 10.0, environ: Mapping[str, str] = os.environ) -> tuple[float, int]:
    """Milliseconds and HTTP status of a small search (QIDO-RS); nothing is stored, and a service that only takes may
    answer anything. Raises PeerUnreachable, and PeerRefused where the token or the certificate is not right."""
    if peer.stow is None:
        raise PeerRefused(f"peer {peer.name!r} has no STOW-RS service")
    where = f"peer {peer.name!r} ({peer.stow.url})"
    started = time.perf_counter()
    try:
        with open_session(peer, peer.stow, environ) as session:
            answer = session.get(f"{peer.stow.url}/studies?limit=1", timeout=timeout_s, stream=True)
    except requests.TooManyRedirects as error:
        raise PeerRefused(f"{where} sends requests elsewhere") from error
    except (requests.RequestException, OSError) as error:
        raise PeerUnreachable(f"{where} cannot be reached: {type(error).__name__}") from error
    if answer.status_code in (401, 403):
        raise PeerRefused(f"{where} answered {answer.status_code}: not authorised")
    return 1000 * (time.perf_counter() - started), answer.status_code
