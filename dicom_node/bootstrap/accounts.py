"""Accounts for the command line, and the files that the web server needs; without loading a web server."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

from config.web import WebSettings
from dicom_node.app.accounts import Accounts
from dicom_node.bootstrap.store import Store
from dicom_node.core.errors import ConfigurationError
from dicom_node.web.auth.passwords import Argon2Hasher

_SHORTEST_METRICS_TOKEN = 16


def accounts_of(store: Store) -> Accounts:
    """What administers the accounts of this node."""
    return Accounts(uow_factory=store.unit_of_work, clock=store.clock, hasher=Argon2Hasher())


def check_web_files(web: WebSettings) -> None:
    """Raises ConfigurationError where certificate, key or token of the web server cannot be used."""
    check_tls_files(web)
    metrics_token_sha256(web)


def check_tls_files(web: WebSettings) -> None:
    """Raises ConfigurationError where certificate or key cannot be used."""
    if not web.tls.certificate:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(web.tls.certificate, web.tls.key, password=lambda: b"")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"web.tls.certificate {web.tls.certificate} and web.tls.key {web.tls.key} cannot be used: {error}",
            key="web.tls.certificate",
            value=web.tls.certificate,
        ) from error


def metrics_token_sha256(web: WebSettings) -> str:
    """Of the token that reads /metrics; empty where there is none. Raises ConfigurationError where it is unusable."""
    if not web.metrics_token_file:
        return ""
    try:
        token = Path(web.metrics_token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"web.metrics_token_file {web.metrics_token_file} cannot be read: {error}",
            key="web.metrics_token_file",
            value=web.metrics_token_file,
        ) from error
    if len(token) < _SHORTEST_METRICS_TOKEN:
        raise ConfigurationError(
            f"web.metrics_token_file {web.metrics_token_file} has a token of {len(token)} characters, not of "
            f"{_SHORTEST_METRICS_TOKEN} or more",
            key="web.metrics_token_file",
            value=web.metrics_token_file,
        )
    return sha256(token.encode()).hexdigest()
