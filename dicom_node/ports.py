"""What the use cases need from the outside, as Protocols owned by them. Adapters implement these.

Everything here speaks `dicom_node.core` types. Times are aware UTC. Implementations live in `storage`,
`dicom_node.dimse`, `dicom_node.analysis`, `dicom_node.results` and `config`; `storage.memory` is the in-memory twin
that tests use, held to the same contract suite as the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from dicom_node.core.account import Account, ApiToken, Session
from dicom_node.core.audit import AuditEvent
from dicom_node.core.circuit import Circuit
from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, CommitmentRequest, Reference
from dicom_node.core.decode_ahead import DecodeOutcome
from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.finding import AnalysisResult, ResultObject
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.notice import Notice
from dicom_node.core.peer import Peer
from dicom_node.core.quarantine import QuarantinedFile, QuarantineState, QuarantineTotals
from dicom_node.core.shipment import Plan, Shipment, Substitution
from dicom_node.core.standing import WorklistFilter
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.core.tally import Tally
from dicom_node.core.verdict import Verdict
from dicom_node.core.worklist import WorklistState


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime: ...


class StudyRepository(Protocol):
    """Studies, their instances and the associations that carry them."""

    def get(self, study_instance_uid: str) -> StudyIntake | None: ...
    def save(self, intake: StudyIntake) -> None:
        """Insert or update; `open_associations` and `instance_count` are derived and not written."""

    def list(
        self, *, states: Iterable[StudyState] | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[StudyIntake, ...]:
        """Newest `last_received_at` first."""

    def oldest(
        self,
        *,
        states: Iterable[StudyState],
        before: datetime,
        after: StudyIntake | None = None,
        limit: int = 100,
    ) -> tuple[StudyIntake, ...]:
        """Whose `last_received_at` is earlier than `before`, the oldest first, behind `after` in that order."""

    def tally(self) -> Mapping[StudyState, Tally]:
        """How many are in each state, and since when the one has been silent that has been so longest."""

    def find_instance(self, sop_instance_uid: str) -> InstanceRecord | None: ...
    def add_instance(self, record: InstanceRecord) -> None:
        """Insert. The SOP Instance UID is unique; a second one raises `StorageConflict`."""

    def add_instances(self, records: Sequence[InstanceRecord]) -> None:
        """As `add_instance` for each; they are of one study."""

    def replace_instance(self, record: InstanceRecord) -> None:
        """The row of this SOP Instance UID says what `record` says; its study stays the same."""

    def remove_instance(self, sop_instance_uid: str) -> None:
        """The instance has no row; its study stays."""

    def remove_instances(self, study_instance_uid: str) -> int:
        """The rows of the study's instances and of what carried it are gone; returns how many instances there were."""

    def instances(self, study_instance_uid: str) -> tuple[InstanceRecord, ...]: ...
    def has_file(self, file: Path) -> bool:
        """Whether an instance row names this file (path relative to the file store)."""

    def open_association(self, association_id: str, *, calling_aet: str, address: str, at: datetime) -> None: ...
    def carry(self, association_id: str, study_instance_uid: str) -> None:
        """Note that the open association carries the study. Twice is once."""

    def close_association(self, association_id: str, *, at: datetime, how: str) -> None: ...
    def open_association_count(self) -> int: ...
    def forget_open_associations(self, *, at: datetime) -> int:
        """At start-up: no association survives a restart. Returns how many were open."""


class JobRepository(Protocol):
    """Analysis jobs. A claim is one conditional UPDATE; a lost race returns None."""

    def add(self, *, study_instance_uid: str, revision: int, created_at: datetime) -> AnalysisJob:
        """A QUEUED job. (study, revision) is unique."""

    def get(self, job_id: int) -> AnalysisJob | None: ...
    def of_study(self, study_instance_uid: str) -> tuple[AnalysisJob, ...]:
        """Oldest revision first."""

    def of_studies(self, study_instance_uids: Sequence[str]) -> Mapping[str, tuple[AnalysisJob, ...]]:
        """As `of_study` by study; those without a job may be left out."""

    def tally(self) -> Mapping[JobState, Tally]:
        """How many are in each state of `UNSETTLED`, and when the oldest of them was queued."""

    def latest_results(self, *, limit: int) -> tuple[str, ...]:
        """The `result_json` of DONE jobs, the newest job first."""

    def claim(self, *, owner: str, now: datetime, lease_until: datetime) -> AnalysisJob | None:
        """Take the oldest QUEUED job: RUNNING, attempt + 1, leased to `owner`. None where there is none."""

    def extend_lease(self, job_id: int, *, owner: str, until: datetime) -> bool:
        """Heartbeat. False where `owner` no longer holds the lease (superseded, cancelled, expired)."""

    def unspoken(self, *, limit: int = 20) -> tuple[AnalysisJob, ...]:
        """Jobs that ended without a result (SKIPPED, FAILED, CANCELLED) and of which no peer was told yet."""

    def update(self, job: AnalysisJob, *, expected: AnalysisJob) -> bool:
        """Write `job` if the row still has `expected`'s state, attempt and lease owner; False for a lost race."""

    def due(self, now: datetime) -> tuple[AnalysisJob, ...]:
        """RETRY_WAIT jobs whose `next_attempt_at` has come."""

    def expired(self, now: datetime) -> tuple[AnalysisJob, ...]:
        """RUNNING jobs whose lease has run out."""

    def leased_by_others(self, owner: str, *, owner_prefix: str) -> tuple[AnalysisJob, ...]:
        """RUNNING jobs leased by an earlier life of this node (same prefix, other owner)."""


class DeliveryRepository(Protocol):
    """Deliveries; the same rules as for jobs."""

    def add(
        self,
        *,
        job_id: int,
        study_instance_uid: str,
        revision: int,
        peer: str,
        objects: tuple[ResultObject, ...],
        created_at: datetime,
        channel: Channel = Channel.OBJECTS,
        route: str = "",
        round: int = 1,
        is_urgent: bool = False,
    ) -> Delivery:
        """A PENDING delivery. (job, channel, peer, round) is unique."""

    def get(self, delivery_id: int) -> Delivery | None: ...
    def of_study(self, study_instance_uid: str) -> tuple[Delivery, ...]: ...
    def of_studies(self, study_instance_uids: Sequence[str]) -> Mapping[str, tuple[Delivery, ...]]:
        """As `of_study` by study; those without a delivery may be left out."""

    def list(
        self,
        *,
        states: Iterable[DeliveryState] | None = None,
        peer: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[Delivery, ...]:
        """Newest first, of these states and to this receiver."""

    def counted(self) -> Mapping[tuple[str, DeliveryState], int]:
        """How many there are to each receiver in each state."""

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        lease_until: datetime,
        busy_peers: Iterable[str] = (),
        channels: Iterable[Channel] = tuple(Channel),
        only_urgent: Iterable[str] = (),
    ) -> Delivery | None:
        """Take the PENDING delivery of these channels whose receiver is not busy: urgent ones first, then by age.

        Receivers in `only_urgent` are given nothing but what is urgent.
        """

    def extend_lease(self, delivery_id: int, *, owner: str, until: datetime) -> bool: ...
    def update(self, delivery: Delivery, *, expected: Delivery) -> bool: ...
    def record_answer(self, delivery_id: int, status: ObjectStatus) -> None:
        """Durable on its own commit: an object the peer has stored is not sent again after a crash."""

    def record_substitutions(self, delivery_id: int, substitutions: tuple[Substitution, ...]) -> None:
        """What is sent instead of what, in the place of what was recorded before."""

    def uncommitted(self, now: datetime) -> tuple[Delivery, ...]:
        """COMMIT_WAIT deliveries whose peer has had its time to report."""

    def failed(self, peer: str) -> tuple[Delivery, ...]:
        """FAILED deliveries to one receiver, oldest first."""

    def tally(self) -> Mapping[tuple[Channel, str, DeliveryState], Tally]:
        """How many are in each state that is not finished, by receiver, and when the oldest of them was made."""

    def waiting(self) -> dict[tuple[Channel, str], int]:
        """How many deliveries each receiver is still to get."""

    def due(self, now: datetime) -> tuple[Delivery, ...]: ...
    def expired(self, now: datetime) -> tuple[Delivery, ...]: ...
    def leased_by_others(self, owner: str, *, owner_prefix: str) -> tuple[Delivery, ...]: ...


class CircuitRepository(Protocol):
    """Receivers that could not be reached, one circuit each; those that can be have none."""

    def all(self) -> tuple[Circuit, ...]: ...
    def get(self, channel: Channel, peer: str) -> Circuit | None: ...
    def save(self, circuit: Circuit) -> None: ...
    def forget(self, channel: Channel, peer: str) -> bool:
        """The receiver was reached, or an operator says it can be. False where it had no circuit."""


class CommitmentRepository(Protocol):
    """Commitments: those we asked of peers (requests) and those peers asked of us (duties)."""

    def ask(self, request: CommitmentRequest) -> None:
        """Insert; the transaction UID is unique."""

    def request(self, transaction_uid: str) -> CommitmentRequest | None: ...
    def requests_of(self, delivery_id: int) -> tuple[CommitmentRequest, ...]:
        """Oldest first."""

    def report(self, report: CommitmentReport, *, at: datetime) -> None:
        """Keep what the peer said to a request. A later report adds to an earlier one."""

    def take_on(self, duty: CommitmentDuty) -> CommitmentDuty:
        """Keep what a peer asked; `id` is given here. Asked again with the same transaction UID, it begins anew."""

    def duties_due(self, now: datetime, *, limit: int = 20) -> tuple[CommitmentDuty, ...]:
        """Unfinished duties whose time has come, the longest waiting first."""

    def open_duties(self) -> tuple[CommitmentDuty, ...]:
        """Every duty whose peer was not told yet."""

    def duties(self, *, limit: int = 100) -> tuple[CommitmentDuty, ...]:
        """Newest first."""

    def unfinished_duties(self) -> int:
        """How many have not been answered yet."""

    def save_duty(self, duty: CommitmentDuty) -> None:
        """Write attempt, times and outcome."""


class HistoryRepository(Protocol):
    """One entry for each transition, never changed."""

    def append(self, entry: HistoryEntry) -> None: ...
    def of_study(self, study_instance_uid: str) -> tuple[HistoryEntry, ...]:
        """Oldest first."""


class QuarantineRepository(Protocol):
    """One row for each file that was ever set aside; what has become of it is written once."""

    def add(self, entry: QuarantinedFile) -> QuarantinedFile:
        """Insert; returns it with its id. The file is unique; a second one raises `StorageConflict`."""

    def get(self, entry_id: int) -> QuarantinedFile | None: ...
    def list(
        self,
        *,
        states: Iterable[QuarantineState] | None = None,
        study_instance_uid: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[QuarantinedFile, ...]:
        """Newest first."""

    def find(self, *, digest: str, sop_instance_uid: str) -> QuarantinedFile | None:
        """The last one of this content and UID, whatever became of it."""

    def of_file(self, file: Path) -> QuarantinedFile | None:
        """The row that names this file (path relative to the file store)."""

    def update(self, entry: QuarantinedFile, *, expected: QuarantinedFile) -> bool:
        """Write `entry` if the row still has `expected`'s state; False for a lost race."""

    def totals(self) -> QuarantineTotals:
        """Of what is HELD."""


class AccountRepository(Protocol):
    """Accounts with their sessions and tokens. Names are unique; a second one raises `StorageConflict`."""

    def add(self, account: Account) -> Account:
        """Insert; returns it with its id."""

    def get(self, account_id: int) -> Account | None: ...
    def by_name(self, name: str) -> Account | None: ...
    def list(self) -> tuple[Account, ...]:
        """By name."""

    def update(self, account: Account) -> None:
        """The row of this id says what `account` says."""

    def remove(self, account_id: int) -> None:
        """Gone with its sessions and tokens."""

    def open_session(self, session: Session) -> None: ...
    def session(self, digest: str) -> Session | None: ...
    def sessions(self, account_id: int) -> tuple[Session, ...]:
        """Newest first."""

    def seen(self, digest: str, *, at: datetime) -> None:
        """The session was used."""

    def end_session(self, digest: str) -> bool:
        """False where there was none."""

    def end_sessions(self, account_id: int) -> int:
        """All of the account; returns how many."""

    def forget_sessions(self, *, opened_before: datetime, seen_before: datetime) -> int:
        """Those that were opened or last seen by then are gone; returns how many."""

    def add_token(self, token: ApiToken) -> ApiToken:
        """Insert; returns it with its id."""

    def token(self, digest: str) -> ApiToken | None: ...
    def tokens(self) -> tuple[ApiToken, ...]:
        """Oldest first."""

    def remove_token(self, token_id: int) -> bool:
        """False where there was none."""

    def remove_tokens(self, account_id: int) -> int:
        """All of the account; returns how many."""


class VerdictRepository(Protocol):
    """Readers' verdicts, only ever added."""

    def add(self, verdict: Verdict) -> Verdict:
        """Insert; returns it with its id. Its study has a row, else `StorageConflict`."""

    def of_study(self, study_instance_uid: str) -> tuple[Verdict, ...]:
        """Newest first."""

    def newest(self, *, since: datetime | None = None) -> tuple[Verdict, ...]:
        """The last one on each study, of those given from `since` on; the oldest first."""


class WorklistRepository(Protocol):
    """The studies in the order of `core.standing`, without a look at those that are not shown."""

    def page(self, wanted: WorklistFilter, *, limit: int, offset: int = 0) -> tuple[StudyIntake, ...]:
        """The studies that are meant, those that come first first."""

    def tally(self, wanted: WorklistFilter) -> Mapping[tuple[WorklistState, bool], int]:
        """How many are meant, by state and by whether a fracture is suspected."""


class UnitOfWork(Protocol):
    """One transaction. Leaving the block without `commit()` rolls back.

    Raises `StorageUnavailable` where the database cannot be reached or written.
    """

    studies: StudyRepository
    jobs: JobRepository
    deliveries: DeliveryRepository
    history: HistoryRepository
    quarantine: QuarantineRepository
    circuits: CircuitRepository
    commitments: CommitmentRepository
    accounts: AccountRepository
    verdicts: VerdictRepository
    worklist: WorklistRepository

    def commit(self) -> None: ...
    def commit_unsynced(self) -> None:
        """As `commit`, but a power cut may undo it, whole: for what no start believes."""


UnitOfWorkFactory = Callable[[], AbstractContextManager[UnitOfWork]]
"""Opens a transaction; writers are serialised where the database needs it (SQLite: BEGIN IMMEDIATE)."""
HoldsInstance = Callable[[str], bool]
"""Whether the row of this SOP Instance UID is committed; asked for each image. Raises `StorageUnavailable`."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """`path` is relative to the file store's root; `digest` is the data set's (core.data_set_digest)."""

    path: Path
    digest: str
    size_bytes: int


class FileStore(Protocol):
    """Received bytes, durable when `write` returns. Raises `StorageUnavailable` with the cause (ENOSPC, EIO)."""

    def recover(self) -> None:
        """What was durable before a power cut has its final name: to be called before anything is looked for."""

    def write(
        self, study_key: str, head: bytes, data_set: bytes | memoryview, *, digest: bytes | None = None
    ) -> StoredFile:
        """Preamble + file meta (`head`) and the data set as sent, in a new file under a name of ours, fsynced.

        What stands in the preamble is the store's to choose. `digest` is the data set's where it is known.
        """

    def digest(self, path: Path, *, like: str) -> str:
        """The digest of the data set in a file of ours, of the kind of `like` (data_set_digest).

        Raises ValueError where it is no Part 10 file.
        """

    def absolute(self, path: Path) -> Path: ...
    def discard(self, path: Path) -> None:
        """Remove a file that was never acknowledged."""

    def set_aside(self, path: Path, *, reason: str, detail: dict[str, str]) -> Path:
        """Move to quarantine with a note beside it; returns the new relative path."""

    def keep_aside(
        self, head: bytes, data_set: bytes | memoryview, *, reason: str, detail: dict[str, str]
    ) -> StoredFile:
        """As `write`, into quarantine, with a note beside it; `discard` removes both."""

    def quarantined(self) -> tuple[Path, ...]:
        """Every file in quarantine."""

    def note_of(self, path: Path) -> dict[str, Any]:
        """The note beside a file in quarantine: `reason`, `detail`, `from`; empty where there is none to be read."""

    def free_bytes(self) -> int: ...
    def unfinished(self) -> tuple[Path, ...]:
        """Final files of recent days and temporary leftovers: where the sweep looks for files without a row."""

    def received(self) -> tuple[Path, ...]:
        """Every final file of any day."""

    def job_folder(self, job_id: int, *inner: str) -> Path:
        """An existing absolute folder for what the job's analysis and encoding leave, or one inside it.

        Its name survives a power cut, so that a result in it that was synced can be found again.
        """

    def job_folders(self) -> tuple[int, ...]:
        """The numbers of the jobs that have a folder."""

    def discard_job_folder(self, job_id: int) -> None:
        """Gone with all in it, also where it never was."""


class DecodedFrames(Protocol):
    """Frames that were decoded ahead, one file an image: a cache. Raises `StorageUnavailable`."""

    def begin(self) -> Mapping[str, int]:
        """Files can be made, and none is half made. Returns as `held`."""

    def held(self) -> Mapping[str, int]:
        """The digests of the images of which there is a file, the oldest file first, and its size in bytes."""

    def file(self, digest: str) -> Path:
        """The absolute file of the image whose data set has this digest, whether it is there or not."""

    def remove(self, digest: str) -> None:
        """Gone, also where it never was, and what was being written as well."""


class FrameDecoder(Protocol):
    """Decodes images away from this process, one after the other, at low priority. For one thread."""

    def decode(self, source: Path, target: Path, *, most_bytes: int, is_cancelled: Callable[[], bool]) -> DecodeOutcome:
        """`target` holds the frames of `source` where the outcome is Decoded, and is not there otherwise.

        `is_cancelled` is polled; True ends the decoder (DecoderLost).
        """

    def rest(self) -> None:
        """There is nothing to decode now."""


@dataclass(frozen=True, kw_only=True)
class AnalysisRequest:
    """`files` are absolute; `work_dir` exists and belongs to this attempt.

    `decoded` says for some of the files where their frames may lie decoded; what is not there is decoded again.
    """

    study_instance_uid: str
    revision: int
    files: tuple[Path, ...]
    work_dir: Path
    decoded: Mapping[Path, Path] = field(default_factory=dict)


class Analyzer(Protocol):
    """Runs selection, reading and the model away from this process.

    Raises WorkerLost, WorkerTimeout, GpuOutOfMemory, BundleMismatch, GeometryUnsupported, LocaliserUnusable.
    "Not applicable" is an AnalysisResult, not an error. `is_cancelled` is polled; True ends the work with WorkerLost.
    """

    def analyse(self, request: AnalysisRequest, *, is_cancelled: Callable[[], bool]) -> AnalysisResult: ...


class ResultEncoder(Protocol):
    """Turns an analysis into DICOM objects, pictures and a report in `out_dir`. Raises EncodingInvalid.

    UIDs depend on study, revision, bundle and kind alone; `created_at`, when the analysis began (IHE AIR),
    goes into Content Date and Time.
    `predecessor` are the objects of the previous delivered revision, named in the SR (PS3.3 C.17.2).
    """

    def encode(
        self,
        result: AnalysisResult,
        *,
        revision: int,
        created_at: datetime,
        out_dir: Path,
        predecessor: tuple[ResultObject, ...] = (),
    ) -> tuple[ResultObject, ...]: ...


class ResultSender(Protocol):
    """Sends to a peer what it takes of a shipment.

    Calls `on_plan` with what will be sent before the first object goes, and again where the peer's answers change it;
    `on_answer` after each object's response, so that a crash re-sends only what was not answered.
    Raises PeerUnreachable, AssociationAborted, PeerBusy (transient), PeerRefused, SopClassNotAccepted (permanent).
    """

    def send(
        self,
        peer: Peer,
        shipment: Shipment,
        *,
        on_plan: Callable[[Plan], None],
        on_answer: Callable[[ObjectStatus], None],
    ) -> None: ...


class StorageCommitter(Protocol):
    """Storage commitment with a peer (PS3.4 annex J), both ways."""

    def request(self, peer: Peer, transaction_uid: str, references: tuple[Reference, ...]) -> CommitmentReport | None:
        """The peer has taken the request. Its report, where it came on the same association; None: it comes later.

        Raises PeerUnreachable, AssociationAborted, PeerBusy (transient), PeerRefused, SopClassNotAccepted (permanent).
        """

    def report(self, peer: Peer, report: CommitmentReport, classes: Mapping[str, str]) -> None:
        """The peer has taken our report. `classes` are the SOP classes by SOP Instance UID. Raises as `request`."""


class Notifier(Protocol):
    """Tells a system of a positive result and waits for its acknowledgement.

    Raises PeerUnreachable, PeerBusy (transient), PeerRefused (permanent). No message names the patient.
    """

    def tell(self, notice: Notice) -> str:
        """Says in a sentence how it was acknowledged."""


class PeerDirectory(Protocol):
    """The configured peers as they are now; a change of configuration shows at the next call."""

    def peers(self) -> tuple[Peer, ...]: ...
    def by_name(self, name: str) -> Peer | None: ...


class PasswordHasher(Protocol):
    """Slow on purpose; used by many threads."""

    def hash(self, password: str) -> str: ...
    def verify(self, password_hash: str, password: str) -> bool:
        """Whether the hash was made of the password; False also for what is no hash."""

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other costs than those of today."""


class AuditLog(Protocol):
    """Where what happened to whose data is recorded. Never raises, never waits for a network."""

    def record(self, event: AuditEvent) -> None: ...


class Counters(Protocol):
    """Names and labels only; the metrics page is an adapter. Labels never hold patient data."""

    def count(self, name: str, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...
