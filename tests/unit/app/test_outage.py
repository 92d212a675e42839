"""A receiver that cannot be reached: what it costs the others, what waits for it, and in which order it comes."""

from datetime import timedelta
from itertools import pairwise

import pytest

from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.delivery_terms import CircuitPolicy, DeliveryTerms, OwnTerms
from dicom_node.core.errors import AssociationAborted, PeerBusy, PeerUnreachable
from dicom_node.core.hours import parse_hours
from dicom_node.core.worklist import WorklistState
from tests.unit.app.node import T0, Node, analysed, pacs, silenced

DAY_S = 86_400


@pytest.fixture(autouse=True, scope="module")
def silence():
    with silenced():
        yield


def receive(node: Node, study: str, probability: float) -> None:
    """One study, received, closed and analysed; its result waits to be sent."""
    node.receive_study(1, study=study)
    node.clock.advance(31)
    node.closing.tick()
    node.analyzer.script = [analysed(study, probability)]
    assert node.analysis.step()


def work(node: Node) -> None:
    """Requeue and deliver until nothing is left to do now."""
    node.requeue.tick()
    while node.delivery.step():
        pass


def arrived(node: Node) -> list[str]:
    """The studies in the order in which their results came to the PACS."""
    studies = {
        entry.sop_instance_uid: delivery.study_instance_uid
        for delivery in all_deliveries(node)
        for entry in delivery.objects
    }
    return list(dict.fromkeys(studies[uid] for _, uid in node.pacs.held))


def all_deliveries(node: Node):
    with node.database.reading() as uow:
        return uow.deliveries.list(limit=1000)


def circuit(node: Node, peer: str = "pacs"):
    with node.database.reading() as uow:
        return uow.circuits.get(Channel.OBJECTS, peer)


def test_a_pacs_that_was_away_for_a_day_gets_every_result_once_in_order_of_urgency(node):
    node.pacs.away = {"pacs"}
    began = node.clock.now()
    positives, negatives = [], []
    for number in range(24):
        study, is_positive = f"1.2.{number}", number % 3 == 2
        receive(node, study, 0.9 if is_positive else 0.1)
        (positives if is_positive else negatives).append(study)
        while (node.clock.now() - began).total_seconds() < (number + 1) * DAY_S / 24:
            work(node)
            node.clock.advance(300)
        if number == 12:
            node.restart()
    assert node.clock.now() - began >= timedelta(seconds=DAY_S)
    assert node.pacs.held == {}
    node.pacs.away = set()
    for _ in range(3):
        node.clock.advance(301)
        work(node)
    assert arrived(node) == [*positives, *negatives]
    assert set(node.pacs.held.values()) == {1}
    assert len(node.pacs.held) == 48
    assert {delivery.state for delivery in all_deliveries(node)} == {DeliveryState.STORED}
    assert circuit(node) is None


def test_a_day_away_costs_a_probe_every_few_minutes_and_not_one_for_each_result(node):
    for number in range(10):
        receive(node, f"1.2.{number}", 0.1)
    node.pacs.away = {"pacs"}
    probed_at = []
    for _ in range(DAY_S // 60):
        before = circuit(node)
        work(node)
        if circuit(node) != before:
            probed_at.append(node.clock.now())
        node.clock.advance(60)
    assert len(probed_at) <= DAY_S / 300 + 5
    assert max(b - a for a, b in pairwise(probed_at)) <= timedelta(seconds=360), "back within minutes"


def test_a_dead_pacs_takes_no_worker_from_a_live_one(tmp_path):
    """While one dead receiver is being probed no other dead one is, so a second worker is free for the live one."""
    node = Node(tmp_path, peers=(pacs("dead-1"), pacs("dead-2"), pacs("dead-3"), pacs("live")))
    node.pacs.away = {"dead-1", "dead-2", "dead-3"}
    receive(node, "1.2.1", 0.1)
    for _ in range(30):
        work(node)
        node.clock.advance(60)
    assert all(circuit(node, name).is_open for name in ("dead-1", "dead-2", "dead-3"))
    receive(node, "1.2.2", 0.1)
    node.clock.advance(301)
    served = []
    send = node.pacs.send

    def hangs_while_a_second_worker_works(peer, *given, **more):
        node.pacs.send = send
        served.append(peer.name)
        while node.delivery.step():
            pass
        return send(peer, *given, **more)

    node.pacs.send = hangs_while_a_second_worker_works
    assert node.delivery.step()
    assert served[0].startswith("dead")
    live = [delivery.state for delivery in all_deliveries(node) if delivery.peer == "live"]
    assert live == [DeliveryState.STORED] * 2
    assert sum(circuit(node, name).probe_at > node.clock.now() for name in ("dead-1", "dead-2", "dead-3")) == 1


def test_a_pacs_that_takes_connections_and_says_nothing_is_left_alone_too(node):
    receive(node, "1.2.1", 0.1)
    receive(node, "1.2.2", 0.1)
    node.pacs.failures = [AssociationAborted("gave no answer in 60 s")] * 3
    for _ in range(3):
        work(node)
        node.clock.advance(30)
    assert circuit(node).is_open
    assert circuit(node).why == "AssociationAborted: gave no answer in 60 s"


def test_a_pacs_that_answers_anything_at_all_is_there(node):
    receive(node, "1.2.1", 0.1)
    node.pacs.failures = [PeerUnreachable("no answer"), PeerBusy("rejected for now")]
    work(node)
    assert circuit(node).failures == 1
    node.clock.advance(6)
    work(node)
    assert circuit(node) is None


def test_a_restart_goes_on_waiting_where_the_life_before_it_stopped(node):
    receive(node, "1.2.1", 0.1)
    node.pacs.away = {"pacs"}
    for _ in range(8):
        work(node)
        node.clock.advance(60)
    before = circuit(node)
    node.restart()
    work(node)
    assert circuit(node) == before
    assert before.holds(node.clock.now())
    assert node.state("1.2.1") is WorklistState.NEEDS_ATTENTION


def test_a_receiver_that_stays_away_longer_than_anybody_waits_fails_and_is_started_again_by_hand(node):
    receive(node, "1.2.1", 0.1)
    receive(node, "1.2.2", 0.1)
    node.pacs.away = {"pacs"}
    for _ in range(8 * 24):
        work(node)
        node.clock.advance(3600)
    assert {delivery.state for delivery in all_deliveries(node)} == {DeliveryState.FAILED}
    assert "gave up after waiting 169.0 h" in all_deliveries(node)[0].failure
    node.pacs.away = set()
    assert len(node.operator.retry_peer("pacs", actor="operator")) == 2
    node.operator.reset_circuit("pacs", actor="operator")
    work(node)
    assert {delivery.state for delivery in all_deliveries(node)} == {DeliveryState.STORED}


def test_a_peer_has_terms_of_its_own(tmp_path):
    own = OwnTerms(circuit_failures=1, circuit_open_s=7.0, circuit_open_maximum_s=7.0)
    node = Node(tmp_path, peers=(pacs(delivery=own),))
    receive(node, "1.2.1", 0.1)
    node.pacs.away = {"pacs"}
    work(node)
    assert circuit(node).is_open
    assert circuit(node).probe_at == node.clock.now() + timedelta(seconds=7)
    assert own.over(DeliveryTerms()).circuit == CircuitPolicy(failures=1, open_s=7.0, open_maximum_s=7.0)


def test_a_peer_with_hours_gets_its_results_in_them_and_a_positive_at_once(tmp_path):
    node = Node(tmp_path, peers=(pacs(delivery=OwnTerms(hours=parse_hours("22:00-06:00"))),))
    receive(node, "1.2.1", 0.1)
    receive(node, "1.2.2", 0.9)
    work(node)
    assert arrived(node) == ["1.2.2"]
    node.clock.at = T0.replace(hour=21, minute=59)
    work(node)
    assert arrived(node) == ["1.2.2"]
    node.clock.at = T0.replace(hour=22)
    work(node)
    assert arrived(node) == ["1.2.2", "1.2.1"]


def test_where_nothing_is_so_urgent_a_positive_waits_for_the_hours_too(tmp_path):
    own = OwnTerms(hours=parse_hours("22:00-06:00"), urgent_at_any_hour=False)
    node = Node(tmp_path, peers=(pacs(delivery=own),))
    receive(node, "1.2.2", 0.9)
    work(node)
    assert arrived(node) == []
    node.clock.at = T0.replace(hour=23)
    work(node)
    assert arrived(node) == ["1.2.2"]
