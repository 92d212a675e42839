"""The web server is not put where others read along, unless somebody says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from config.errors import ConfigError
from config.load import load_settings
from config.web import WebSettings


def test_beyond_this_machine_it_needs_tls_or_a_loud_word() -> None:
    with pytest.raises(ValidationError, match="allow_plain_http"):
        WebSettings(host="0.0.0.0")
    assert WebSettings(host="0.0.0.0", allow_plain_http=True).is_secure is False
    assert WebSettings(host="0.0.0.0", enabled=False).enabled is False
    with_tls = WebSettings(host="0.0.0.0", tls={"certificate": "/c.pem", "key": "/k.pem"})
    assert (with_tls.is_secure, with_tls.is_local) == (True, False)


def test_the_refusal_names_the_key_the_value_and_the_line(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[web]\nport = 8080\nhost = "0.0.0.0"\n')
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    assert (refused.value.key, refused.value.value) == ("web.host", "0.0.0.0")
    assert f"{file}:3" in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_it_needs_nothing(host: str) -> None:
    assert WebSettings(host=host).is_local


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls": {"certificate": "/c.pem"}}, "goes with certificate"),
        ({"public_url": "https://node.example/pages"}, "no path"),
        ({"public_url": "node.example"}, "starts with"),
        ({"public_url": "http://n.example", "tls": {"certificate": "/c.pem", "key": "/k.pem"}}, "https"),
        ({"session_idle_s": 100.0, "session_absolute_s": 50.0}, "at most session_absolute_s"),
        ({"metrics_token_file": "token"}, "absolute path"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WebSettings(**given)  # type: ignore[arg-type]


def test_behind_a_proxy_with_https_cookies_are_for_https() -> None:
    assert WebSettings(public_url="https://node.example/").public_url == "https://node.example"
    assert WebSettings(public_url="https://node.example").is_secure


OIDC = {"issuer": "https://id.example", "client_id": "node", "viewers": ["radiology"]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"issuer": "http://id.example"}, "https"),
        ({"client_id": ""}, "client_id|is needed where issuer"),
        ({"viewers": []}, "at least one group"),
    ],
)
def test_a_log_in_provider_is_whole_or_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WebSettings(public_url="https://node.example", oidc=OIDC | changes)


def test_a_log_in_provider_needs_an_address_to_send_people_back_to() -> None:
    with pytest.raises(ValidationError, match="sent back"):
        WebSettings(oidc=OIDC)
    assert WebSettings(public_url="https://node.example", oidc=OIDC).oidc.viewers == ("radiology",)
