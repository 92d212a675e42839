"""A study that was not analysed speaks, to the peers that ask for it, once, whoever ended its job."""

import pytest

from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import EncodingInvalid, PermanentError, StorageUnavailable
from dicom_node.core.finding import Outcome, ResultKind
from dicom_node.core.routing import ResultClass, RoutingRule
from tests.unit.app.node import Node, not_applicable, pacs


@pytest.fixture
def asking(tmp_path) -> Node:
    return Node(tmp_path, peers=(pacs(status_reports=True), pacs("silent")))


def ended(node: Node, how: str) -> Node:
    if how == "not applicable":
        node.analyzer.script = [not_applicable()]
    if how == "failed":
        node.analyzer.script = [PermanentError("the bundle is damaged")]
    node.receive_study(2)
    node.close_now()
    if how == "cancelled":
        node.operator.cancel_study("1.2.3", actor="operator")
    node.analysis.step()
    return node


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ("not applicable", Outcome.NOT_APPLICABLE, "no cervical spine was found"),
        ("failed", Outcome.FAILED, "PermanentError: the bundle is damaged"),
        ("cancelled", Outcome.NOT_RUN, "the analysis was stopped by an operator"),
    ],
)
def test_a_study_without_a_result_is_told_to_the_peer_that_asks_for_it(asking, how, outcome, reason):
    node = ended(asking, how)
    assert node.status.tick() == 1
    told = node.encoder.results[-1]
    assert (told.outcome, told.reason) == (outcome, reason)
    assert told.representative.sop_instance_uid == "1.2.3.1.1"
    node.delivery.step()
    (delivery,) = node.deliveries()
    assert (delivery.peer, delivery.state) == ("pacs", DeliveryState.STORED)
    assert [entry.kind for entry in delivery.stored] == [ResultKind.STATUS_SR]
    assert node.status.tick() == 0, "once is enough"


def test_a_study_that_was_analysed_is_not_told_so(asking):
    node = ended(asking, "analysed")
    assert node.status.tick() == 0
    assert not any(delivery.says_status_only for delivery in node.deliveries())


def test_where_nobody_asks_nothing_is_encoded_and_nobody_is_told_later(node):
    ended(node, "not applicable")
    assert node.status.tick() == 0
    assert node.encoder.results == []
    node.peers.known = [pacs(status_reports=True)]
    assert node.status.tick() == 0


def test_a_route_chooses_among_the_peers_that_ask(asking):
    asking.rules = (RoutingRule(name="quiet", results=(ResultClass.NOT_ANALYSED,), leave_out=("pacs",)),)
    asking.restart()
    assert ended(asking, "not applicable").status.tick() == 0


def test_a_kill_between_encoding_and_row_tells_it_again_with_the_same_object(asking, monkeypatch):
    node = ended(asking, "failed")
    healthy, after = node.database.unit_of_work, [2]

    def is_away():
        after[0] -= 1
        if after[0] < 0:
            raise StorageUnavailable("the database is away")
        return healthy()

    monkeypatch.setattr(node.database, "unit_of_work", is_away)
    with pytest.raises(StorageUnavailable):
        node.status.tick()
    monkeypatch.undo()
    node.restart()
    assert node.status.tick() == 1
    assert len(node.encoder.results) == 2
    assert len(node.deliveries()) == 1


@pytest.mark.parametrize("failure", [EncodingInvalid("no header"), KeyError("x")])
def test_one_that_cannot_be_told_is_on_record_and_keeps_no_other_silent(asking, failure):
    node = ended(asking, "failed")
    node.encoder.failure = failure
    assert node.status.tick() == 0
    node.encoder.failure = None
    assert node.status.tick() == 0
    (entry,) = [entry for entry in node.detail().history if entry.event == "status_not_told"]
    assert entry.reason.startswith("the status report could not be made: ")


def test_a_study_that_is_started_again_and_analysed_is_told_as_such(asking):
    node = ended(asking, "failed")
    node.status.tick()
    node.operator.retry_study("1.2.3", actor="operator")
    node.settle(turns=3)
    to_pacs = [delivery for delivery in node.deliveries() if delivery.peer == "pacs"]
    assert [(delivery.round, delivery.says_status_only) for delivery in to_pacs] == [(1, True), (2, False)]
    # The status still waited when the result came, and is not told after it.
    assert [delivery.state for delivery in to_pacs] == [DeliveryState.CANCELLED, DeliveryState.STORED]


def test_a_study_that_fails_a_second_time_is_told_a_second_time(asking):
    node = ended(asking, "failed")
    node.settle(turns=2)
    node.analyzer.script = [not_applicable()]
    node.operator.retry_study("1.2.3", actor="operator")
    node.settle(turns=3)
    assert [delivery.round for delivery in node.deliveries() if delivery.peer == "pacs"] == [1, 2]
