"""Settings of what the node keeps: quarantine, retention, audit trail."""

from __future__ import annotations

from pydantic import Field, model_validator

from config.words import AbsolutePath, OptionalHost, Port, Positive, Section, WrongTogether


class QuarantineSettings(Section):
    """How much is kept of what was refused. Beyond it nothing more is kept; senders are refused either way."""

    maximum_files: int = Field(default=10_000, ge=0, description="Files held at once; 0 keeps nothing of a refusal.")
    maximum_bytes: int = Field(default=20_000_000_000, ge=0, description="Bytes held at once.")
    maximum_age_days: float = Field(
        default=0.0,
        ge=0.0,
        le=100_000.0,
        description="What was refused longer ago is discarded; 0 keeps it until somebody decides. What was "
        "acknowledged once (replaced, damaged) is never discarded by age.",
    )


class RetentionSettings(Section):
    """When the files of finished studies are removed. What is unfinished, undelivered or in quarantine never is.

    Off by default: then the disk fills up to `node.min_free_bytes`, and senders are refused and keep their copies.
    """

    maximum_age_days: float = Field(
        default=0.0, ge=0.0, le=100_000.0, description="Nothing happened to the study for this long; 0 is never."
    )
    minimum_free_bytes: int = Field(
        default=0,
        ge=0,
        description="While less is free in data_dir, the oldest finished studies go; 0 is never. More than "
        "`node.min_free_bytes`, or it would act only when images are refused already.",
    )
    minimum_age_days: float = Field(
        default=1.0, ge=0.0, le=100_000.0, description="Nothing younger is removed, whatever the reason."
    )
    period_s: Positive = Field(default=300.0, description="How often this, and the age of quarantine, are looked at.")


class AuditSettings(Section):
    """The audit trail: DICOM PS3.15 A.5 messages, to a file and as RFC 5424 syslog over TLS (RFC 5425).

    It names patients by ID and studies by UID, as the standard wants: treat it as what it is.
    """

    file: bool = Field(default=True, description="Whether it is written to data_dir/audit/audit.log.")
    file_maximum_bytes: int = Field(
        default=20_000_000, ge=10_000, le=10_000_000_000, description="A file of this size is put aside as audit.log.1."
    )
    file_count: int = Field(default=20, ge=1, le=10_000, description="Files kept beside the one being written.")
    syslog_host: OptionalHost = Field(default="", description="The audit record repository; empty sends nothing.")
    syslog_port: Port = Field(default=6514, description="Its TCP port.")
    syslog_ca_file: AbsolutePath = Field(
        default="", description="PEM file of the CA that signed its certificate; empty takes the system's."
    )
    syslog_certificate: AbsolutePath = Field(default="", description="PEM file of our certificate, where it wants one.")
    syslog_key: AbsolutePath = Field(default="", description="PEM file of its key; empty where both are in one file.")
    spool_maximum_bytes: int = Field(
        default=200_000_000,
        ge=100_000,
        description="Messages that could not be sent wait in data_dir/audit/spool; beyond this the oldest are dropped "
        "and counted.",
    )
    site: str = Field(default="", max_length=64, description="Audit Enterprise Site ID.")

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> AuditSettings:
        if self.syslog_key and not self.syslog_certificate:
            raise WrongTogether("syslog_key", "is the key of a certificate: give syslog_certificate too")
        return self
