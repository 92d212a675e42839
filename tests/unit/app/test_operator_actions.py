import pytest

from dicom_node.app.operator_actions import ActionRefused, OperatorActions, UnknownDelivery, UnknownStudy
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import BundleMismatch, PeerRefused
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from tests.unit.app.node import STUDY, incoming, not_applicable


def test_an_operator_closes_a_study_despite_an_open_association(node):
    node.open_association("stuck")
    node.receive(incoming(association_id="stuck"))
    job = node.operator.close_study(STUDY, actor="ana", reason="the scanner hangs")
    assert (job.revision, job.state) == (1, JobState.QUEUED)
    assert node.study().state is StudyState.CLOSED
    assert node.study().close_reason == "closed by ana: the scanner hangs"
    last = next(entry for entry in node.detail().history if entry.event == "operator_closed")
    assert last.actor == "ana"


def test_a_closed_study_is_not_closed_again(node):
    node.receive_study(1)
    node.close_now()
    with pytest.raises(ActionRefused, match=r"1\.2\.3 is CLOSED already"):
        node.operator.close_study(STUDY, actor="ana")
    assert node.study().revision == 1


@pytest.mark.parametrize("action", ["close_study", "retry_study", "cancel_study", "analyse_again"])
def test_a_study_nobody_sent_is_unknown(node, action):
    with pytest.raises(UnknownStudy, match=r"there is no study 9\.9 on this node"):
        getattr(node.operator, action)("9.9", actor="ana")


@pytest.mark.parametrize("action", ["retry_study", "cancel_study", "analyse_again"])
def test_a_study_that_is_being_received_has_nothing_to_retry_or_cancel(node, action):
    node.receive_study(1)
    with pytest.raises(ActionRefused, match="still being received"):
        getattr(node.operator, action)(STUDY, actor="ana")


def test_a_study_that_has_a_result_is_analysed_again_as_a_new_revision_that_names_the_earlier_one(node):
    node.receive_study(1)
    node.settle(3)
    job = node.operator.analyse_again(STUDY, actor="ana")
    assert (job.revision, job.state) == (2, JobState.QUEUED)
    assert (node.study().state, node.study().close_reason) == (StudyState.CLOSED, "analysed again for ana")
    with pytest.raises(ActionRefused, match="is QUEUED, not DONE"):
        node.operator.analyse_again(STUDY, actor="ana")
    node.settle(3)
    assert len(node.analyzer.requests) == 2
    assert {entry.sop_instance_uid for entry in node.encoder.predecessors[1]}
    assert [(delivery.revision, delivery.state) for delivery in node.deliveries()] == [
        (1, DeliveryState.STORED),
        (2, DeliveryState.STORED),
    ]
    assert set(node.pacs.held.values()) == {1}, "each object once"


@pytest.mark.parametrize("first", [BundleMismatch("damaged"), not_applicable()])
def test_a_failed_or_skipped_analysis_starts_afresh(node, first):
    node.analyzer.script = [first]
    node.receive_study(1)
    node.close_now()
    node.analysis.step()
    job, deliveries = node.operator.retry_study(STUDY, actor="ana")
    assert (job.state, job.attempt, job.failure, job.reason, job.result_json) == (
        JobState.QUEUED,
        0,
        "",
        "",
        "",
    )
    assert deliveries == ()
    node.turn()
    assert node.job().state is JobState.DONE
    assert node.deliveries()[0].state is DeliveryState.STORED


def test_a_retry_by_an_operator_gives_every_attempt_back(node):
    node.analyzer.script = [KeyError("x")] * 4
    node.receive_study(1)
    node.close_now()
    node.settle(turns=4, seconds=60)
    assert node.job().state is JobState.FAILED
    node.operator.retry_study(STUDY, actor="ana")
    node.analysis.step()
    assert node.job().state is JobState.RETRY_WAIT


def test_retrying_an_analysed_study_sends_its_failed_deliveries_again(node):
    node.pacs.failures = [PeerRefused("not today")]
    node.receive_study(1)
    node.close_now()
    node.turn()
    job, deliveries = node.operator.retry_study(STUDY, actor="ana")
    assert job.state is JobState.DONE
    assert [delivery.state for delivery in deliveries] == [DeliveryState.PENDING]
    node.turn()
    assert node.deliveries()[0].state is DeliveryState.STORED
    with pytest.raises(ActionRefused, match="nothing to retry"):
        node.operator.retry_study(STUDY, actor="ana")


def test_a_queued_analysis_needs_no_retry(node):
    node.receive_study(1)
    node.close_now()
    with pytest.raises(ActionRefused, match="QUEUED: it needs no retry"):
        node.operator.retry_study(STUDY, actor="ana")


def test_a_cancelled_analysis_stays_so_until_it_is_retried(node):
    node.receive_study(1)
    node.close_now()
    assert node.operator.cancel_study(STUDY, actor="ana").state is JobState.CANCELLED
    node.settle(turns=3)
    assert node.job().state is JobState.CANCELLED
    with pytest.raises(ActionRefused, match="CANCELLED: nothing to cancel"):
        node.operator.cancel_study(STUDY, actor="ana")
    node.operator.retry_study(STUDY, actor="ana")
    node.turn()
    assert node.job().state is JobState.DONE


def test_a_running_analysis_is_cancelled_and_its_result_thrown_away(node):
    node.receive_study(1)
    node.close_now()
    node.analyzer.script = [lambda is_cancelled: node.operator.cancel_study(STUDY, actor="ana")]
    node.analysis.step()
    assert node.job().state is JobState.CANCELLED
    assert node.deliveries() == ()


def test_only_a_failed_delivery_is_retried(node):
    node.receive_study(1)
    node.close_now()
    node.turn()
    with pytest.raises(ActionRefused, match="delivery 1 is STORED, not FAILED"):
        node.operator.retry_delivery(1, actor="ana")
    with pytest.raises(UnknownDelivery, match="there is no delivery 7"):
        node.operator.retry_delivery(7, actor="ana")


def test_an_older_result_is_not_sent_after_a_newer_one(node):
    node.pacs.failures = [PeerRefused("not today")]
    node.receive_study(1)
    node.close_now()
    node.turn()
    node.receive(incoming(2))
    node.close_now()
    node.turn()
    with pytest.raises(ActionRefused, match="revision 1, revision 2 has a result"):
        node.operator.retry_delivery(1, actor="ana")


def lossless(node):
    """The operator of a node whose result files are all there; the encoder of these tests writes none."""
    return OperatorActions(uow_factory=node.uow, clock=node.clock, counters=node.counters, has_file=lambda file: True)


@pytest.mark.parametrize("turns", [0, 1])
def test_a_delivery_that_waits_or_failed_is_given_up_and_shows_as_that(node, turns):
    node.pacs.failures = [PeerRefused("refuses SR")] * turns
    node.receive_study(1)
    node.close_now()
    node.analysis.step()
    for _ in range(turns):
        node.delivery.step()
    (delivery,) = node.deliveries()
    assert delivery.state is (DeliveryState.FAILED if turns else DeliveryState.PENDING)
    cancelled = node.operator.cancel_delivery(delivery.id, actor="ana")
    assert (cancelled.state, cancelled.finished_at) == (DeliveryState.CANCELLED, node.clock.now())
    node.settle(turns=3)
    assert node.pacs.held == {}
    assert node.detail().status.why == "every delivery was cancelled; no peer holds the result"
    last = node.detail().history[-1]
    assert (last.event, last.actor) == ("operator_cancelled", "ana")


def test_a_delivery_on_its_way_or_done_is_not_cancelled(node):
    node.receive_study(1)
    node.settle(turns=3)
    with pytest.raises(ActionRefused, match="delivery 1 is STORED: there is nothing to cancel"):
        node.operator.cancel_delivery(1, actor="ana")
    with pytest.raises(UnknownDelivery):
        node.operator.cancel_delivery(99, actor="ana")


def test_what_a_receiver_lost_is_sent_again_whole_as_a_delivery_of_its_own(node):
    node.receive_study(1)
    node.settle(turns=3)
    node.pacs.held.clear()
    again = lossless(node).send_again(1, actor="ana")
    assert (again.state, again.round, again.attempt) == (DeliveryState.PENDING, 2, 0)
    queued = next(each for each in node.detail().history if each.subject == f"delivery:{again.id}")
    assert (queued.reason, queued.actor) == ("sent again by ana", "ana")
    node.settle(turns=2)
    assert set(node.pacs.held.values()) == {1}
    assert len(node.pacs.held) == 2
    assert [each.state for each in node.deliveries()] == [DeliveryState.STORED] * 2


def test_only_the_last_delivery_of_its_kind_is_sent_again(node):
    node.receive_study(1)
    node.settle(turns=3)
    lossless(node).send_again(1, actor="ana")
    with pytest.raises(ActionRefused, match="delivery 2 has taken the place of delivery 1"):
        lossless(node).send_again(1, actor="ana")
    with pytest.raises(ActionRefused, match="delivery 2 is PENDING: retry it instead"):
        lossless(node).send_again(2, actor="ana")


def test_an_older_result_is_not_sent_again_after_a_newer_one(node):
    node.receive_study(1)
    node.settle(turns=3)
    node.receive(incoming(9))
    node.settle(turns=3)
    with pytest.raises(ActionRefused, match="an older result is not sent after a newer one"):
        lossless(node).send_again(1, actor="ana")


def test_a_delivery_whose_files_are_gone_is_not_sent_again_and_nothing_is_queued(node):
    node.receive_study(1)
    node.settle(turns=3)
    with pytest.raises(ActionRefused, match="files of delivery 1 are gone"):
        node.operator.send_again(1, actor="ana")
    assert len(node.deliveries()) == 1
