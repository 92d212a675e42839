import pytest

from dicom_node.app.carry_objects import raise_for_answers
from dicom_node.core.delivery import DeliveryState, ObjectStatus
from dicom_node.core.errors import (
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    SopClassNotAccepted,
    StorageUnavailable,
)
from dicom_node.core.finding import ResultKind
from dicom_node.core.peer import object_choice
from dicom_node.core.routing import ResultClass, RoutingRule
from dicom_node.core.worklist import WorklistState
from tests.unit.app.node import STUDY, Node, incoming, pacs


@pytest.fixture
def ready(node):
    return analysed_node(node)


def analysed_node(node: Node, studies: tuple[str, ...] = (STUDY,)) -> Node:
    for study in studies:
        node.receive_study(2, study=study)
    node.clock.advance(31)
    node.closing.tick()
    while node.analysis.step():
        pass
    return node


def test_without_a_pending_delivery_there_is_nothing_to_do(node):
    assert node.delivery.step() is False


def test_every_object_is_sent_once_and_the_time_since_the_last_image_is_measured(ready):
    ready.clock.advance(9)
    assert ready.delivery.step() is True
    (delivery,) = ready.deliveries()
    assert (delivery.state, delivery.attempt, delivery.lease) == (DeliveryState.STORED, 1, None)
    assert [status.status for status in delivery.statuses] == [0, 0]
    assert list(ready.pacs.held.values()) == [1, 1]
    assert ready.counters.values["seconds_from_last_image_to_stored_result"] == [40]
    assert ready.state() is WorklistState.DELIVERED
    assert ready.delivery.step() is False


def test_after_an_abort_only_what_was_not_answered_is_sent_again(ready):
    ready.pacs.abort_after = 1
    ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.RETRY_WAIT
    ready.clock.advance(5)
    ready.requeue.tick()
    ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.STORED
    assert ready.pacs.calls == [("pacs", 2), ("pacs", 1)]
    assert list(ready.pacs.held.values()) == [1, 1]


def test_a_kill_after_the_last_answer_sends_nothing_again(ready):
    """The answers are durable one by one; only the row's own state was lost."""

    class Killed(BaseException):
        pass

    ready.delivery._stored = lambda *_: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.SENDING
    ready.restart()
    ready.turn()
    assert ready.deliveries()[0].state is DeliveryState.STORED
    assert ready.pacs.calls == [("pacs", 2)]


def test_a_delivery_that_loses_every_worker_is_not_fed_for_ever(ready):
    for _ in range(25):
        with ready.uow() as uow:
            uow.deliveries.claim(owner="doomed", now=ready.clock.now(), lease_until=ready.clock.now())
            uow.commit()
        ready.clock.advance(1)
        ready.requeue.tick()
        ready.requeue.tick()
    (delivery,) = ready.deliveries()
    assert delivery.state is DeliveryState.FAILED
    assert "gave up after 20 lost workers" in delivery.failure


def test_an_answer_that_could_not_be_written_at_once_is_written_at_the_end(ready, monkeypatch):
    healthy, left = ready.database.unit_of_work, [1]

    def is_away_once():
        if left and ready.pacs.held:
            left.pop()
            raise StorageUnavailable("the database is away")
        return healthy()

    monkeypatch.setattr(ready.database, "unit_of_work", is_away_once)
    ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.RETRY_WAIT
    ready.settle(turns=2)
    assert ready.pacs.calls == [("pacs", 2), ("pacs", 1)]
    assert list(ready.pacs.held.values()) == [1, 1]


def test_a_peer_that_says_duplicate_holds_the_object(ready):
    ready.pacs.answers = [0x0111, 0x0000]
    ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.STORED


def test_an_unreachable_peer_is_tried_again_with_growing_waits_and_shows_after_a_while(ready):
    ready.pacs.failures = [PeerUnreachable("no answer")] * 6
    waits = []
    for _ in range(6):
        assert ready.delivery.step() is True
        (delivery,) = ready.deliveries()
        waits.append((delivery.next_attempt_at - ready.clock.now()).total_seconds())
        ready.clock.advance(waits[-1])
        ready.requeue.tick()
    assert waits == [5, 10, 30, 60, 120, 240], "its own backoff, and from the third failure on an open circuit's"
    assert ready.state() is WorklistState.NEEDS_ATTENTION
    ready.delivery.step()
    assert ready.state() is WorklistState.DELIVERED


def test_a_delivery_that_used_up_its_attempts_fails_and_an_operator_starts_it_again(ready):
    ready.pacs.failures = [PeerBusy("out of resources")] * 30
    ready.settle(turns=40, seconds=901)
    (delivery,) = ready.deliveries()
    assert (delivery.state, delivery.attempt) == (DeliveryState.FAILED, 30)
    assert delivery.failure == "PeerBusy: out of resources; gave up after 30 attempts"
    ready.operator.retry_delivery(delivery.id, actor="operator")
    ready.turn()
    assert ready.deliveries()[0].state is DeliveryState.STORED


@pytest.mark.parametrize("error", [PeerRefused("called AE title"), SopClassNotAccepted("no context for SR")])
def test_a_refusal_for_good_fails_at_once(ready, error):
    ready.pacs.failures = [error]
    ready.delivery.step()
    (delivery,) = ready.deliveries()
    assert (delivery.state, delivery.failure) == (DeliveryState.FAILED, f"{type(error).__name__}: {error}")
    assert ready.state() is WorklistState.NEEDS_ATTENTION


def test_an_unforeseen_exception_gets_a_few_tries(ready):
    ready.pacs.failures = [KeyError("x")] * 3
    ready.settle(turns=3)
    (delivery,) = ready.deliveries()
    assert delivery.state is DeliveryState.FAILED
    assert "unexpected KeyError" in delivery.failure


def test_a_peer_taken_out_of_the_configuration_fails_with_that_reason(ready):
    ready.peers.known = []
    ready.delivery.step()
    assert "peer pacs is no longer configured" in ready.deliveries()[0].failure
    assert ready.pacs.calls == []


def test_a_disabled_peer_gets_its_results_once_it_is_enabled(ready):
    ready.peers.known = [pacs(enabled=False)]
    ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.PENDING
    assert "disabled" in ready.detail().status.why
    ready.peers.known = [pacs()]
    ready.settle(turns=2)
    assert ready.deliveries()[0].state is DeliveryState.STORED


def test_a_peer_is_served_by_one_worker_at_a_time(tmp_path):
    node = analysed_node(Node(tmp_path, peers=(pacs("pacs"), pacs("viewer"))), studies=("1.7", "1.8"))
    seen = []

    def a_second_worker_looks():
        node.pacs.before_answer = lambda: None
        node.delivery.step()
        seen.append(node.delivery.step())

    node.pacs.before_answer = a_second_worker_looks
    node.delivery.step()
    assert node.pacs.calls == [("pacs", 2), ("viewer", 2), ("viewer", 2)]
    assert seen == [True]


def test_a_dead_peer_rests_and_the_others_are_served(tmp_path):
    node = analysed_node(Node(tmp_path, peers=(pacs("dead"), pacs("viewer"))), studies=("1.7", "1.8"))
    node.pacs.failures = [PeerUnreachable("no answer")]
    while node.delivery.step():
        pass
    assert [name for name, _ in node.pacs.calls] == ["dead", "viewer", "viewer"]
    node.clock.advance(5)
    node.requeue.tick()
    while node.delivery.step():
        pass
    assert [d.state for uid in ("1.7", "1.8") for d in node.deliveries(uid)] == [DeliveryState.STORED] * 4


def test_an_older_revision_that_waited_is_not_sent_after_a_newer_result(ready):
    ready.pacs.before_answer = lambda: _a_newer_revision_is_analysed(ready)
    ready.pacs.answers = [0xA700, 0xA700]
    ready.delivery.step()
    assert ready.deliveries()[0].state is DeliveryState.RETRY_WAIT
    ready.settle(turns=3)
    assert [d.state for d in ready.deliveries()] == [DeliveryState.CANCELLED, DeliveryState.STORED]
    with pytest.raises(Exception, match="CANCELLED, not FAILED"):
        ready.operator.retry_delivery(ready.deliveries()[0].id, actor="operator")


def _a_newer_revision_is_analysed(node: Node) -> None:
    node.pacs.before_answer = lambda: None
    node.receive(incoming(9))
    node.close_now()
    node.analysis.step()


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ((0x0000, 0x0000), None),
        ((0xB000, 0x0111), None),
        ((0x0000, 0xA700), PeerBusy),
        ((0x0000, 0xC123), PeerBusy),
        ((0x0000, None), PeerBusy),
        ((0x0000,), PeerBusy),
        ((0xA900, 0x0000), PeerRefused),
        ((0xA700, 0x0122), PeerRefused),
    ],
)
def test_the_worst_answer_decides_what_happens_next(ready, statuses, error):
    objects = ready.deliveries()[0].objects
    answers = [
        ObjectStatus(sop_instance_uid=entry.sop_instance_uid, status=status)
        for entry, status in zip(objects, statuses, strict=False)
    ]
    if error is None:
        raise_for_answers(pacs(), objects, answers)
    else:
        with pytest.raises(error, match="pacs: "):
            raise_for_answers(pacs(), objects, answers)


def test_what_was_sent_instead_of_what_is_kept_and_stands_in_the_history(ready):
    ready.pacs.refusals["pacs"] = {ResultKind.SEG: "accepts no presentation context for it"}
    ready.delivery.step()
    (delivery,) = ready.deliveries()
    assert delivery.state is DeliveryState.STORED
    why = "the peer accepts no presentation context for it"
    assert [str(entry) for entry in delivery.substitutions] == [f"vertebra segmentation left out: {why}"]
    told = [entry.reason for entry in ready.detail().history if entry.event == "objects_chosen"]
    assert told == [f"vertebra segmentation left out: {why}"]
    assert [entry.kind for entry in delivery.stored] == [ResultKind.SR]


def test_a_kill_between_two_attempts_keeps_the_choice_and_sends_nothing_twice(ready):
    ready.encoder.kinds = (ResultKind.SEG, ResultKind.SR, ResultKind.SR_COMPREHENSIVE)
    node = analysed_node(ready, studies=("1.9",))
    node.delivery.step()  # the first study is out of the way
    node.pacs.refusals["pacs"] = {ResultKind.SR: "accepts no presentation context for it"}
    node.pacs.answers = [0x0000, 0xA700]
    node.delivery.step()
    node.pacs.refusals.clear()  # the peer takes Comprehensive 3D SR from now on
    node.restart()
    node.settle(turns=3)
    (delivery,) = node.deliveries("1.9")
    assert delivery.state is DeliveryState.STORED
    assert [entry.kind for entry in delivery.stored] == [ResultKind.SEG, ResultKind.SR_COMPREHENSIVE]
    assert all(count == 1 for count in node.pacs.held.values())


def test_a_peer_that_takes_no_report_fails_with_every_reason(ready):
    ready.pacs.refusals["pacs"] = dict.fromkeys(ResultKind, "accepts no presentation context for it")
    ready.delivery.step()
    (delivery,) = ready.deliveries()
    assert delivery.state is DeliveryState.FAILED
    assert delivery.failure.startswith("SopClassNotAccepted: pacs: none of the results was accepted")


def test_a_positive_goes_to_the_peer_that_a_route_adds(tmp_path):
    node = Node(tmp_path, peers=(pacs(), pacs("er-list", receives_results=False)))
    node.rules = (RoutingRule(name="emergency", results=(ResultClass.POSITIVE,), add=("er-list",)),)
    node.restart()
    analysed_node(node)
    while node.delivery.step():
        pass
    first, second = node.deliveries()
    assert (first.peer, first.route) == ("pacs", "")
    assert (second.peer, second.route, second.state) == ("er-list", "emergency", DeliveryState.STORED)
    queued = next(entry.reason for entry in node.detail().history if entry.subject == f"delivery:{second.id}")
    assert queued == "route 'emergency' added peer 'er-list' because the result is positive"


def test_a_peer_that_is_given_none_of_what_a_result_has_gets_no_delivery_and_the_history_says_so(tmp_path):
    node = Node(tmp_path, peers=(pacs(), pacs("overlay", objects=object_choice(["SUSPICION_SEG"]))))
    analysed_node(node)
    assert [delivery.peer for delivery in node.deliveries()] == ["pacs"]
    (said,) = [entry.reason for entry in node.detail().history if entry.event == "nothing_for_peer"]
    assert said == "overlay is given exactly SUSPICION_SEG, and this result has none of these"


def test_a_peer_whose_objects_were_changed_to_what_a_result_has_none_of_is_not_counted_as_served(ready):
    ready.peers.known = [pacs(objects=object_choice(["KOS"]))]
    ready.delivery.step()
    (delivery,) = ready.deliveries()
    assert delivery.state is DeliveryState.FAILED
    assert "pacs is given exactly KOS, and the result has none of these" in delivery.failure
