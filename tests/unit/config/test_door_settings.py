"""Settings of who may come in and how: TLS, networks, users."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.load import load_settings
from config.settings import NodeTlsSettings, Settings
from dicom_node.bootstrap.receiver_tls import plain_port, ports, tls_port
from dicom_node.bootstrap.store import to_peer
from dicom_node.core.peer import PeerTls, UserIdentity
from dicom_node.dimse.tls import ClientCertificates, TlsFiles, TlsPort

TLS = """
[node.tls]
mode = "beside"
port = 2762
certificate = "/etc/cspine/node.crt"
key = "/etc/cspine/node.key"
ca_file = "/etc/cspine/ca.crt"
"""
PEER = """
[[peers]]
name = "ct1"
ae_title = "CT1"
host = "10.1.2.3"
port = 104
may_send = true
"""


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return load_settings(file, environ=environ or {}).settings


def test_a_table_inside_a_table_keeps_the_keys_around_it(tmp_path):
    settings = loaded(
        tmp_path, '[node]\nae_title = "US"\n' + TLS, {"CSPINE_NODE__NODE__TLS__CLIENT_CERTIFICATES": "optional"}
    )
    assert settings.node.ae_title == "US"
    assert tls_port(settings.node.tls) == TlsPort(
        port=2762,
        files=TlsFiles(certificate="/etc/cspine/node.crt", key="/etc/cspine/node.key", ca_file="/etc/cspine/ca.crt"),
        client_certificates=ClientCertificates.OPTIONAL,
    )
    assert ports(settings.node) == {"node.port": 11112, "node.tls.port": 2762}


def test_tls_is_off_unless_it_is_asked_for_and_may_stand_alone(tmp_path):
    assert tls_port(NodeTlsSettings()) is None
    alone = loaded(tmp_path, TLS.replace("beside", "instead")).node
    assert plain_port(alone) is None
    assert ports(alone) == {"node.tls.port": 2762}


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        (TLS.replace('ca_file = "/etc/cspine/ca.crt"', ""), "node.tls.ca_file", "needed to check clients"),
        (TLS.replace('key = "/etc/cspine/node.key"', ""), "node.tls.key", "both or none"),
        ('[node.tls]\nmode = "instead"\n', "node.tls.certificate", "is needed"),
        (TLS.replace('"beside"', '"both"'), "node.tls.mode", "'off'"),
        (TLS + "cipher = 1\n", "node.tls.cipher", "unknown key"),
        ("[node]\ntls = true\n", "node.tls", "is a section"),
        (TLS.replace("/etc/cspine/node.crt", "node.crt"), "node.tls.certificate", "absolute path"),
        (PEER + 'addresses = ["10.1.0.0/33"]\n', "peers[0].addresses", "an address or a network"),
        (PEER + 'addresses = ["10.1.2.3/16"]\n', "peers[0].addresses", "has host bits set"),
        (PEER + 'tls_ca_file = "/ca.crt"\n', "peers[0].tls_ca_file", "without tls = true"),
        (PEER + 'tls = true\ntls_certificate_sha256 = "abcd"\n', "peers[0].tls_certificate_sha256", "64 hexadecimal"),
        (PEER + 'user_passcode_env = "X"\n', "peers[0].user_passcode_env", "without user_name"),
        (
            PEER + 'user_name = "ct1"\nuser_passcode_env = "X"\nuser_passcode_file = "/x"\n',
            "peers[0].user_passcode_file",
            "two places",
        ),
        (PEER + 'user_name = "ct1"\nuser_passcode_env = "s e c r e t"\n', "peers[0].user_passcode_env", "name of an"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_key(tmp_path, text, key, why):
    with pytest.raises(ConfigError, match=why) as refused:
        loaded(tmp_path, text)
    assert refused.value.key == key


def test_a_peer_of_the_file_is_the_peer_of_the_door(tmp_path):
    settings = loaded(
        tmp_path,
        TLS
        + PEER
        + 'addresses = ["10.1.0.0/16", "fd00::/8", "192.0.2.7"]\n'
        + f'tls = true\ntls_certificate_sha256 = "{":".join(["AB"] * 32)}"\n'
        + 'user_name = "ct1"\nuser_passcode_env = "CT1_PASSCODE"\nour_user_name = "us"\n',
    )
    peer = to_peer(settings.peers[0], settings.node.tls)
    assert peer.addresses == tuple(map(ip_network, ("10.1.0.0/16", "fd00::/8", "192.0.2.7")))
    assert peer.tls == PeerTls(
        ca_file="/etc/cspine/ca.crt",
        own_certificate="/etc/cspine/node.crt",
        own_key="/etc/cspine/node.key",
        certificate_sha256="ab" * 32,
    )
    assert peer.must_identify_as == UserIdentity(user_name="ct1", passcode_variable="CT1_PASSCODE")
    assert peer.identify_as == UserIdentity(user_name="us")
