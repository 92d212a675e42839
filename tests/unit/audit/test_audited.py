"""What wraps the use cases tells the audit trail, and changes nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.app.associations import RecordAssociations
from dicom_node.app.audited import AuditedCarrier, AuditedPeers, AuditedReceiver
from dicom_node.app.deliver_results import Carried
from dicom_node.core.audit import AuditedPatient, AuditedStudy, AuditEvent, Code, Outcome
from dicom_node.core.delivery import Delivery, ObjectStatus
from dicom_node.core.errors import AssociationAborted, RejectedInput, StorageUnavailable
from tests.unit.app.node import CT, STUDY, FakePeers, Node, incoming, pacs, silenced
from tests.unit.web.builders import web


class Recorded:
    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    @property
    def kinds(self) -> list[Code]:
        return [event.event for event in self.events]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    with silenced():
        return Node(tmp_path)


@pytest.fixture
def audit() -> Recorded:
    return Recorded()


def receiver(node: Node, audit: Recorded) -> AuditedReceiver:
    associations = RecordAssociations(uow_factory=node.uow, clock=node.clock)
    return AuditedReceiver(
        receive=node.receive, associations=associations, audit=audit, clock=node.clock, ae_title="CSPINE_AI"
    )


def test_an_association_says_at_its_end_what_it_brought_study_by_study(node: Node, audit: Recorded) -> None:
    with silenced():
        door = receiver(node, audit)
        door.opened("a", calling_aet="SCANNER", address="10.0.0.9")
        for number, study in ((1, STUDY), (2, STUDY), (1, "1.9")):
            door.receive(incoming(number, study=study, association_id="a"))
        assert audit.kinds == [Code.BEGIN_TRANSFERRING] * 2
        door.closed("a", how="released")
    first, second = audit.events[2:]
    assert (first.event, first.outcome) == (Code.INSTANCES_TRANSFERRED, Outcome.SUCCESS)
    assert first.objects == (
        AuditedStudy(study_instance_uid=STUDY, instances=((CT, 2),)),
        AuditedPatient(patient_id="P1", patient_name="Doe^Jane"),
    )
    assert second.objects[0] == AuditedStudy(study_instance_uid="1.9", instances=((CT, 1),))
    source = first.participants[0]
    assert (source.user_id, source.address, source.is_requestor) == ("SCANNER", "10.0.0.9", True)


def test_what_was_refused_or_cut_off_is_a_failure_in_the_trail(node: Node, audit: Recorded) -> None:
    with silenced():
        door = receiver(node, audit)
        door.opened("a", calling_aet="SCANNER", address="::1")
        door.receive(incoming(1, association_id="a"))
        with pytest.raises(RejectedInput):
            door.receive(incoming(1, content=b"other", association_id="a"))
        door.closed("a", how="aborted")
        door.closed("a", how="aborted")
    (transfer,) = [event for event in audit.events if event.event is Code.INSTANCES_TRANSFERRED]
    assert transfer.outcome is Outcome.MINOR_FAILURE
    assert transfer.outcome_description == "1 instances were refused; the association was aborted"


def test_an_echo_transfers_nothing_and_a_stranger_is_an_alert(node: Node, audit: Recorded) -> None:
    door = receiver(node, audit)
    door.opened("a", calling_aet="SCANNER", address="::1")
    door.closed("a", how="released")
    assert audit.events == []
    door.refused(calling_aet="EVIL", address="10.6.6.6", rule="unknown_peer", why="no peer is called EVIL")
    (alert,) = audit.events
    assert (alert.event, alert.event_type) == (Code.SECURITY_ALERT, Code.NODE_AUTHENTICATION)


def test_an_association_whose_begin_cannot_be_recorded_is_not_let_in(
    node: Node, audit: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StorageUnavailable("no")

    monkeypatch.setattr(RecordAssociations, "opened", fails)
    with pytest.raises(StorageUnavailable):
        receiver(node, audit).opened("a", calling_aet="SCANNER", address="::1")


class OneObject:
    """A carrier whose peer stores the first object and then does what `failure` says."""

    def __init__(self, node: Node, failure: Exception | None = None, answers: bool = True) -> None:
        self._node, self._failure, self._answers = node, failure, answers

    def carry(self, delivery: Delivery, answers: list[ObjectStatus]) -> Carried:
        if self._answers:
            uid = delivery.objects[0].sop_instance_uid
            answers.append(ObjectStatus(sop_instance_uid=uid, status=0, answered_at=self._node.clock.now()))
        if self._failure is not None:
            raise self._failure
        return Carried(what="SEG")


def carried(node: Node, audit: Recorded, carrier: OneObject) -> None:
    with silenced():
        node.receive_study(1)
        node.close_now()
        node.analysis.step()
    audited = AuditedCarrier(
        carrier, audit=audit, uow_factory=node.database.reading, peers=node.peers, clock=node.clock, ae_title="US"
    )
    audited.carry(node.deliveries()[0], [])


def test_results_that_a_peer_has_stored_are_a_transfer_to_it(node: Node, audit: Recorded) -> None:
    carried(node, audit, OneObject(node))
    (sent,) = audit.events
    assert (sent.event, sent.outcome) == (Code.INSTANCES_TRANSFERRED, Outcome.SUCCESS)
    assert [participant.user_id for participant in sent.participants] == ["cspine-node", "pacs"]
    assert sent.objects[1] == AuditedPatient(patient_id="P1", patient_name="Doe^Jane")


def test_a_transfer_that_broke_half_way_is_recorded_with_its_failure(node: Node, audit: Recorded) -> None:
    with pytest.raises(AssociationAborted):
        carried(node, audit, OneObject(node, AssociationAborted("cut")))
    assert [(event.outcome, event.outcome_description) for event in audit.events] == [(Outcome.MINOR_FAILURE, "cut")]


def test_an_attempt_that_reached_nobody_is_no_transfer(node: Node, audit: Recorded) -> None:
    with pytest.raises(AssociationAborted):
        carried(node, audit, OneObject(node, AssociationAborted("cut"), answers=False))
    assert audit.events == []


def test_a_change_of_the_peers_is_recorded_once_when_it_is_first_seen(node: Node, audit: Recorded) -> None:
    directory = FakePeers(pacs())
    peers = AuditedPeers(directory, audit=audit, clock=node.clock, ae_title="US", source="/etc/node.toml")
    assert peers.by_name("pacs") == pacs()
    assert audit.events == []
    directory.known.append(pacs("new"))
    for _ in range(2):
        assert peers.by_name("new") == pacs("new")
    (change,) = audit.events
    assert change.event_type is Code.NETWORK_CONFIGURATION
    assert "pacs, new" in change.objects[0].detail  # type: ignore[union-attr]


def test_whoever_is_shown_studies_is_recorded_and_a_refresh_is_not(node: Node, audit: Recorded) -> None:
    with silenced():
        node.receive_study(1)
    browser = web(node, audit=audit)
    browser.get("/?status=RECEIVING")
    browser.get("/?part=rows")
    browser.get(f"/studies/{STUDY}")
    browser.get(f"/studies/{STUDY}?part=standing")
    browser.get("/studies/1.2.99")
    browser.get("/api/v1/studies")
    browser.get(f"/api/v1/studies/{STUDY}")
    browser.get("/metrics")
    assert audit.kinds == [Code.QUERY, Code.INSTANCES_ACCESSED, Code.QUERY, Code.INSTANCES_ACCESSED]
    assert audit.events[0].objects[0].query == "/?status=RECEIVING"  # type: ignore[union-attr]
