"""A node process that speaks TLS only, as its configuration says: DCMTK sends to it and is sent to."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.builders.certificates import Authority, Certificate
from tests.integration.dimse_support import instance, write
from tests.peers import DCMTK_ENVIRONMENT, NodeProcess, free_port, receiver, require, sender, stop, wait_for


def with_tls(own: Certificate, authority: Authority) -> list[str]:
    return ["+tls", str(own.key), str(own.certificate), "+cf", str(authority.file)]


def test_a_study_comes_in_and_a_peer_is_reached_over_tls_and_nothing_is_plain(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    own, scanner, pacs = (authority.issue(name) for name in ("node", "scanner", "pacs"))
    tls_port, pacs_port = free_port(), free_port()
    node = NodeProcess(
        folder=tmp_path / "node",
        peers=[
            {**sender(), "tls": True, "tls_certificate_sha256": scanner.sha256, "addresses": ["127.0.0.0/8"]},
            {**receiver("PACS", pacs_port), "tls": True},
        ],
        settings={
            "node.tls": {
                "mode": "instead",
                "port": tls_port,
                "certificate": str(own.certificate),
                "key": str(own.key),
                "ca_file": str(authority.file),
            }
        },
    )
    storescp = subprocess.Popen(
        [
            require("storescp", "dcmtk"),
            *with_tls(pacs, authority),
            "-aet",
            "PACS",
            "-od",
            str(tmp_path),
            str(pacs_port),
        ],
        env=DCMTK_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        node.start()
        image = write(tmp_path / "ct", instance(1))

        def storescu(port: int, tls: list[str]) -> int:
            command = [require("storescu", "dcmtk"), *tls, "-aet", "SCANNER", "-aec", node.ae_title, "-to", "10"]
            return subprocess.run(
                [*command, "127.0.0.1", str(port), str(image)], env=DCMTK_ENVIRONMENT, capture_output=True, timeout=60
            ).returncode

        assert storescu(tls_port, with_tls(scanner, authority)) == 0
        assert storescu(tls_port, with_tls(pacs, authority)) != 0, "another certificate of the same authority"
        assert storescu(tls_port, []) != 0, "plain DICOM on the TLS port"
        assert storescu(node.port, []) != 0, "the plain port"
        wait_for("the study to be known", lambda: node.json("/api/v1/studies"))
        wait_for("the PACS", lambda: node.run("echo", "pacs").returncode == 0, every_s=0.5)
        checked = node.run("check", timeout_s=300).stdout
        assert "receiver TLS" in checked
        assert "receiver port" not in checked
    finally:
        stop(storescp)
        node.stop()
