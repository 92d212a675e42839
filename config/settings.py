"""Every setting of the node, frozen and validated. `docs/CONFIGURATION.md` is generated from these models.

How to edit: a new setting is a field with a description here and a line in `config/node.toml`; then run
`python -m config.document > docs/CONFIGURATION.md`. A test fails while one of the three is missing.
Suffixes carry the unit: `_s` seconds, `_mb` mebibytes, `_bytes` bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from config.receivers import NotifySettings, PeerSettings, RouteSettings
from config.upkeep import AuditSettings, QuarantineSettings, RetentionSettings
from config.web import WebSettings
from config.words import AbsolutePath, AETitleText, HostText, ListeningPort, Positive, Processes, Section, WrongTogether


class NodeTlsSettings(Section):
    """DICOM over TLS 1.2 and 1.3 (PS3.15 B.12). The files are PEM; changed ones are in use with the next
    connection, without a restart.
    """

    mode: Literal["off", "beside", "instead"] = Field(
        default="off",
        description="Whether the receiver speaks TLS: not at all, on tls.port beside the plain node.port, or on "
        "tls.port instead of it.",
    )
    port: ListeningPort = Field(default=2762, description="TCP port of the receiver's TLS; 0 takes a free one.")
    certificate: AbsolutePath = Field(
        default="",
        description="Our certificate with its chain; also shown to peers with tls = true that ask for one.",
    )
    key: AbsolutePath = Field(default="", description="Its key, without a passphrase; for the node's user alone.")
    ca_file: AbsolutePath = Field(
        default="",
        description="Authority of those who connect to us, and of those we connect to where a peer has none of its "
        "own; a self-signed certificate may stand here itself.",
    )
    client_certificates: Literal["required", "optional", "none"] = Field(
        default="required", description="Whether who connects must show a certificate that ca_file signed."
    )
    handshake_timeout_s: Positive = Field(
        default=5.0, description="A connection whose TLS handshake is not finished by then is closed."
    )

    @model_validator(mode="after")
    def _has_its_files(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise WrongTogether("key", "goes with certificate: give both or none")
        if self.mode == "off":
            return self
        if not self.certificate:
            raise WrongTogether("certificate", f'is needed where mode = "{self.mode}"')
        if self.client_certificates != "none" and not self.ca_file:
            raise WrongTogether(
                "ca_file", f'is needed to check clients: client_certificates = "{self.client_certificates}"'
            )
        return self


class NodeSettings(Section):
    """The DICOM side of the node."""

    ae_title: AETitleText = Field(
        default="CSPINE_AI",
        description="Our AE title; an association that calls another one is rejected. At most 16 characters.",
    )
    host: HostText = Field(default="0.0.0.0", description="Address the receiver listens on.")
    port: ListeningPort = Field(default=11112, description="TCP port the receiver listens on; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path("var"),
        description="Received files, database, results, history of this file. A relative path counts from the "
        "configuration file's folder; from the environment or the command line, from the working directory.",
    )
    maximum_associations: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Associations served at once; one more is rejected as a transient condition.",
    )
    maximum_associations_per_address: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Of these, how many one address may hold, so that a broken peer cannot take all.",
    )
    maximum_waiting: int = Field(
        default=256,
        ge=1,
        le=65536,
        description="Connections that have not asked for an association yet; they cost no thread. One more, and the "
        "address that has the most loses the one that waits longest.",
    )
    maximum_waiting_per_address: int = Field(
        default=32, ge=1, le=65536, description="Of these, how many one address may hold."
    )
    requests_per_second_per_address: Positive = Field(
        default=25.0,
        description="Association requests of one address that are looked at in a second; twice as many at once, and "
        "more wait for their turn.",
    )
    request_timeout_s: Positive = Field(
        default=15.0, description="A connection that has not asked for an association by then is closed (ARTIM)."
    )
    network_timeout_s: Positive = Field(
        default=60.0,
        description="An association that stays silent this long is aborted, and one in which a PDU takes this long.",
    )
    receiving_memory_mb: int = Field(
        default=4096,
        ge=64,
        description="Memory for data sets that are being received, all together; of one address half of it. What would "
        "need more is aborted, so its sender keeps it.",
    )
    receiving_processes: Processes = Field(
        default="auto",
        description="Processes that read and store what associations without TLS send, beside the node's own: 0 to 16. "
        "auto: none on a machine with fewer than 4 cores, else one for 4 cores, 4 at most.",
    )
    receiving_on_one_core: bool = Field(
        default=True,
        description="Associations that send at the same time take turns on one processor core, which is faster than on "
        "several: Python runs one of them at a time.",
    )
    min_free_bytes: int = Field(
        default=2_000_000_000,
        ge=0,
        description="Below this much free space in data_dir, C-STORE is answered with A700 (out of resources).",
    )
    tls: NodeTlsSettings = NodeTlsSettings()


class DatabaseSettings(Section):
    """Where studies, jobs and deliveries are kept."""

    url: str = Field(
        default="sqlite",
        min_length=1,
        description='"sqlite" for a file in data_dir, or a SQLAlchemy URL for PostgreSQL.',
    )


class StorageSettings(Section):
    """How received files are kept in data_dir."""

    durability: Literal["fsync", "os"] = Field(
        default="fsync",
        description="What Success to a sender means: fsync, the image would survive a power cut; os, it would survive "
        "the end of this process, and no sync is waited for. os is for disks behind a "
        "battery, or a second copy; after a power cut `doctor --deep` finds what is lost.",
    )


class StudySettings(Section):
    """When a study counts as complete."""

    quiet_period_s: Positive = Field(
        default=30.0,
        description="Closes a study this long after its last SOP Instance, with no open association carrying it.",
    )
    hard_limit_s: Positive = Field(
        default=1800.0, description="Closes a study this long after its first SOP Instance, whatever still arrives."
    )


class InferenceSettings(Section):
    """The model and the process it runs in."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the model runs; auto takes CUDA if there."
    )
    bundle: str = Field(
        default="default",
        min_length=1,
        description='"default" for the bundle shipped with the project, or a bundle folder.',
    )
    localiser: Literal["bundle", "totalsegmentator"] = Field(
        default="bundle",
        description="What finds and names C1 to C7: the bundle's own network, or a TotalSegmentator that the site "
        "installed with its weights; see docs/adr/0006-another-localiser-in-its-own-process.md.",
    )
    totalsegmentator_task: Literal["vertebrae_pp", "total", "total_fast"] = Field(
        default="vertebrae_pp",
        description="Its task: vertebrae_pp (1.5 mm, the surest names), total (1.5 mm), total_fast (3 mm).",
    )
    totalsegmentator_python: str = Field(
        default="",
        max_length=4096,
        description="Interpreter of the environment that TotalSegmentator is installed in; empty for the node's own.",
    )
    totalsegmentator_timeout_s: Positive = Field(
        default=600.0,
        description="A TotalSegmentator that runs longer is ended and the analysis tried again; less than timeout_s.",
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="CPU threads of one analysis; 0 takes one for each core."
    )
    timeout_s: Positive = Field(default=900.0, description="An analysis that runs longer is stopped and tried again.")
    memory_limit_mb: int = Field(
        default=8192, ge=0, description="Address space one analysis may take beyond its start (Linux); 0 is no limit."
    )
    workers: int = Field(default=1, ge=1, le=64, description="Analyses that run at once, each in its own process.")
    decode_ahead_mb: int = Field(
        default=2048,
        ge=0,
        le=1_048_576,
        description="Compressed CT images are decoded while their study is still coming in, by a process of low "
        "priority, into data_dir/decoded, of which this is the most; 0 leaves decoding to the analysis. 300 slices of "
        "512 x 512 take 150. Nothing is decoded where less than a quarter of this is free beyond node.min_free_bytes.",
    )


class AnalysisSettings(Section):
    """Attempts at an analysis that ended with a transient error."""

    attempts: int = Field(
        default=3, ge=1, le=100, description="Starts of a job before it is FAILED and needs attention."
    )
    backoff_initial_s: Positive = Field(default=10.0, description="Wait before the second attempt.")
    backoff_factor: float = Field(default=3.0, ge=1.0, le=100.0, description="Each further wait is this much longer.")
    backoff_maximum_s: Positive = Field(default=600.0, description="No wait is longer than this.")


class ResultsSettings(Section):
    """What the results say, and how."""

    language: Literal["en", "de", "fr", "es"] = Field(
        default="en",
        description="Language of the sentences in the reports: the text SR, the PDF, the page and the comments of the "
        "SR. Codes and their meanings are English in every language.",
    )


class DeliverySettings(Section):
    """Sending results to the peers that receive them."""

    workers: int = Field(
        default=2, ge=1, le=64, description="Deliveries that run at once; one peer gets one at a time."
    )
    attempts: int = Field(
        default=30, ge=1, le=10_000, description="Attempts before a delivery is FAILED and needs attention."
    )
    backoff_initial_s: Positive = Field(default=5.0, description="Wait after the first failed attempt.")
    backoff_factor: float = Field(default=2.0, ge=1.0, le=100.0, description="Each further wait is this much longer.")
    backoff_maximum_s: Positive = Field(default=900.0, description="No wait is longer than this.")
    backoff_jitter: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="Share by which each wait is varied, so that many deliveries do not come at once.",
    )
    timeout_s: Positive = Field(default=60.0, description="How long the peer may take to answer one C-STORE.")
    circuit_failures: int = Field(
        default=3,
        ge=1,
        le=10_000,
        description="So many failures to reach a receiver in a row open its circuit: one delivery then probes it now "
        "and then, and no attempt is counted.",
    )
    circuit_open_s: Positive = Field(
        default=30.0, description="Wait before the first probe; after each failed one twice as long."
    )
    circuit_open_maximum_s: Positive = Field(default=300.0, description="No wait for a probe is longer than this.")
    give_up_after_s: Positive = Field(
        default=604_800.0,
        description="A delivery whose receiver could not be reached for this long is FAILED and needs attention.",
    )
    commitment_timeout_s: Positive = Field(
        default=3600.0,
        description="How long a peer with storage_commitment may take to report before it is asked again.",
    )
    commitment_attempts: int = Field(
        default=5,
        ge=1,
        le=10_000,
        description="How often it is asked before the delivery is FAILED and needs attention.",
    )


class SchedulerSettings(Section):
    """How often the node looks at its rows. Deadlines are rows: a missed tick only makes things later."""

    tick_s: Positive = Field(
        default=1.0, description="Period of closing studies, starting jobs and starting deliveries."
    )
    lease_s: Positive = Field(
        default=60.0, description="A worker that gives no heartbeat this long has lost its job or delivery."
    )


class LogSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe event that is written."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="json is one object a line; auto is console on a terminal and json elsewhere."
    )


class Settings(BaseModel):
    """The whole configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    node: NodeSettings = NodeSettings()
    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    study: StudySettings = StudySettings()
    inference: InferenceSettings = InferenceSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    results: ResultsSettings = ResultsSettings()
    delivery: DeliverySettings = DeliverySettings()
    notify: NotifySettings = NotifySettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    peers: tuple[PeerSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()


def sections(of: type[BaseModel] = Settings, prefix: str = "") -> dict[str, type[Section]]:
    """The tables of the file by dotted name, in the file's order; `peers` and `routes` are not among them.

    A table of nothing but tables (`notify`) is not there itself: it has no keys of its own.
    """
    found: dict[str, type[Section]] = {}
    for name, field in of.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= {f"{prefix}{name}": kind} if kind.own_keys() else {}
            found |= sections(kind, f"{prefix}{name}.")
    return found
