"""DICOM over TLS in both directions, against DCMTK and openssl."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from dicom_node.core.errors import ConfigurationError, PeerUnreachable
from dicom_node.core.peer import PeerTls
from dicom_node.core.peer_test import Answer
from dicom_node.dimse import counted
from dicom_node.dimse.echo import echo
from dicom_node.dimse.requestor import VERIFICATION_PROPOSALS, Timeouts, associated
from dicom_node.dimse.sender import send_files
from dicom_node.dimse.server import ReceiverLimits
from dicom_node.dimse.tls import ClientCertificates, TlsFiles, TlsPort, server_context
from tests.builders.certificates import Authority, Certificate
from tests.integration.dimse_support import OWN_AET, Node, instance, open_socket, peer, running_node, wait_for, write
from tests.integration.test_dimse_bad_input import assert_hears_the_abort_while_it_sends, associate_request, receive_pdu
from tests.peers import DCMTK_ENVIRONMENT, free_port, require, stop

LIMITS = ReceiverLimits(handshake_timeout_s=1.0, acse_timeout_s=3.0, network_timeout_s=5.0)


@dataclass(frozen=True)
class Site:
    """A hospital's authority with the node's and a scanner's certificate, and a stranger's from elsewhere."""

    authority: Authority
    node: Certificate
    scanner: Certificate
    elsewhere: Authority
    stranger: Certificate

    def files(self, own: Certificate | None = None) -> TlsFiles:
        own = own or self.node
        return TlsFiles(certificate=str(own.certificate), key=str(own.key), ca_file=str(self.authority.file))

    def as_scanner(self, own: Certificate | None = None, **more: object) -> PeerTls:
        own = own or self.scanner
        values: dict[str, object] = {
            "own_certificate": str(own.certificate), "own_key": str(own.key), "ca_file": str(self.authority.file),
        }  # fmt: skip
        return PeerTls(**(values | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("certificates")
    authority, elsewhere = Authority(folder / "here"), Authority(folder / "elsewhere", "elsewhere")
    return Site(
        authority, authority.issue("node"), authority.issue("scanner", key="ec"),
        elsewhere, elsewhere.issue("stranger", key="ec"),
    )  # fmt: skip


@contextmanager
def node_with_tls(site: Site, **more: object) -> Iterator[Node]:
    own = more.pop("own", None)
    port = TlsPort(
        port=0,
        files=site.files(own),  # type: ignore[arg-type]
        client_certificates=more.pop("client_certificates", ClientCertificates.REQUIRED),  # type: ignore[arg-type]
    )
    peers = more.pop("peers", [peer(tls=PeerTls())])
    with running_node(peers, limits=LIMITS, tls=port, **more) as node:  # type: ignore[arg-type]
        yield node


def echo_over_tls(node: Node, tls: PeerTls | None, *, calling: str = "SCANNER") -> Answer:
    return echo(peer(OWN_AET, port=node.server.tls_port, tls=tls), calling, 5.0)


def refusals(node: Node, rule: str) -> int:
    return int(node.counts.counted[(counted.CONNECTIONS_REFUSED, rule)])


def test_a_peer_with_a_certificate_of_our_authority_may_echo_and_a_plain_one_may_too_where_it_is_configured_so(site):
    with node_with_tls(site, peers=[peer(tls=PeerTls()), peer("OLD_CT")]) as node:
        answer = echo_over_tls(node, site.as_scanner())
        assert answer.ok, answer.why
        assert echo(peer(OWN_AET, port=node.port), "OLD_CT", 5.0).ok


def test_a_peer_that_must_come_over_tls_is_rejected_on_the_plain_port(site):
    with node_with_tls(site) as node:
        assert "Calling AE title not recognised" in echo(peer(OWN_AET, port=node.port), "SCANNER", 5.0).why
        node.wait_until_counted(counted.ASSOCIATIONS_REJECTED, "tls")


def test_without_a_plain_port_there_is_none(site):
    with node_with_tls(site, port=None) as node:
        assert node.port == node.server.tls_port
        assert echo_over_tls(node, site.as_scanner()).ok


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_who_shows_no_certificate_or_one_of_another_authority_gets_no_association(site, who):
    tls = PeerTls(ca_file=str(site.authority.file)) if who == "nobody" else site.as_scanner(site.stranger)
    with node_with_tls(site) as node:
        assert not echo_over_tls(node, tls).ok
        wait_for(lambda: refusals(node, "tls_handshake") == 1, "the refusal to be counted")
        assert not node.associations.opened_
        assert echo_over_tls(node, site.as_scanner()).ok


def test_where_client_certificates_are_not_asked_for_none_is_needed(site):
    with node_with_tls(site, client_certificates=ClientCertificates.NONE) as node:
        assert echo_over_tls(node, PeerTls(ca_file=str(site.authority.file))).ok


def test_an_ae_title_with_a_pinned_certificate_cannot_be_borrowed_by_another_holder_of_a_good_one(site):
    pinned = PeerTls(certificate_sha256=site.scanner.sha256)
    with node_with_tls(site, peers=[peer(tls=pinned)]) as node:
        assert echo_over_tls(node, site.as_scanner()).ok
        assert not echo_over_tls(node, site.as_scanner(site.node)).ok
        node.wait_until_counted(counted.ASSOCIATIONS_REJECTED, "certificate")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ca_file": "elsewhere"}, "certificate is refused: self-signed certificate in certificate chain"),
        ({"server_name": "pacs.example"}, "certificate is refused: Hostname mismatch"),
        ({"server_name": "pacs.example", "checks_name": False}, ""),
        ({"certificate_sha256": "scanner"}, "not the pinned one"),
        ({"certificate_sha256": "node", "ca_file": ""}, ""),
        ({"ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem cannot be read: No such file or directory"),
    ],
)
def test_a_peer_that_cannot_prove_who_it_is_is_not_connected_to_and_the_error_says_why(site, changes, why):
    files = {"elsewhere": str(site.elsewhere.file), "scanner": site.scanner.sha256, "node": site.node.sha256}
    tls = site.as_scanner(**{key: files.get(value, value) for key, value in changes.items()})
    with node_with_tls(site) as node:
        answer = echo_over_tls(node, tls)
        assert answer.ok is not bool(why)
        assert why in answer.why


def test_a_plain_requestor_on_the_tls_port_and_an_encrypted_one_on_the_plain_port_harm_nobody(site):
    with node_with_tls(site) as node:
        assert not echo_over_tls(node, None).ok
        wait_for(lambda: refusals(node, "tls_handshake") == 1, "the refusal to be counted")
        assert not echo(peer(OWN_AET, port=node.port, tls=site.as_scanner()), "SCANNER", 5.0).ok
        assert echo_over_tls(node, site.as_scanner()).ok


def test_a_peer_without_tls_is_unreachable_over_tls_in_so_many_words(site):
    with running_node() as node, pytest.raises(PeerUnreachable, match="gave no TLS connection"):  # noqa: SIM117
        with associated(
            peer(OWN_AET, port=node.port, tls=site.as_scanner()),
            own_aet="SCANNER",
            proposals=VERIFICATION_PROPOSALS,
            timeouts=Timeouts(connect_s=5.0),
        ):
            pass


def test_a_handshake_that_is_not_finished_is_given_up(site):
    with node_with_tls(site) as node:
        silent = open_socket(node.server.tls_port)
        half = open_socket(node.server.tls_port)
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert silent.recv(1) == b""
        wait_for(lambda: refusals(node, "tls_handshake_timeout") == 2, "both to be counted")
        node.wait_until_idle()
        for connection in (silent, half):
            connection.close()


def client_context(site: Site) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(site.authority.file))
    context.load_cert_chain(site.scanner.certificate, site.scanner.key)
    return context


@pytest.mark.parametrize(
    ("version", "suites", "expected"),
    [
        (ssl.TLSVersion.TLSv1_3, None, "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES256-GCM-SHA384", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256", None),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA", None),
        (ssl.TLSVersion.TLSv1_2, "DHE-RSA-AES128-GCM-SHA256", None),
    ],
)
def test_only_what_the_profile_names_is_negotiated(site, version, suites, expected):
    context = client_context(site)
    context.minimum_version = context.maximum_version = version
    if suites:
        context.set_ciphers(suites)
    with node_with_tls(site) as node:
        plain = socket.create_connection(("127.0.0.1", node.server.tls_port), timeout=5)
        if expected is None:
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake failure"):
                context.wrap_socket(plain, server_hostname="127.0.0.1")
        else:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                assert connection.version() == expected
        plain.close()


def test_openssl_is_refused_with_tls_1_1_and_let_in_with_1_2(site):
    openssl = require("openssl", "openssl")
    with node_with_tls(site) as node:

        def s_client(*more: str) -> str:
            command = [openssl, "s_client", "-connect", f"127.0.0.1:{node.server.tls_port}", "-cert",
                       str(site.scanner.certificate), "-key", str(site.scanner.key), *more]  # fmt: skip
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
            return done.stdout + done.stderr

        assert "alert protocol version" in s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0").lower()
        assert "ECDHE-RSA-AES256-GCM-SHA384" in s_client("-tls1_2")


def test_an_abort_is_read_over_tls_by_a_peer_that_is_still_sending(site):
    with node_with_tls(site) as node:
        plain = socket.create_connection(("127.0.0.1", node.server.tls_port), timeout=5)
        with client_context(site).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(associate_request())
            assert receive_pdu(connection)[0] == 0x02
            assert_hears_the_abort_while_it_sends(connection)


def shown_certificate(node: Node, site: Site) -> str:
    with socket.create_connection(("127.0.0.1", node.server.tls_port), timeout=5) as plain:  # noqa: SIM117
        with client_context(site).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            shown = connection.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(shown or b"")


def test_renewed_certificates_are_used_without_a_restart_and_open_associations_stay(site, tmp_path):
    own = Certificate(certificate=tmp_path / "own.crt", key=tmp_path / "own.key")
    for source, target in ((site.node, own),):
        shutil.copy(source.certificate, target.certificate)
        shutil.copy(source.key, target.key)
    renewed = site.authority.issue("renewed")
    with node_with_tls(site, own=own) as node, structlog.testing.capture_logs() as logged:
        with associated(
            peer(OWN_AET, port=node.server.tls_port, tls=site.as_scanner()),
            own_aet="SCANNER", proposals=VERIFICATION_PROPOSALS, timeouts=Timeouts(),
        ) as session:  # fmt: skip
            # The certificate without its key: half of a renewal.
            shutil.copy(renewed.certificate, own.certificate)
            assert shown_certificate(node, site).strip() == site.node.certificate.read_text().strip()
            assert "key values mismatch" in node.server.tls_problem
            own.key.unlink()
            assert echo_over_tls(node, site.as_scanner()).ok
            assert f"{own.key} cannot be read" in node.server.tls_problem
            shutil.copy(renewed.key, own.key)
            assert shown_certificate(node, site).strip() == renewed.certificate.read_text().strip()
            assert node.server.tls_problem == ""
            assert session.echo() == 0x0000
        events = [entry["event"] for entry in logged if entry["event"].startswith("tls_")]
        assert events == ["tls_files_unusable", "tls_files_unusable", "tls_files_reloaded"]


def test_files_that_cannot_be_used_stop_the_start_and_are_named(site, tmp_path):
    encrypted = tmp_path / "encrypted.key"
    openssl = require("openssl", "openssl")
    subprocess.run(
        [openssl, "pkey", "-in", str(site.node.key), "-aes128", "-passout", "pass:secret", "-out", str(encrypted)],
        check=True,
        timeout=30,
    )
    noise = tmp_path / "noise.pem"
    noise.write_text("this is no certificate")
    good = {"certificate": str(site.node.certificate), "key": str(site.node.key), "ca_file": str(site.authority.file)}
    for key, file, why in (
        ("certificate", str(tmp_path / "none"), "No such file"),
        ("certificate", str(noise), str(noise)),
        ("key", str(site.scanner.key), f"key {site.scanner.key} cannot be used"),
        ("key", str(encrypted), "encrypted"),
        ("ca_file", str(noise), "no PEM file of certificates"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            server_context(TlsPort(port=0, files=TlsFiles(**{**good, key: file})))


def dcmtk_tls(own: Certificate, site: Site) -> list[str]:
    return ["+tls", str(own.key), str(own.certificate), "+cf", str(site.authority.file)]


def test_storescu_of_dcmtk_stores_over_tls_what_it_sent(site, tmp_path):
    files = [write(tmp_path / "ct", instance(number, rows=256)) for number in range(1, 6)]
    program = require("storescu", "dcmtk")
    own = site.authority.issue("dcmtk")
    with node_with_tls(site) as node:
        done = subprocess.run(
            [program, *dcmtk_tls(own, site), "-aet", "SCANNER", "-aec", OWN_AET, "+sd", "127.0.0.1",
             str(node.server.tls_port), str(tmp_path / "ct")],
            env=DCMTK_ENVIRONMENT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(node.receiving.instances) == len(files)
        sent = sorted(path.read_bytes()[-256 * 256 * 2 :] for path in files)
        assert sorted(held[-256 * 256 * 2 :] for held in node.receiving.file_bytes()) == sent
        node.wait_until_idle()
        assert node.associations.endings() == ["released"]


def test_echoscu_of_dcmtk_with_a_stranger_s_certificate_gets_nothing(site):
    program = require("echoscu", "dcmtk")
    with node_with_tls(site) as node:

        def echoscu(own: Certificate) -> int:
            command = [program, *dcmtk_tls(own, site), "-aet", "SCANNER", "-aec", OWN_AET, "127.0.0.1"]
            return subprocess.run(
                [*command, str(node.server.tls_port)], env=DCMTK_ENVIRONMENT, capture_output=True, timeout=60
            ).returncode

        assert echoscu(site.node) == 0
        assert echoscu(site.elsewhere.issue("rsa_stranger")) != 0


def test_what_we_send_over_tls_is_kept_by_storescp_of_dcmtk_which_asks_for_our_certificate(site, tmp_path):
    program, port = require("storescp", "dcmtk"), free_port()
    held = tmp_path / "held"
    held.mkdir()
    own = site.authority.issue("pacs")
    server = subprocess.Popen(
        [program, *dcmtk_tls(own, site), "-aet", "PACS", "-od", str(held), str(port)],
        env=DCMTK_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pacs = peer("PACS", port=port, tls=site.as_scanner(site.node))
        wait_for(lambda: echo(pacs, OWN_AET, 2.0).ok, "storescp to answer", 30.0)
        path: Path = write(tmp_path / "ct", instance(1))
        report = send_files(pacs, [path], lambda answer: None, own_aet=OWN_AET)
        assert [answer.status for answer in report.answers] == [0x0000]
        assert len(list(held.iterdir())) == 1
        assert not echo(peer("PACS", port=port, tls=PeerTls(ca_file=str(site.authority.file))), OWN_AET, 2.0).ok
        assert (
            "certificate is refused"
            in echo(
                peer("PACS", port=port, tls=site.as_scanner(site.node, ca_file=str(site.elsewhere.file))), OWN_AET, 2.0
            ).why
        )
    finally:
        stop(server)
