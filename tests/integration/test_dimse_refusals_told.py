"""Whoever is not let in is told of, once, with address and rule: what the audit trail makes security alerts of."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from pynetdicom import AE

from dicom_node.dimse.refusals import Refusals
from dicom_node.dimse.tls import ClientCertificates, TlsFiles, TlsPort
from tests.builders.certificates import Authority
from tests.integration.dimse_support import OWN_AET, Counts, running_node, wait_for

VERIFICATION = "1.2.840.10008.1.1"


class Told:
    def __init__(self) -> None:
        self.of: list[dict[str, Any]] = []

    def __call__(self, **what: Any) -> None:
        self.of.append(what)


def test_an_association_that_is_refused_is_told_with_its_title_and_address() -> None:
    told = Told()
    with running_node(on_refused=told) as node:
        for calling, called in (("STRANGER", OWN_AET), ("SCANNER", "SOMEBODY_ELSE")):
            entity = AE(ae_title=calling)
            entity.add_requested_context(VERIFICATION)
            assert not entity.associate("127.0.0.1", node.port, ae_title=called).is_established
    assert [(what["calling_aet"], what["address"]) for what in told.of] == [
        ("STRANGER", "127.0.0.1"),
        ("SCANNER", "127.0.0.1"),
    ]
    assert all(what["rule"] and what["why"] for what in told.of)


def test_a_handshake_that_fails_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("node", key="ec")
    files = TlsFiles(certificate=str(own.certificate), key=str(own.key), ca_file=str(authority.file))
    told = Told()
    port = TlsPort(port=0, files=files, client_certificates=ClientCertificates.REQUIRED)
    with (
        running_node(on_refused=told, port=None, tls=port) as node,
        socket.create_connection(("127.0.0.1", node.server.tls_port)) as rude,
    ):
        rude.sendall(b"this is no ClientHello at all, whoever reads it\r\n" * 4)
        wait_for(lambda: told.of, "the refusal to be told")
    assert told.of[0]["rule"].startswith("tls_handshake")
    assert told.of[0]["address"] == "127.0.0.1"


def test_a_flood_is_told_as_the_log_tells_it() -> None:
    told, now = Told(), [0.0]
    refusals = Refusals(Counts(), on_told=told, monotonic=lambda: now[0])
    for second in range(25):
        now[0] = float(second)
        refusals.tell("connection_refused", "connections_refused", address="10.6.6.6", rule="full", why="too many")
    assert len(told.of) == 3
