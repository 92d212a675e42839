"""TLS for DICOM in both directions, after the BCP 195 profiles of PS3.15.

TLS 1.2 with the four suites that RFC 9325 4.2 recommends, and TLS 1.3; nothing older and nothing weaker is ever
negotiated (PS3.15 B.12 "BCP 195 RFC 8996, 9325", not downgrading, as B.10 asks). There is no upgrade inside a plain
connection: a port speaks TLS from its first byte or not at all.

A server's certificates are looked at again with each connection, which costs three `stat`: renewed files are in use
with the next handshake, associations that are open keep what they were opened with. Files that cannot be used
(a key that belongs to another certificate, half a copy) leave the earlier ones in use, and say so once for each change.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from dicom_node.core.errors import ConfigurationError
from dicom_node.core.peer import PeerTls

log = structlog.get_logger(__name__)

TLS_1_2_SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
_NO_FILE = (0, 0, 0)
_Stamps = tuple[tuple[int, int, int], ...]


class ClientCertificates(StrEnum):
    """Whether who connects to us must show a certificate that our authority signed."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Our certificate with its chain, its key without a passphrase, and the authority of those we talk to; PEM files.

    Empty where there is none.
    """

    certificate: str = ""
    key: str = ""
    ca_file: str = ""


@dataclass(frozen=True, kw_only=True)
class TlsPort:
    """How the receiver speaks TLS. `port` 0 takes a free one."""

    port: int
    files: TlsFiles
    client_certificates: ClientCertificates = ClientCertificates.REQUIRED


@dataclass(frozen=True, kw_only=True)
class Secured:
    """What a finished handshake says. `certificate_sha256` is of the other side's certificate, "" without one."""

    version: str
    suite: str
    certificate_sha256: str


class ServerContext:
    """The receiver's TLS context, made anew where its files change. Safe for use from several threads."""

    def __init__(self, port: TlsPort) -> None:
        """Raises ConfigurationError where the files cannot be used as they are now."""
        self._port = port
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._context = server_context(port)
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why the files as they are now are not in use; empty where they are."""
        return self._problem

    def current(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        with self._lock:
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                self._renew()
            return self._context

    def _renew(self) -> None:
        try:
            self._context = server_context(self._port)
        except ConfigurationError as error:
            self._problem = str(error)
            log.error("tls_files_unusable", why=self._problem, then="the earlier certificate stays in use")
            return
        self._problem = ""
        log.info("tls_files_reloaded", certificate=self._port.files.certificate)

    def _look(self) -> _Stamps:
        files = self._port.files
        return tuple(_stamp(name) for name in (files.certificate, files.key, files.ca_file))


def server_context(port: TlsPort) -> ssl.SSLContext:
    """A context that accepts. Raises ConfigurationError naming the file and what is wrong with it."""
    context = _profiled(ssl.PROTOCOL_TLS_SERVER)
    # A client chooses by its own order; without session tickets each connection shows its certificate again.
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    _load_own(context, port.files, "node.tls")
    if port.client_certificates is ClientCertificates.NONE:
        return context
    _load_authority(context, port.files.ca_file, "node.tls.ca_file")
    is_required = port.client_certificates is ClientCertificates.REQUIRED
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    return context


@dataclass(kw_only=True)
class Handshake:
    """How the connection to a peer is secured, for one connection, and how that went."""

    context: ssl.SSLContext
    server_name: str
    failure: str = ""


def connecting(peer: PeerTls, *, host: str) -> Handshake:
    """What a connection to `peer` at `host` is wrapped with. Raises ConfigurationError naming the file.

    A pinned certificate is trusted for itself; any other one must be signed by the peer's authority, or the system's
    where it has none, and name the host, or `server_name` where given.
    """
    context = _profiled(ssl.PROTOCOL_TLS_CLIENT)
    if peer.own_certificate:
        _load_own(context, TlsFiles(certificate=peer.own_certificate, key=peer.own_key), "node.tls")
    context.check_hostname = peer.checks_name and not peer.certificate_sha256
    if peer.certificate_sha256:
        context.verify_mode = ssl.CERT_NONE
    elif peer.ca_file:
        _load_authority(context, peer.ca_file, "tls_ca_file")
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    handshake = Handshake(context=context, server_name=peer.server_name or host)
    context.sslsocket_class = _reporting(handshake, peer.certificate_sha256)
    return handshake


def secured(connection: ssl.SSLSocket) -> Secured:
    """What the finished handshake of `connection` says."""
    suite: Any = connection.cipher()
    return Secured(
        version=connection.version() or "", suite=suite[0] if suite else "", certificate_sha256=_fingerprint(connection)
    )


def reason(error: OSError) -> str:
    """What went wrong in a handshake, in OpenSSL's words and without its file names and numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {getattr(error, 'verify_message', '') or error.strerror}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__


def _profiled(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS_1_2_SUITES))
    context.options |= ssl.OP_NO_COMPRESSION
    return context


def _load_own(context: ssl.SSLContext, files: TlsFiles, section: str) -> None:
    for key, name in (("certificate", files.certificate), ("key", files.key)):
        _readable(f"{section}.{key}", name)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"certificate {files.certificate} and key {files.key} cannot be used: {reason(error)}",
            key=f"{section}.certificate",
            value=files.certificate,
        ) from error


def _load_authority(context: ssl.SSLContext, name: str, key: str) -> None:
    _readable(key, name)
    try:
        context.load_verify_locations(name)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{name} is no PEM file of certificates: {reason(error)}", key=key, value=name
        ) from error


def _readable(key: str, name: str) -> None:
    try:
        with Path(name).open("rb"):
            return
    except OSError as error:
        raise ConfigurationError(f"{name or key} cannot be read: {error.strerror}", key=key, value=name) from error


def _no_passphrase() -> str:
    raise ConfigurationError("the key is encrypted; the node takes a key without a passphrase", key="node.tls.key")


def _reporting(handshake: Handshake, pinned: str) -> type[ssl.SSLSocket]:
    """pynetdicom connects, and forgets why a handshake failed; the socket itself keeps it, and checks the pin."""

    class Reporting(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            try:
                super().do_handshake(block)
                if pinned and _fingerprint(self) != pinned:
                    raise ssl.SSLCertVerificationError(1, "the certificate is not the pinned one")
            except OSError as error:
                handshake.failure = reason(error)
                raise

    return Reporting


def _fingerprint(connection: ssl.SSLSocket) -> str:
    certificate = connection.getpeercert(binary_form=True)
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


def _stamp(name: str) -> tuple[int, int, int]:
    try:
        status = Path(name).stat() if name else None
    except OSError:
        status = None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else _NO_FILE
