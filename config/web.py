"""Settings of the web server: where it listens, how people log in, who reads the metrics."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from config.words import (
    AbsolutePath,
    HostText,
    ListeningPort,
    Positive,
    Section,
    Texts,
    UrlText,
    VariableName,
    WrongTogether,
    is_secure,
)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class WebTlsSettings(Section):
    """https, TLS 1.2 and 1.3. The files are PEM and are read at the start: a renewed one needs a restart."""

    certificate: AbsolutePath = Field(default="", description="The certificate with its chain; empty serves http.")
    key: AbsolutePath = Field(default="", description="Its key, without a passphrase; for the node's user alone.")

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise WrongTogether("key", "goes with certificate: give both or none")
        return self


class OidcSettings(Section):
    """Log-in by a provider (OpenID Connect, Authorization Code with PKCE) beside passwords; off while issuer is empty.

    It needs web.public_url: the provider sends people back to public_url + "/login/provider/back".
    """

    issuer: UrlText = Field(default="", description="The provider's address, as it calls itself.")
    client_id: str = Field(default="", max_length=256, description="What it calls this node.")
    client_secret_env: VariableName = Field(
        default="", description="The environment variable that holds our secret, where it gave us one."
    )
    ca_file: AbsolutePath = Field(
        default="", description="PEM file of the CA that signed its certificate; empty takes the usual ones."
    )
    name_claim: str = Field(
        default="preferred_username",
        min_length=1,
        max_length=128,
        description="The claim that names the account. One that people cannot choose themselves.",
    )
    groups_claim: str = Field(
        default="groups", min_length=1, max_length=128, description="The claim that lists somebody's groups."
    )
    viewers: Texts = Field(default=(), description="Groups whose members are viewers.")
    operators: Texts = Field(default=(), description="Groups whose members are operators.")
    admins: Texts = Field(default=(), description="Groups whose members are admins. The highest role counts.")
    timeout_s: Positive = Field(default=10.0, description="How long one answer of it may take.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.issuer:
            return self
        if not is_secure(self.issuer):
            raise WrongTogether("issuer", "is an https:// address: what it says decides who is let in")
        if not self.client_id:
            raise WrongTogether("client_id", "is needed where issuer is given")
        if not (self.viewers or self.operators or self.admins):
            raise WrongTogether("viewers", "operators or admins name at least one group, or nobody would be let in")
        return self


class WebSettings(Section):
    """The pages, the JSON API and the metrics. Accounts are made with `cspine-node users`; see docs/ACCOUNTS.md."""

    enabled: bool = Field(default=True, description="Whether the node serves them at all.")
    host: HostText = Field(
        default="127.0.0.1",
        description="Address the web server listens on. One that others can reach needs web.tls, or allow_plain_http.",
    )
    port: ListeningPort = Field(default=8080, description="TCP port of the web server; 0 takes a free one.")
    allow_plain_http: bool = Field(
        default=False,
        description="Whether it may listen beyond this machine without TLS: passwords and patients' data then cross "
        "the network readable. For a private network of containers, and with a warning at each start.",
    )
    public_url: UrlText = Field(
        default="",
        description='Where a proxy stands before it: the address as browsers see it, "https://node.example", without '
        "a path. Cookies are then for https alone.",
    )
    session_idle_s: Positive = Field(default=1800.0, description="A log-in ends this long after the last request.")
    session_absolute_s: Positive = Field(default=43_200.0, description="A log-in ends this long after it was made.")
    login_attempts_per_account: int = Field(
        default=10, ge=1, le=10_000, description="Failed log-ins of an account before it has to wait."
    )
    login_attempts_per_address: int = Field(
        default=50,
        ge=1,
        le=100_000,
        description="Failed log-ins from an address (IPv6: its /64) before it has to wait.",
    )
    login_attempts_within_s: Positive = Field(
        default=900.0, description="Only attempts of so long are counted; nobody waits longer."
    )
    metrics_from_loopback: bool = Field(
        default=True,
        description="Whether /metrics is answered without an account to who asks on this machine, and not through a "
        "proxy.",
    )
    metrics_token_file: AbsolutePath = Field(
        default="",
        description="File with a token; who shows it (Authorization: Bearer …) reads /metrics from anywhere. Read at "
        "the start.",
    )
    tls: WebTlsSettings = WebTlsSettings()
    oidc: OidcSettings = OidcSettings()

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can connect."""
        return self.host in LOOPBACK

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it by https."""
        return bool(self.tls.certificate) or self.public_url.startswith("https://")

    @model_validator(mode="after")
    def _is_not_readable_on_the_way(self) -> Self:
        if self.enabled and not self.is_local and not self.tls.certificate and not self.allow_plain_http:
            raise WrongTogether(
                "host",
                "can be reached by others, and there is no web.tls.certificate: passwords and patients' data would "
                'cross the network readable; give web.tls, stay on "127.0.0.1", or say allow_plain_http = true',
            )
        return self

    @model_validator(mode="after")
    def _public_url_is_an_origin(self) -> Self:
        parts = urlsplit(self.public_url)
        if parts.path or parts.query or parts.fragment:
            raise WrongTogether("public_url", "has no path: the pages stand at the top of their own host")
        if self.oidc.issuer and not self.public_url:
            raise WrongTogether("public_url", "is needed where web.oidc.issuer is given: people are sent back to it")
        if self.tls.certificate and parts.scheme == "http":
            raise WrongTogether("public_url", "begins with https:// where web.tls is given")
        return self

    @model_validator(mode="after")
    def _idle_is_not_longer(self) -> Self:
        if self.session_idle_s > self.session_absolute_s:
            raise WrongTogether("session_idle_s", "is at most session_absolute_s")
        return self
