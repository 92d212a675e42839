"""Who is given results and who is told of them: peers, routes and notified systems."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from config.words import (
    AbsolutePath,
    HostText,
    HoursText,
    Levels,
    Networks,
    ObjectWords,
    OptionalAETitle,
    OptionalCount,
    OptionalFactor,
    OptionalHost,
    OptionalPort,
    OptionalPositive,
    OptionalShare,
    PeerName,
    Port,
    Positive,
    Results,
    Section,
    Sha256Text,
    Texts,
    UrlText,
    UserText,
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
    addresses: Networks = Field(
        default=(),
        description='Where its associations come from, in place of host: addresses and networks, as in "10.1.0.0/16".',
    )
    tls: bool = Field(
        default=False,
        description="DICOM over TLS both ways: we connect to it so, and its associations are accepted only so.",
    )
    tls_ca_file: AbsolutePath = Field(
        default="",
        description="PEM file of the authority that signed its certificate, or that certificate itself, for connecting "
        "to it; empty: node.tls.ca_file, or the system's.",
    )
    tls_certificate_sha256: Sha256Text = Field(
        default="",
        description="Its certificate, pinned by SHA-256 fingerprint: trusted without an authority where we connect to "
        "it, and its associations must show it.",
    )
    tls_server_name: OptionalHost = Field(
        default="", description="Name that its certificate must bear where we connect to it; empty: its host."
    )
    tls_check_name: bool = Field(
        default=True, description="false: any name will do, if its authority signed the certificate."
    )
    user_name: UserText = Field(
        default="",
        description="User that its association requests must name (user identity negotiation, PS3.7 D.3.3.7).",
    )
    user_passcode_env: VariableName = Field(
        default="", description="Environment variable that holds that user's passcode; read at each association."
    )
    user_passcode_file: AbsolutePath = Field(
        default="", description="Or the file that holds it and nothing else; read at each association."
    )
    our_user_name: UserText = Field(default="", description="User that we name where we connect to it.")
    our_user_passcode_env: VariableName = Field(
        default="", description="Environment variable that holds our passcode there; read at each association."
    )
    our_user_passcode_file: AbsolutePath = Field(
        default="", description="Or the file that holds it and nothing else; read at each association."
    )
    may_send: bool = Field(default=False, description="Its associations are accepted.")
    receives_results: bool = Field(default=False, description="Results are delivered to it.")
    enabled: bool = Field(
        default=True, description="Switched off, the entry is kept and treated as if it were not there."
    )
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
    storage_commitment: bool = Field(
        default=False,
        description="It is asked to commit to keep what it stored (PS3.4 annex J); associations on which it reports "
        "are accepted also without may_send. The results are kept here until it did.",
    )
    delivery_hours: HoursText = Field(
        default="",
        description='When it takes deliveries, local time, as in "22:00-06:00"; empty: always.',
    )
    urgent_at_any_hour: bool = Field(default=True, description="A positive result does not wait for delivery_hours.")
    attempts: OptionalCount = Field(default=None, description="As in [delivery], for this peer.")
    backoff_initial_s: OptionalPositive = Field(default=None, description="As in [delivery], for this peer.")
    backoff_factor: OptionalFactor = Field(default=None, description="As in [delivery], for this peer.")
    backoff_maximum_s: OptionalPositive = Field(default=None, description="As in [delivery], for this peer.")
    backoff_jitter: OptionalShare = Field(default=None, description="As in [delivery], for this peer.")
    circuit_failures: OptionalCount = Field(default=None, description="As in [delivery], for this peer.")
    circuit_open_s: OptionalPositive = Field(default=None, description="As in [delivery], for this peer.")
    circuit_open_maximum_s: OptionalPositive = Field(default=None, description="As in [delivery], for this peer.")
    give_up_after_s: OptionalPositive = Field(default=None, description="As in [delivery], for this peer.")
    commitment_timeout_s: OptionalPositive = Field(default=None, description="As in [delivery], for this peer.")
    commitment_attempts: OptionalCount = Field(default=None, description="As in [delivery], for this peer.")

    @model_validator(mode="after")
    def _can_be_asked_to_commit(self) -> Self:
        if self.storage_commitment and self.stow_url:
            raise WrongTogether("storage_commitment", "is DICOM's own: a peer that takes results by STOW-RS has none")
        return self

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.stow_url and not self.may_send and not (self.ae_title or self.host or self.port):
            return self
        for key in ("ae_title", "host", "port"):
            if not getattr(self, key):
                raise WrongTogether(key, "is required and not given")
        return self

    @model_validator(mode="after")
    def _tls_fits_together(self) -> Self:
        for key in ("tls_ca_file", "tls_certificate_sha256", "tls_server_name"):
            if getattr(self, key) and not self.tls:
                raise WrongTogether(key, "means nothing without tls = true")
        if not self.tls_check_name and not self.tls:
            raise WrongTogether("tls_check_name", "means nothing without tls = true")
        return self

    @model_validator(mode="after")
    def _users_fit_together(self) -> Self:
        for user in ("user", "our_user"):
            in_environment, in_file = f"{user}_passcode_env", f"{user}_passcode_file"
            for key in (in_environment, in_file):
                if getattr(self, key) and not getattr(self, f"{user}_name"):
                    raise WrongTogether(key, f"means nothing without {user}_name")
            if getattr(self, in_environment) and getattr(self, in_file):
                raise WrongTogether(in_file, f"and {in_environment} are two places for one passcode: give one")
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
