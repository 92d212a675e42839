"""The life of one study in a node on a real disk and a real database, and what the world was told of it.

`World` is what no crash of the node touches: a scanner that sends again what was not acknowledged, and a PACS.
`Story` is what happens, action by action: images, one of them twice, one with other content, the close, the analysis,
a delivery that breaks off half way and is taken up again, a late image and the second revision. Whatever happens to
the node in between, the story can be gone on with: every action may be done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import Engine

from dicom_node.app.associations import RecordAssociations
from dicom_node.app.index_behind import BehindLimits, IndexBehind
from dicom_node.app.index_instance import Indexed
from dicom_node.app.receive_instance import DUPLICATE_SOP_INSTANCE, IncomingInstance, ReceiveInstance
from dicom_node.app.sweep import SweepReport
from dicom_node.bootstrap.leftovers import read_found_instance
from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.errors import AssociationAborted, NodeError, RejectedInput, StorageUnavailable
from dicom_node.core.finding import AnalysisResult, ResultKind, ResultObject
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.peer import Peer
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.core.worklist import WorklistState
from dicom_node.data_set_hash import digest_of
from dicom_node.dimse.file_meta import encode_file_meta
from dicom_node.ports import AnalysisRequest
from dicom_node.results.provenance import write
from storage.database import Database, open_database
from storage.files import DiskFileStore
from tests.crash.platter import Tree, lay_out
from tests.unit.app.node import CT, EXPLICIT, STUDY, T0, FakeClock, Node, analysed, incoming

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@cache
def image(number: int, content: str = "") -> IncomingInstance:
    """Image `number` of the study as a small CT data set; `content` makes another one of the same UID."""
    plain = incoming(number)
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = CT, plain.sop_instance_uid
    data_set.Modality = "CT"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY, f"{STUDY}.1"
    data_set.ImageComments = content or f"image {number}"
    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = True, False
    write_dataset(encoded, data_set)
    head = encode_file_meta(
        sop_class_uid=CT,
        sop_instance_uid=plain.sop_instance_uid,
        transfer_syntax_uid=EXPLICIT,
        calling_aet="SCANNER",
        called_aet="CSPINE_AI",
    )
    return incoming(number, head=head, content=encoded.getvalue())


@dataclass
class World:
    """What the scanner was told and what the PACS holds."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    told_of_conflict: set[str] = field(default_factory=set)
    held: dict[str, bytes] = field(default_factory=dict)
    arrivals: list[str] = field(default_factory=list)
    has_aborted: bool = False
    violations: list[str] = field(default_factory=list)
    associations: int = 0

    def copy(self) -> World:
        return World(
            acknowledged=dict(self.acknowledged),
            told_of_conflict=set(self.told_of_conflict),
            held=dict(self.held),
            arrivals=list(self.arrivals),
            has_aborted=self.has_aborted,
            violations=list(self.violations),
            associations=self.associations,
        )


class Pacs:
    """A PACS that reads what it is sent; aborts its first association after one object."""

    def __init__(self, world: World, clock: FakeClock) -> None:
        self._world = world
        self._clock = clock

    def send(
        self,
        peer: Peer,
        shipment: Shipment,
        *,
        on_plan: Callable[[Plan], None],
        on_answer: Callable[[ObjectStatus], None],
    ) -> None:
        plan = shipment.plan(lambda entry: "")
        files = {entry.sop_instance_uid: entry.file.read_bytes() for entry in plan.objects}
        on_plan(plan)
        for entry in plan.objects:
            uid = entry.sop_instance_uid
            if uid in shipment.stored:
                continue
            if self._world.held and not self._world.has_aborted:
                self._world.has_aborted = True
                raise AssociationAborted(f"{peer.name} aborted")
            if self._world.held.get(uid, files[uid]) != files[uid]:
                self._world.violations.append(f"{uid} came again with other content")
            self._world.held[uid] = files[uid]
            self._world.arrivals.append(uid)
            on_answer(ObjectStatus(sop_instance_uid=uid, status=0x0000, answered_at=self._clock.now()))


class StandInAnalyzer:
    """Reads every image, as the real one would, and says which it saw."""

    def analyse(self, request: AnalysisRequest, *, is_cancelled: Callable[[], bool]) -> AnalysisResult:
        for file in request.files:
            assert file.read_bytes()[128:132] == b"DICM"
        return analysed(request.study_instance_uid)


class SmallEncoder:
    """Two objects, written as the real ones are."""

    def encode(
        self,
        result: AnalysisResult,
        *,
        revision: int,
        created_at: datetime,
        out_dir: Path,
        predecessor: tuple[ResultObject, ...] = (),
    ) -> tuple[ResultObject, ...]:
        return tuple(self._object(kind, revision, created_at, out_dir) for kind in (ResultKind.SEG, ResultKind.SR))

    def _object(self, kind: ResultKind, revision: int, created_at: datetime, out_dir: Path) -> ResultObject:
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID = SECONDARY_CAPTURE
        made.SOPInstanceUID = derived_uid(STUDY, str(revision), kind.value)
        made.ContentTime = created_at.strftime("%H%M%S")
        made.ImageComments = "x" * 500
        file = out_dir / f"{kind.lower()}.dcm"
        write(made, file)
        return ResultObject(
            kind=kind,
            sop_class_uid=SECONDARY_CAPTURE,
            sop_instance_uid=made.SOPInstanceUID,
            series_instance_uid=derived_uid(STUDY, kind.value),
            file=file,
        )


class DiskNode(Node):
    """The use cases on a real disk and database; a life that begins at `at`."""

    def __init__(self, root: Path, world: World, *, database: Database, at: datetime) -> None:
        self._world, self._at = world, at
        super().__init__(
            root,
            database=database,
            files=lambda folder, clock: DiskFileStore(folder, clock=clock),
            read_found=read_found_instance,
        )

    def restart(self) -> SweepReport:
        self.clock.at = max(self.clock.at, self._at)
        self.pacs = Pacs(self._world, self.clock)  # type: ignore[assignment]
        self.analyzer = StandInAnalyzer()  # type: ignore[assignment]
        self.encoder = SmallEncoder()  # type: ignore[assignment]
        report = super().restart()
        self.behind = _IndexAtOnce(
            uow_factory=self.uow,
            reading=self.database.reading,
            files=self.files,
            limits=BehindLimits(same_uid_timeout_s=0.0),
        )
        self.associations = RecordAssociations(uow_factory=self.uow, clock=self.clock, behind=self.behind)
        self.receive = ReceiveInstance(
            uow_factory=self.uow,
            files=self.files,
            clock=self.clock,
            counters=self.counters,
            min_free_bytes=1000,
            behind=self.behind,
        )
        return report


class _IndexAtOnce(IndexBehind):
    """Has no thread that writes rows: who waits for one writes what waits."""

    def until_open(self, association_id: str) -> None:
        with suppress(StorageUnavailable):
            self.step()
        super().until_open(association_id)


_ENGINES: dict[Path, Engine] = {}


def _opened(root: Path) -> Database:
    """A new life's database. SQLAlchemy's engine goes on from life to life: it holds no rows while nothing is open, and
    compiling every statement anew takes most of the time otherwise."""
    if root not in _ENGINES:
        _ENGINES[root] = open_database("sqlite", data_dir=root).engine
    return Database(_ENGINES[root])


def begin_with(tree: Tree, root: Path) -> None:
    """`root` holds `tree` and nothing else, and no earlier life has anything open there."""
    if root in _ENGINES:
        _ENGINES[root].dispose()
    shutil.rmtree(root, ignore_errors=True)
    lay_out(tree, root)


class Life:
    """One process of the node over what is in `root`."""

    def __init__(self, root: Path, world: World, *, at: datetime = T0) -> None:
        self.root = root
        self.world = world
        self._unclosed: list[str] = []
        self.database = _opened(root)
        self.database.empty_log()
        self.node = DiskNode(root, world, database=self.database, at=at)

    def send(self, number: int, content: str = "") -> None:
        """The scanner sends an image and remembers what it is told."""
        self.world.associations += 1
        association = f"association-{self.world.associations}"
        sent = replace(image(number, content), association_id=association)
        with self._association(association):
            try:
                answer = self.node.receive(sent)
            except RejectedInput as refused:
                if refused.status == DUPLICATE_SOP_INSTANCE:
                    self.world.told_of_conflict.add(content)
                return
        assert answer in (Indexed.NEW, Indexed.IDENTICAL)
        self.world.acknowledged[sent.sop_instance_uid] = digest_of(sent.data_set)

    @contextmanager
    def _association(self, name: str) -> Iterator[None]:
        with suppress(StorageUnavailable):
            self.node.associations.opened(name, calling_aet="SCANNER", address="::1")
        yield
        self._unclosed.append(name)
        self._close_associations()

    def _close_associations(self) -> None:
        """As the receiver: rows behind the answer first; an end that could not be recorded is recorded a little later.

        In the node another thread writes the rows; here they are written between the answer and the end.
        """
        with suppress(StorageUnavailable):
            while self.node.behind.step():
                pass
            while self._unclosed:
                self.node.close_association(self._unclosed[0])
                self._unclosed.pop(0)

    def tick(self, call: Callable[[], Any]) -> None:
        """As the scheduler: what fails is tried again at the next tick."""
        with suppress(NodeError):
            call()

    def send_what_is_missing(self) -> None:
        for number in (1, 2, 3, 4):
            if image(number).sop_instance_uid not in self.world.acknowledged:
                self.send(number)
        if "other" not in self.world.told_of_conflict:
            self.send_conflict()

    def send_conflict(self) -> None:
        """Another scanner has given the UID of image 2 to another image; it comes after the one the node holds."""
        if image(2).sop_instance_uid in self.world.acknowledged:
            self.send(2, "other")

    def settle(self) -> None:
        """Everything is sent and the node has had time for everything that waits."""
        for _ in range(14):
            self._close_associations()
            self.send_what_is_missing()
            node = self.node
            for call in (
                node.closing.tick,
                node.requeue.tick,
                node.analysis.step,
                node.status.tick,
                node.delivery.step,
            ):
                self.tick(call)
            if self._is_quiet():
                return
            node.clock.advance(61)

    def _is_quiet(self) -> bool:
        if len(self.world.acknowledged) < 4 or not self.world.told_of_conflict:
            return False
        with suppress(NodeError):
            return self.node.state() is WorklistState.DELIVERED
        return False

    def end(self) -> None:
        """The process is gone; what it had open is closed without another word to the disk's model."""
        self.database.close()


Action = Callable[[Life], None]


def _tick(name: str, seconds: float = 0) -> Action:
    def act(life: Life) -> None:
        life.node.clock.advance(seconds)
        call = life.node
        for part in name.split("."):
            call = getattr(call, part)
        life.tick(call)

    return act


STORY: tuple[tuple[str, Action], ...] = (
    ("image 1", lambda life: life.send(1)),
    ("image 2", lambda life: life.send(2)),
    ("image 1 again", lambda life: life.send(1)),
    ("image 3", lambda life: life.send(3)),
    ("image 2 with other content", lambda life: life.send_conflict()),
    ("close", _tick("closing.tick", 31)),
    ("analyse", _tick("analysis.step")),
    ("deliver, broken off", _tick("delivery.step")),
    ("due again", _tick("requeue.tick", 61)),
    ("deliver the rest", _tick("delivery.step")),
    ("late image", lambda life: life.send(4)),
    ("close again", _tick("closing.tick", 31)),
    ("analyse again", _tick("analysis.step")),
    ("deliver again", _tick("delivery.step", 31)),
)


def check(life: Life) -> None:
    """What was acknowledged is there, what is there was delivered once, nothing is left over or stuck."""
    node, world, root = life.node, life.world, life.root
    assert not world.violations
    detail = node.detail()
    assert detail.status.state is WorklistState.DELIVERED, detail.status.why
    assert set(world.acknowledged) == {image(number).sop_instance_uid for number in (1, 2, 3, 4)}
    with node.database.reading() as uow:
        records = {record.sop_instance_uid: record for record in uow.studies.instances(STUDY)}
    assert records.keys() == world.acknowledged.keys()
    for uid, digest in world.acknowledged.items():
        held = node.files.absolute(records[uid].file).read_bytes()
        assert records[uid].digest == digest
        assert held.endswith(bytes(_sent_with(digest))), f"{uid}: other bytes on the disk"
    kept = [file.read_bytes() for file in (root / "quarantine").rglob("*.dcm")]
    assert any(content.endswith(bytes(image(2, "other").data_set)) for content in kept), "the conflict is not kept"
    named = {node.files.absolute(record.file) for record in records.values()}
    assert {*(root / "received").rglob("*.dcm"), *(root / "incoming").glob("*")} == named, "left over"
    for delivery in detail.deliveries:
        assert delivery.lease is None
        for entry in delivery.objects if delivery.revision == detail.study.revision else ():
            assert world.held[entry.sop_instance_uid] == entry.file.read_bytes()
    revisions = range(1, detail.study.revision + 1)
    possible = {derived_uid(STUDY, str(n), kind.value) for n in revisions for kind in (ResultKind.SEG, ResultKind.SR)}
    assert world.held.keys() <= possible
    assert not detail.study.open_associations


@cache
def _sent_with(digest: str) -> bytes:
    for number in (1, 2, 3, 4):
        if digest_of(image(number).data_set) == digest:
            return bytes(image(number).data_set)
    raise AssertionError("never sent")
