"""An HTTP session with one peer's service: its certificates, its token, and nothing that was not configured."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from dicom_node.core.errors import PeerRefused
from dicom_node.core.peer import Peer, StowEndpoint


def open_session(peer: Peer, endpoint: StowEndpoint, environ: Mapping[str, str]) -> requests.Session:
    """To be closed by the caller. Raises PeerRefused where the token is not in the environment."""
    session = requests.Session()
    session.trust_env = False  # neither a .netrc nor a proxy gets between us and what was configured
    session.verify = endpoint.ca_file or True
    session.max_redirects = 0  # a redirect would carry findings and token where nobody configured them to
    session.headers["Accept"] = "application/dicom+json"
    if endpoint.client_certificate:
        session.cert = (endpoint.client_certificate, endpoint.client_key)
    if endpoint.token_variable:
        token = environ.get(endpoint.token_variable, "").strip()
        if not token:
            session.close()
            raise PeerRefused(
                f"peer {peer.name!r}: the environment variable {endpoint.token_variable} holds no bearer token"
            )
        session.headers["Authorization"] = f"Bearer {token}"
    return session
