"""A positive result raises a notification: kept like a delivery, so that a kill loses nothing."""

from __future__ import annotations

import pytest

from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.errors import PeerBusy, PeerRefused, PeerUnreachable
from dicom_node.core.notice import Notice
from tests.unit.app.node import STUDY, Node, analysed, incoming


class FakeNotifier:
    def __init__(self) -> None:
        self.told: list[Notice] = []
        self.failures: list[Exception] = []

    def tell(self, notice: Notice) -> str:
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(notice)
        return "acknowledged with AA"


@pytest.fixture
def telling(tmp_path) -> Node:
    node = Node(tmp_path)
    node.notifiers = {Channel.HL7: FakeNotifier(), Channel.WEBHOOK: FakeNotifier()}
    node.restart()
    return node


def through(node: Node, probability: float = 0.9) -> Node:
    node.analyzer.script = [analysed(STUDY, probability)]
    node.receive_study(2)
    node.close_now()
    node.analysis.step()
    return node


def notices(node: Node) -> dict[Channel, DeliveryState]:
    return {d.channel: d.state for d in node.deliveries() if d.channel.is_notification}


def test_a_positive_is_told_once_on_each_channel(telling):
    node = through(telling)
    node.settle(turns=3)
    assert notices(node) == dict.fromkeys((Channel.HL7, Channel.WEBHOOK), DeliveryState.STORED)
    for notifier in node.notifiers.values():
        (told,) = notifier.told
        assert told.study_instance_uid == STUDY
        assert (told.patient.patient_id, told.probability) == ("P1", 0.9)
        assert [level.level for level in told.levels if level.is_positive] == ["C2"]
        assert [level.level for level in told.levels if level.probability is None] == ["C7"]
    assert "acknowledged with AA" in [entry.reason for entry in node.detail().history]


def test_a_negative_is_told_to_nobody(telling):
    assert notices(through(telling, 0.2)) == {}


def test_a_dead_receiver_keeps_nothing_else_waiting(telling):
    telling.notifiers[Channel.HL7].failures = [PeerUnreachable("nobody listens")] * 2
    node = through(telling)
    node.turn()
    assert notices(node) == {Channel.HL7: DeliveryState.PENDING, Channel.WEBHOOK: DeliveryState.STORED}
    assert [d.state for d in node.deliveries() if d.channel is Channel.OBJECTS] == [DeliveryState.STORED]
    node.settle(turns=4)
    assert notices(node)[Channel.HL7] is DeliveryState.STORED
    assert len(node.notifiers[Channel.HL7].told) == 1


def test_a_kill_before_the_acknowledgement_tells_it_again_under_the_same_id(telling):
    class Killed(BaseException):
        pass

    node = through(telling)
    worker = node.notifying[Channel.HL7]
    worker._stored = lambda *_: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        worker.step()
    node.restart()
    node.settle(turns=2)
    first, second = node.notifiers[Channel.HL7].told
    assert first.id == second.id
    assert notices(node)[Channel.HL7] is DeliveryState.STORED


def test_a_receiver_that_finds_it_in_error_is_shown_and_not_asked_again(telling):
    telling.notifiers[Channel.HL7].failures = [PeerRefused("the HL7 listener answered AE")]
    node = through(telling)
    node.settle(turns=3)
    assert notices(node)[Channel.HL7] is DeliveryState.FAILED
    assert node.state().value == "NEEDS_ATTENTION"
    (failed,) = [d for d in node.deliveries() if d.state is DeliveryState.FAILED]
    node.operator.retry_delivery(failed.id, actor="operator")
    node.settle(turns=2)
    assert notices(node)[Channel.HL7] is DeliveryState.STORED


def test_a_later_revision_is_told_by_itself_and_what_waited_is_not(telling):
    telling.notifiers[Channel.HL7].failures = [PeerBusy("not now")]
    node = through(telling)
    node.turn()
    node.receive(incoming(9))
    node.close_now()
    node.settle(turns=4)
    states = [(d.revision, d.state) for d in node.deliveries() if d.channel is Channel.HL7]
    assert states == [(1, DeliveryState.CANCELLED), (2, DeliveryState.STORED)]
    assert [told.revision for told in node.notifiers[Channel.HL7].told] == [2]
    assert [told.revision for told in node.notifiers[Channel.WEBHOOK].told] == [1, 2]
