"""What the settings make of the web server's door, and files of it that cannot be used."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from config.web import OidcSettings, WebSettings, WebTlsSettings
from dicom_node.bootstrap.accounts import check_tls_files, check_web_files, metrics_token_sha256
from dicom_node.bootstrap.web_door import _provider, allowed_hosts
from dicom_node.core.errors import ConfigurationError
from tests.unit.app.node import FakeClock


def test_a_metrics_token_is_read_without_its_line_end_and_kept_as_a_digest(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    assert metrics_token_sha256(WebSettings(metrics_token_file=str(file))) == sha256(b"0123456789abcdef").hexdigest()
    assert metrics_token_sha256(WebSettings()) == ""


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read"), (b"short\n", "5 characters"), (b"\xff", "read")]
)
def test_a_metrics_token_that_cannot_be_used_is_refused_with_its_key(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=why) as refused:
        check_web_files(WebSettings(metrics_token_file=str(file)))
    assert (refused.value.key, refused.value.value) == ("web.metrics_token_file", str(file))


def test_a_certificate_that_cannot_be_used_is_refused_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("no certificate")
    tls = WebTlsSettings(certificate=str(tmp_path / "c.pem"), key=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match="cannot be used") as refused:
        check_tls_files(WebSettings(tls=tls))
    assert refused.value.key == "web.tls.certificate"
    check_tls_files(WebSettings())


def test_on_loopback_requests_name_loopback_or_the_public_host() -> None:
    assert "node.example" in allowed_hosts(WebSettings(public_url="https://node.example"))
    assert "node.example" not in allowed_hosts(WebSettings())
    assert allowed_hosts(WebSettings(host="10.0.0.1", allow_plain_http=True)) == ("*",)


def test_a_provider_whose_secret_is_not_in_the_environment_is_refused_with_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    oidc = OidcSettings(
        issuer="https://id.example", client_id="n", viewers=("a",), client_secret_env="NODE_TEST_SECRET"
    )
    web = WebSettings(public_url="https://node.example", oidc=oidc)
    monkeypatch.delenv("NODE_TEST_SECRET", raising=False)
    with pytest.raises(ConfigurationError, match="NODE_TEST_SECRET") as refused:
        _provider(web, FakeClock())
    assert refused.value.key == "web.oidc.client_secret_env"
    monkeypatch.setenv("NODE_TEST_SECRET", "s")
    _provider(web, FakeClock())
