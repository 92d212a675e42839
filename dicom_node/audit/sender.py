"""The connection to an audit record repository: syslog over TLS (RFC 5425), TLS 1.2 or later.

The protocol has no acknowledgement: a message is sent when the system has taken it, and one that is on its way when the
connection breaks may be lost. Whether the repository has gone is looked at before each message.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from dicom_node.core.errors import ConfigurationError, PeerUnreachable


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Where it listens, and how we trust it and it trusts us. Files are PEM; empty where there is none."""

    host: str
    port: int
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    timeout_s: float = 10.0


class TlsSender:
    """Used by one thread."""

    def __init__(self, repository: Repository) -> None:
        """Raises ConfigurationError where a file cannot be used."""
        self._to = repository
        self._context = _context(repository)
        self._connection: ssl.SSLSocket | None = None

    def send(self, framed: bytes) -> None:
        """The system has taken the message. Raises PeerUnreachable; then it may be sent again."""
        try:
            connection = self._open()
            connection.sendall(framed)
        except OSError as error:
            self.close()
            at = f"{self._to.host}:{self._to.port}"
            raise PeerUnreachable(f"the audit record repository {at} cannot be reached: {error}") from error

    def close(self) -> None:
        """Twice is once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> ssl.SSLSocket:
        if self._connection is not None and _has_gone(self._connection):
            self.close()
        if self._connection is None:
            plain = socket.create_connection((self._to.host, self._to.port), timeout=self._to.timeout_s)
            try:
                self._connection = self._context.wrap_socket(plain, server_hostname=self._to.host)
            except BaseException:
                plain.close()
                raise
        return self._connection


def _context(repository: Repository) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=repository.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if repository.certificate:
            context.load_cert_chain(repository.certificate, repository.key or None)
    except OSError as error:
        raise ConfigurationError(f"[audit] the files for TLS cannot be used: {error}", key="audit") from error
    return context


def _has_gone(connection: ssl.SSLSocket) -> bool:
    """The repository never sends anything: what can be read is the end."""
    timeout = connection.gettimeout()
    connection.settimeout(0.0)
    try:
        return connection.recv(1) == b""
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(timeout)
