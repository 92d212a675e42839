"""PACSs that refuse this or that: each gets a usable result, and what was sent instead of what is on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.app.carry_objects import ObjectCarrier
from dicom_node.app.deliver_results import DeliverResults, DeliveryPolicy
from dicom_node.cli.conformance_objects import CREATED
from dicom_node.core.delivery import Channel, Delivery, DeliveryState
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.finding import ResultKind as K
from dicom_node.core.finding import ResultObject
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import AUTOMATIC, ObjectChoice, Peer, object_choice
from dicom_node.demo.stand_in_pacs import Faults, StandInPacs
from dicom_node.dimse.requestor import Timeouts
from dicom_node.dimse.sender import DimseSender
from dicom_node.results.encoder import DicomResultEncoder
from tests.builders.every_object import CLASSES, SC_CLASS, SEG_CLASSES, SR_CLASSES
from tests.builders.results import make_result
from tests.builders.views import make_views
from tests.unit.app.node import STUDY, FakeEncoder, Node, silenced

QUICK = Timeouts(connect_s=5.0, associate_s=5.0, answer_s=5.0)
ENCODER = DicomResultEncoder(manufacturer="the project", software_version="0.1.0", device_serial="42")
ENCODED: list[ResultObject] = []


@pytest.fixture(scope="module", autouse=True)
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the encoder makes of a small positive study, once for all tests."""
    folder = tmp_path_factory.mktemp("encoded")
    views = make_views(folder / "views")
    result = replace(make_result(folder, n=24, rows=32, columns=32), views_path=views)
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ENCODED.extend(ENCODER.encode(result, revision=1, created_at=at, out_dir=folder / "out"))
    yield
    ENCODED.clear()


class RealObjects(FakeEncoder):
    """Encodes nothing: the objects lie there already."""

    def __init__(self, objects: tuple[ResultObject, ...]) -> None:
        super().__init__()
        self.objects = objects

    def encode(self, *_: object, **__: object) -> tuple[ResultObject, ...]:
        return self.objects


class DeliveringNode(Node):
    """A node with an analysed study whose delivery goes over the network to the stand-in PACS."""

    def __init__(self, root: Path, to: StandInPacs, choice: ObjectChoice) -> None:
        self.to = to
        peer = Peer(
            name="pacs",
            ae_title=AETitle("PACS"),
            host="127.0.0.1",
            port=to.port,
            receives_results=True,
            objects=choice,
        )
        super().__init__(root, peers=(peer,))
        self.encoder = RealObjects(tuple(ENCODED))
        self.restart()
        self.receive_study(1)
        self.close_now()
        self.analysis.step()

    def restart(self):
        report = super().restart()
        sender = DimseSender(own_aet="CSPINE_AI", clock=self.clock, timeouts=QUICK)
        carrier = ObjectCarrier(
            uow_factory=self.uow,
            sender=sender,
            peers=self.peers,
            clock=self.clock,
            committer=self.pacs,
            terms=DeliveryTerms(),
        )
        self.delivery = DeliverResults(
            uow_factory=self.uow,
            carriers={Channel.OBJECTS: carrier},
            clock=self.clock,
            counters=self.counters,
            policy=DeliveryPolicy(),
            owner=f"node/{self.life}",
            randomness=lambda: 0.0,
        )
        return report

    def delivered(self) -> Delivery:
        (delivery,) = self.deliveries(STUDY)
        return delivery

    def kinds_at_peer(self) -> set[K]:
        by_uid = {entry.sop_instance_uid: entry.kind for entry in self.encoder.objects}
        return {by_uid[file.stem] for file in self.to.files()}


@contextmanager
def delivering(tmp_path: Path, choice: ObjectChoice = AUTOMATIC, **faults: object) -> Iterator[DeliveringNode]:
    with silenced(), StandInPacs(tmp_path / "pacs", faults=Faults(**faults)) as to:  # type: ignore[arg-type]
        yield DeliveringNode(tmp_path / "node", to, choice)


@pytest.mark.parametrize(
    ("faults", "kinds", "instead"),
    [
        ({}, {K.SEG, K.SUSPICION_SEG, K.SR, K.TEXT_SR, K.SC}, {}),
        (
            {"refused_sop_classes": frozenset({CLASSES[K.SR]})},
            {K.SEG, K.SUSPICION_SEG, K.SR_COMPREHENSIVE, K.TEXT_SR, K.SC},
            {K.SR: K.SR_COMPREHENSIVE},
        ),
        (
            {"refused_sop_classes": frozenset({CLASSES[K.SR], CLASSES[K.SR_COMPREHENSIVE]})},
            {K.SEG, K.SUSPICION_SEG, K.SR_ENHANCED, K.TEXT_SR, K.SC},
            {K.SR: K.SR_ENHANCED},
        ),
        (
            {"refused_sop_classes": SR_CLASSES},
            {K.SEG, K.SUSPICION_SEG, K.PDF, K.SC},
            {K.SR: K.PDF, K.TEXT_SR: K.PDF},
        ),
        (
            {"refused_sop_classes": SEG_CLASSES},
            {K.SR, K.TEXT_SR, K.SC},
            {K.SEG: K.SC, K.SUSPICION_SEG: K.SC},
        ),
        (
            {"only_sop_classes": frozenset({SC_CLASS})},
            {K.SC},
            {K.SEG: K.SC, K.SUSPICION_SEG: K.SC, K.SR: K.SC, K.TEXT_SR: K.SC},
        ),
        # It accepts the presentation context and then cannot do anything with the object.
        (
            {"answers_by_class": {CLASSES[K.SR]: 0x0122}},
            {K.SEG, K.SUSPICION_SEG, K.SR_COMPREHENSIVE, K.TEXT_SR, K.SC},
            {K.SR: K.SR_COMPREHENSIVE},
        ),
    ],
    ids=["all", "no-comp-3d", "enhanced-only", "no-sr", "no-seg", "sc-only", "refused-at-c-store"],
)
def test_a_picky_pacs_gets_a_usable_result_and_the_fallback_is_on_record(tmp_path, faults, kinds, instead):
    with delivering(tmp_path, **faults) as node:
        node.delivery.step()
        delivery = node.delivered()
        assert (delivery.state, delivery.failure) == (DeliveryState.STORED, "")
        assert node.kinds_at_peer() == kinds
        assert {entry.wanted: entry.sent for entry in delivery.substitutions} == instead
        assert node.to.associations == 1
        assert max(node.to.requests.values()) == 1
        told = [entry.reason for entry in node.detail().history if entry.event == "objects_chosen"]
        assert bool(told) == bool(instead)
        assert all("the peer" in entry.why for entry in delivery.substitutions)


def test_the_kinds_have_the_sop_classes_that_the_conformance_statement_names():
    assert {entry.kind: entry.sop_class_uid for entry in ENCODED} == {
        kind: made.sop_class_uid for kind, made in CREATED.items() if kind not in (K.SEG_LABELMAP, K.STATUS_SR)
    }


def test_a_pacs_that_takes_nothing_fails_for_good_with_the_reason(tmp_path):
    with delivering(tmp_path, only_sop_classes=frozenset()) as node:
        node.delivery.step()
        assert node.delivered().state is DeliveryState.FAILED
        assert "accepts none of the proposed presentation contexts" in node.delivered().failure


def test_a_pacs_that_takes_pictures_and_no_words_keeps_them_and_the_delivery_fails(tmp_path):
    with delivering(tmp_path, only_sop_classes=SEG_CLASSES) as node:
        node.delivery.step()
        assert node.kinds_at_peer() == {K.SEG, K.SUSPICION_SEG}
        assert node.delivered().state is DeliveryState.FAILED
        assert "no report was accepted" in node.delivered().failure


def test_a_kill_after_the_fallback_went_out_does_not_bring_a_second_copy_when_the_pacs_takes_more(tmp_path):
    with delivering(tmp_path, refused_sop_classes=frozenset({CLASSES[K.SR]}), abort_at=6) as node:
        node.delivery.step()
        assert node.delivered().state is DeliveryState.RETRY_WAIT
        node.to.faults.refused_sop_classes = frozenset()
        node.restart()
        node.settle(turns=3)
        assert node.delivered().state is DeliveryState.STORED
        assert K.SR_COMPREHENSIVE in node.kinds_at_peer()
        assert K.SR not in node.kinds_at_peer()
        assert all(count <= 2 for count in node.to.requests.values()), "only the one without an answer goes again"


def test_a_list_is_delivered_to_the_letter(tmp_path):
    with delivering(tmp_path, choice=object_choice(["KOS", "PDF"])) as node:
        node.delivery.step()
        assert node.kinds_at_peer() == {K.KOS, K.PDF}
