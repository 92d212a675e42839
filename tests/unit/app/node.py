"""A whole node without network, model or disk: the use cases on the in-memory twin, a clock that is advanced by hand,
an analyzer, an encoder and PACS that do as they are told, and `restart` for a life after a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from dicom_node.app.carry_notices import NoticeCarrier
from dicom_node.app.carry_objects import ObjectCarrier
from dicom_node.app.close_studies import CloseStudies
from dicom_node.app.commitment_duties import CommitmentDuties
from dicom_node.app.commitments import TakeReports
from dicom_node.app.deliver_results import DeliverResults, DeliveryPolicy
from dicom_node.app.found_instance import FoundInstance, FoundInstanceReader
from dicom_node.app.index_instance import Indexed
from dicom_node.app.operator_actions import OperatorActions
from dicom_node.app.outbox import Outbox
from dicom_node.app.quarantine import Quarantine
from dicom_node.app.queries import StudyDetail, study_detail
from dicom_node.app.receive_instance import IncomingInstance, InstanceHeader, ReceiveInstance
from dicom_node.app.report_status import ReportStatus
from dicom_node.app.requeue import Requeue
from dicom_node.app.run_analysis import AnalysisPolicy, RunAnalysis
from dicom_node.app.sweep import Sweep, SweepReport
from dicom_node.core.commitment import CommitmentReport, Reference
from dicom_node.core.completeness import ClosePolicy
from dicom_node.core.delivery import Channel, Delivery, ObjectStatus
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import AssociationAborted, PeerUnreachable
from dicom_node.core.finding import (
    LEVELS,
    AnalysisResult,
    BundleIdentity,
    Finding,
    LevelStatus,
    Outcome,
    ResultKind,
    ResultObject,
    SelectionRecord,
    SeriesRejection,
)
from dicom_node.core.identifiers import AETitle, derived_uid
from dicom_node.core.job import AnalysisJob
from dicom_node.core.peer import Peer
from dicom_node.core.routing import RoutingRule
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.core.study import PatientSummary, StudyIntake
from dicom_node.core.worklist import WorklistState
from dicom_node.ports import AnalysisRequest, UnitOfWork
from storage.memory import MemoryDatabase, MemoryFileStore

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STUDY = "1.2.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BUNDLE = BundleIdentity(name="cspine", version="1", sha256="ab" * 32)


@contextmanager
def silenced() -> Iterator[None]:
    """No log lines: their rendering is slow, and a failing test tells more."""
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(processors=before)


def _drop(*_: object) -> None:
    raise structlog.DropEvent


class FakeClock:
    def __init__(self, at: datetime = T0) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class RecordingCounters:
    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}
        self.values: dict[str, list[float]] = {}

    def count(self, name: str, **labels: str) -> None:
        key = (name, *labels.values())
        self.counts[key] = self.counts.get(key, 0) + 1

    def observe(self, name: str, value: float, **labels: str) -> None:
        self.values.setdefault(name, []).append(value)


class FakePeers:
    def __init__(self, *peers: Peer) -> None:
        self.known = list(peers)

    def peers(self) -> tuple[Peer, ...]:
        return tuple(self.known)

    def by_name(self, name: str) -> Peer | None:
        return next((peer for peer in self.known if peer.name == name), None)


class FakeAnalyzer:
    """Does the next thing of `script`: raises an exception, returns a result, or calls a function; else analyses."""

    def __init__(self) -> None:
        self.script: list[Exception | AnalysisResult | Callable[[Callable[[], bool]], None]] = []
        self.requests: list[AnalysisRequest] = []

    def analyse(self, request: AnalysisRequest, *, is_cancelled: Callable[[], bool]) -> AnalysisResult:
        self.requests.append(request)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if isinstance(step, AnalysisResult):
            return step
        if step is not None:
            step(is_cancelled)
        return analysed(request.study_instance_uid)


class FakeEncoder:
    """Objects of `kinds` with UIDs of study, revision and kind, as the real one."""

    def __init__(self) -> None:
        self.predecessors: list[tuple[ResultObject, ...]] = []
        self.results: list[AnalysisResult] = []
        self.created_at: list[datetime] = []
        self.failure: Exception | None = None
        self.kinds: tuple[ResultKind, ...] = (ResultKind.SEG, ResultKind.SR)

    def encode(
        self,
        result: AnalysisResult,
        *,
        revision: int,
        created_at: datetime,
        out_dir: Path,
        predecessor: tuple[ResultObject, ...] = (),
    ) -> tuple[ResultObject, ...]:
        self.predecessors.append(predecessor)
        self.results.append(result)
        self.created_at.append(created_at)
        if self.failure is not None:
            raise self.failure
        return tuple(
            ResultObject(
                kind=kind,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
                sop_instance_uid=derived_uid(result.study_instance_uid, str(revision), kind.value),
                series_instance_uid=derived_uid(result.study_instance_uid, kind.value),
                file=out_dir / f"{kind.value}.dcm",
            )
            for kind in (self.kinds if result.outcome is Outcome.ANALYSED else (ResultKind.STATUS_SR,))
        )


@dataclass
class FakePacs:
    """Every PACS of the world: `held` counts how often each object arrived at each peer."""

    clock: FakeClock
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    abort_after: int | None = None
    before_answer: Callable[[], None] = lambda: None
    calls: list[tuple[str, int]] = field(default_factory=list)
    refusals: dict[str, dict[ResultKind, str]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, tuple[Reference, ...]]] = field(default_factory=list)
    reports: list[Exception | Callable[[CommitmentReport], CommitmentReport | None]] = field(default_factory=list)

    def send(
        self,
        peer: Peer,
        shipment: Shipment,
        *,
        on_plan: Callable[[Plan], None],
        on_answer: Callable[[ObjectStatus], None],
    ) -> None:
        if peer.name in self.away:
            raise PeerUnreachable(f"{peer.name} does not take a TCP connection")
        refusals = self.refusals.get(peer.name, {})
        plan = shipment.plan(lambda entry: refusals.get(entry.kind, ""))
        objects = [entry for entry in plan.objects if entry.sop_instance_uid not in shipment.stored]
        self.calls.append((peer.name, len(objects)))
        if self.failures:
            raise self.failures.pop(0)
        on_plan(plan)
        for number, entry in enumerate(objects):
            if self.abort_after is not None and number >= self.abort_after:
                self.abort_after = None
                raise AssociationAborted(f"{peer.name} aborted")
            status = self.answers.pop(0) if self.answers else 0x0000
            if status == 0x0000 or 0xB000 <= status <= 0xBFFF:  # with a warning it is stored as well (PS3.4 B.2.3)
                key = (peer.name, entry.sop_instance_uid)
                self.held[key] = self.held.get(key, 0) + 1
            self.before_answer()
            on_answer(
                ObjectStatus(sop_instance_uid=entry.sop_instance_uid, status=status, answered_at=self.clock.now())
            )

    def request(self, peer: Peer, transaction_uid: str, references: tuple[Reference, ...]) -> CommitmentReport | None:
        """Does the next thing of `reports` with what a peer that keeps everything would say; else says it later."""
        if peer.name in self.away:
            raise PeerUnreachable(f"{peer.name} does not take a TCP connection")
        self.asked.append((peer.name, transaction_uid, references))
        step = self.reports.pop(0) if self.reports else None
        if isinstance(step, Exception):
            raise step
        return None if step is None else step(self.keeps_all())

    def keeps_all(self) -> CommitmentReport:
        """What a peer that keeps everything says to the last request."""
        _, transaction_uid, references = self.asked[-1]
        return CommitmentReport(
            transaction_uid=transaction_uid, committed=tuple(entry.sop_instance_uid for entry in references)
        )

    def report(self, peer: Peer, report: CommitmentReport, classes: Mapping[str, str]) -> None:
        raise AssertionError("this PACS asks nothing of the node")


def analysed(study_instance_uid: str = STUDY, probability: float = 0.9) -> AnalysisResult:
    findings = tuple(
        Finding(
            level=level,
            status=LevelStatus.ASSESSED,
            threshold=0.5,
            probability=probability if level == "C2" else 0.1,
            location_mm_lps=(0.0, 1.0, 2.0),
        )
        for level in LEVELS[:-1]
    )
    return AnalysisResult(
        study_instance_uid=study_instance_uid,
        outcome=Outcome.ANALYSED,
        reason=None,
        selection=SelectionRecord(chosen="1.2.3.1"),
        bundle=BUNDLE,
        device="cpu",
        findings=findings,
        overall_probability=probability,
        overall_threshold=0.5,
        timings_s=(("read", 1.0), ("localise", 2.0), ("classify", 3.0)),
    )


def not_applicable(study_instance_uid: str = STUDY) -> AnalysisResult:
    rejection = SeriesRejection(series_instance_uid="1.2.3.1", rule="no_cervical_spine", detail="no vertebra found")
    return AnalysisResult(
        study_instance_uid=study_instance_uid,
        outcome=Outcome.NOT_APPLICABLE,
        reason="no cervical spine was found",
        selection=SelectionRecord(chosen=None, rejected=(rejection,)),
        bundle=BUNDLE,
        device="cpu",
    )


def pacs(name: str = "pacs", **changes: Any) -> Peer:
    values = {"receives_results": True} | changes
    return Peer(name=name, ae_title=AETitle(name.upper()), host="127.0.0.1", port=104, **values)


def incoming(number: int = 1, *, study: str = STUDY, content: bytes = b"", **changes: object) -> IncomingInstance:
    """Instance `number` of a study; its content follows from its UID unless `content` is given."""
    uid = f"{study}.1.{number}"
    header = InstanceHeader(
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=uid,
        sop_class_uid=CT,
        modality="CT",
        patient=PatientSummary(patient_id="P1", patient_name="Doe^Jane"),
    )
    values: dict[str, object] = {
        "head": b"head",
        "data_set": content or uid.encode(),
        "header": header,
        "sop_instance_uid": uid,
        "sop_class_uid": CT,
        "transfer_syntax_uid": EXPLICIT,
        "calling_aet": "SCANNER",
        "called_aet": "CSPINE_AI",
        "association_id": "",
    }
    return IncomingInstance(**{**values, **changes})  # type: ignore[arg-type]


class Node:
    """The use cases of one node. What survives a kill is `database` and `files`; `restart` makes the rest anew."""

    def __init__(
        self,
        root: Path,
        *,
        peers: tuple[Peer, ...] = (pacs(),),
        database: Any = None,
        files: Callable[[Path, FakeClock], Any] = lambda root, clock: MemoryFileStore(root, clock=clock),
        read_found: FoundInstanceReader | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.database = database or MemoryDatabase()
        self.files = files(root, self.clock)
        self.peers = FakePeers(*peers)
        self.pacs = FakePacs(self.clock)
        self.analyzer = FakeAnalyzer()
        self.encoder = FakeEncoder()
        self.counters = RecordingCounters()
        self.rules: tuple[RoutingRule, ...] = ()
        self.notifiers: dict[Channel, Any] = {}
        self.life = 0
        self.found: dict[Path, FoundInstance] = {}
        self.read_found: FoundInstanceReader = read_found or self.found.get
        self.restart()

    def restart(self) -> SweepReport:
        """A new life on the same rows and files, up to the end of the sweep."""
        self.life += 1
        owner = f"node/{self.life}"
        basis = {"uow_factory": self.uow, "clock": self.clock}
        work = {**basis, "counters": self.counters, "owner": owner, "randomness": lambda: 0.0}
        self.receive = ReceiveInstance(**basis, files=self.files, counters=self.counters, min_free_bytes=1000)
        self.closing = CloseStudies(**basis, counters=self.counters, policy=ClosePolicy())
        self.requeue = Requeue(**basis, terms_of=self.terms_of)
        self.analysis = RunAnalysis(
            **work,
            files=self.files,
            analyzer=self.analyzer,
            encoder=self.encoder,
            outbox=Outbox(peers=self.peers, rules=self.rules, notifies=tuple(self.notifiers)),
            policy=AnalysisPolicy(),
        )
        objects = ObjectCarrier(**basis, sender=self.pacs, peers=self.peers, committer=self.pacs, terms=DeliveryTerms())
        self.delivery = DeliverResults(
            **work,
            carriers={Channel.OBJECTS: objects},
            policy=DeliveryPolicy(),
            peers=self.peers,
            local_time=lambda at: at,
        )
        self.status = ReportStatus(
            **basis, files=self.files, encoder=self.encoder, outbox=Outbox(peers=self.peers, rules=self.rules)
        )
        self.notifying = {
            channel: DeliverResults(
                **work,
                carriers={channel: NoticeCarrier(uow_factory=self.uow, notifier=notifier)},
                policy=DeliveryPolicy(),
            )
            for channel, notifier in self.notifiers.items()
        }
        self.duties = CommitmentDuties(
            **basis,
            files=self.files,
            peers=self.peers,
            committer=self.pacs,
            read_found=lambda file: self.read_found(file),
            terms=DeliveryTerms(),
            randomness=lambda: 0.0,
        )
        self.reports = TakeReports(**basis, peers=self.peers, terms=DeliveryTerms(), randomness=lambda: 0.0)
        self.operator = OperatorActions(**basis, counters=self.counters)
        self.quarantine = Quarantine(
            **basis,
            reading=self.database.reading,
            files=self.files,
            read_found=lambda file: self.read_found(file),
        )
        sweep = Sweep(
            **basis,
            files=self.files,
            requeue=self.requeue,
            read_found=self.read_found,
            owner=owner,
            owner_prefix="node/",
        )
        return sweep.run()

    def terms_of(self, name: str) -> DeliveryTerms:
        peer = self.peers.by_name(name)
        return peer.delivery.over(DeliveryTerms()) if peer is not None else DeliveryTerms()

    def uow(self) -> UnitOfWork:
        return self.database.unit_of_work()

    def open_association(self, association_id: str) -> None:
        with self.uow() as uow:
            uow.studies.open_association(association_id, calling_aet="SCANNER", address="::1", at=self.clock.now())
            uow.commit()

    def close_association(self, association_id: str) -> None:
        with self.uow() as uow:
            uow.studies.close_association(association_id, at=self.clock.now(), how="released")
            uow.commit()

    def receive_study(self, count: int = 3, study: str = STUDY) -> None:
        for number in range(1, count + 1):
            assert self.receive(incoming(number, study=study)) is Indexed.NEW

    def close_now(self) -> None:
        """Let the quiet period pass."""
        self.clock.advance(31)
        assert self.closing.tick() == 1

    def turn(self) -> None:
        """Every tick of the node once."""
        self.closing.tick()
        self.requeue.tick()
        self.analysis.step()
        self.status.tick()
        self.delivery.step()
        for worker in self.notifying.values():
            worker.step()

    def settle(self, turns: int = 60, seconds: float = 31) -> None:
        """Turn until the rows no longer change by themselves."""
        for _ in range(turns):
            self.turn()
            self.clock.advance(seconds)

    def detail(self, study: str = STUDY) -> StudyDetail:
        with self.database.reading() as uow:
            found = study_detail(uow, study)
        assert found is not None
        return found

    def study(self, study: str = STUDY) -> StudyIntake:
        return self.detail(study).study

    def job(self, study: str = STUDY) -> AnalysisJob:
        found = self.detail(study).job
        assert found is not None
        return found

    def deliveries(self, study: str = STUDY) -> tuple[Delivery, ...]:
        return self.detail(study).deliveries

    def state(self, study: str = STUDY) -> WorklistState:
        return self.detail(study).status.state

    def events(self, subject: str) -> list[str]:
        return [entry.event for entry in self.detail().history if entry.subject == subject]


def without_class(instance: IncomingInstance) -> IncomingInstance:
    assert instance.header is not None
    return replace(instance, header=replace(instance.header, sop_class_uid=""))
