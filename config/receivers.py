"""Who is given results and who is told of them: peers, routes and notified systems."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from config.words import (
    AbsolutePath,
    HostText,
    Levels,
    ObjectWords,
    OptionalAETitle,
    OptionalHost,
    OptionalPort,
    PeerName,
    Port,
    Positive,
    Results,
    Section,
    Texts,
    UrlText,
    VariableName,
    WrongTogether,
    is_secure,
)


class PeerSettings(Section):
    """A remote application entity: who may send to us, and who gets results."""

    name: PeerName = Field(description="Our name for it; unique in this file.")
    ae_title: OptionalAETitle = Field(
        default="",
        description="Its AE title, as it calls itself and as we call it. This, host and port are needed for every peer "
        "but one that only takes results by STOW-RS.",
    )
    host: OptionalHost = Field(default="", description="Its address or host name.")
    port: OptionalPort = Field(default=0, description="Its TCP port for C-ECHO and C-STORE.")
    may_send: bool = Field(default=False, description="Its associations are accepted.")
    receives_results: bool = Field(default=False, description="Results are delivered to it.")
    enabled: bool = Field(default=True, description="false keeps the entry and treats it as if it were not there.")
    objects: ObjectWords = Field(
        default=("auto",),
        description='Which objects it gets. "auto": SEG, SUSPICION_SEG, SR, TEXT_SR and SC, and where it does not '
        "accept one, the next that says the same (docs/RESULTS.md). A list without auto is meant to the letter; "
        '["auto", "PDF"] adds to auto.',
    )
    status_reports: bool = Field(
        default=False, description="It also gets a text SR about a study that was not analysed, with the reason."
    )
    stow_url: UrlText = Field(
        default="",
        description="Results go by STOW-RS to this DICOMweb service (the part before /studies), not by C-STORE.",
    )
    stow_ca_file: AbsolutePath = Field(
        default="", description="PEM file of the authority that signed its certificate; empty: the system's."
    )
    stow_client_certificate: AbsolutePath = Field(
        default="", description="PEM file of our certificate, where asked for."
    )
    stow_client_key: AbsolutePath = Field(default="", description="PEM file of its key, without a passphrase.")
    stow_token_env: VariableName = Field(
        default="",
        description="Environment variable that holds the bearer token; read at each attempt, never stored.",
    )

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.stow_url and not self.may_send and not (self.ae_title or self.host or self.port):
            return self
        for key in ("ae_title", "host", "port"):
            if not getattr(self, key):
                raise WrongTogether(key, "is required and not given")
        return self

    @model_validator(mode="after")
    def _stow_fits_together(self) -> Self:
        for key in ("stow_ca_file", "stow_client_certificate", "stow_client_key", "stow_token_env"):
            if getattr(self, key) and not self.stow_url:
                raise WrongTogether(key, "means nothing without stow_url")
        if bool(self.stow_client_certificate) != bool(self.stow_client_key):
            raise WrongTogether("stow_client_key", "goes with stow_client_certificate: give both or none")
        if self.stow_token_env and not is_secure(self.stow_url):
            raise WrongTogether("stow_url", "is not https: the bearer token would be readable on the way")
        return self


class RouteSettings(Section):
    """A rule that adds receivers to a study or leaves some out, where all of its conditions hold.

    Rules apply in their order, after every peer with receives_results was chosen; each condition holds by any of its
    values. In the first five, * stands for any characters and ? for one; upper and lower case are alike.
    """

    name: PeerName = Field(description="Our name for it; unique in this file, and shown where it applies.")
    calling_ae_titles: Texts = Field(default=(), description="AE titles that sent images of the study.")
    modalities: Texts = Field(default=(), description="Modality (0008,0060) of any instance.")
    body_parts: Texts = Field(default=(), description="Body Part Examined (0018,0015) of any instance.")
    descriptions: Texts = Field(
        default=(), description='Study Description (0008,1030), as in ["*trauma*", "*cspine*"].'
    )
    stations: Texts = Field(default=(), description="Station Name (0008,1010) of any instance.")
    results: Results = Field(
        default=(), description="What the result says. A study in which nothing could be assessed is not_analysed."
    )
    levels: Levels = Field(default=(), description="Levels of which one is positive.")
    add: Texts = Field(default=(), description="Peers that get the results too, with receives_results or without.")
    leave_out: Texts = Field(default=(), description="Peers that do not get them.")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.add and not self.leave_out:
            raise WrongTogether("add", "a route without add and without leave_out does nothing")
        for name in self.add:
            if name in self.leave_out:
                raise WrongTogether("leave_out", f"peer {name!r} is in add as well")
        return self


class Hl7Settings(Section):
    """A message about each positive result, HL7 v2.5.1 ORU^R01 over MLLP."""

    enabled: bool = Field(default=False, description="Whether it is sent at all.")
    host: HostText = Field(default="127.0.0.1", description="Address or host name of the listener.")
    port: Port = Field(default=2575, description="Its TCP port.")
    receiving_application: str = Field(default="", max_length=180, description="MSH-5 of the message.")
    receiving_facility: str = Field(default="", max_length=180, description="MSH-6 of the message.")
    sending_facility: str = Field(default="", max_length=180, description="MSH-4; MSH-3 is the node's AE title.")
    timeout_s: Positive = Field(default=10.0, description="For the connection, and for the acknowledgement.")
    tls: bool = Field(default=False, description="MLLP over TLS; the message holds the patient's name and ID.")
    tls_ca_file: AbsolutePath = Field(
        default="", description="PEM file of the authority that signed the listener's certificate; empty: the system's."
    )


class WebhookSettings(Section):
    """A signed HTTP request about each positive result."""

    enabled: bool = Field(default=False, description="Whether it is sent at all.")
    url: UrlText = Field(default="", description="Where it is posted to; https outside of this machine.")
    secret_env: VariableName = Field(
        default="CSPINE_WEBHOOK_SECRET",
        description="Environment variable that holds the secret it is signed with; read at each attempt, never stored.",
    )
    timeout_s: Positive = Field(default=10.0, description="For the connection, and for the answer.")
    ca_file: AbsolutePath = Field(
        default="", description="PEM file of the authority that signed the receiver's certificate; empty: the system's."
    )

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.enabled and not self.url:
            raise WrongTogether("url", "is needed where notify.webhook.enabled = true")
        if self.enabled and not self.secret_env:
            raise WrongTogether("secret_env", "is needed where notify.webhook.enabled = true")
        if self.url and not is_secure(self.url):
            raise WrongTogether("url", "is not https: findings would be readable on the way")
        return self


class NotifySettings(Section):
    """Who is told of a positive result beside the peers. Attempts and waits are those of `[delivery]`."""

    hl7: Hl7Settings = Hl7Settings()
    webhook: WebhookSettings = WebhookSettings()
