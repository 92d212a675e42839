"""How the receiver speaks TLS, from the settings."""

from __future__ import annotations

from config.settings import NodeSettings, NodeTlsSettings
from dicom_node.dimse.tls import ClientCertificates, TlsFiles, TlsPort


def plain_port(node: NodeSettings) -> int | None:
    """The receiver's port without TLS; None where there is none."""
    return None if node.tls.mode == "instead" else node.port


def tls_port(tls: NodeTlsSettings) -> TlsPort | None:
    """The receiver's port with TLS; None where there is none."""
    if tls.mode == "off":
        return None
    return TlsPort(
        port=tls.port,
        files=TlsFiles(certificate=tls.certificate, key=tls.key, ca_file=tls.ca_file),
        client_certificates=ClientCertificates(tls.client_certificates),
    )


def ports(node: NodeSettings) -> dict[str, int]:
    """Every port the receiver listens on, by the key that sets it."""
    plain, encrypted = plain_port(node), tls_port(node.tls)
    found = {"node.port": plain, "node.tls.port": encrypted.port if encrypted else None}
    return {key: port for key, port in found.items() if port is not None}
