import errno
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from dicom_node.app.requeue import Requeue
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import (
    BundleMismatch,
    EncodingInvalid,
    GpuOutOfMemory,
    StorageUnavailable,
    WorkerLost,
    WorkerTimeout,
)
from dicom_node.core.finding import Outcome
from dicom_node.core.job import JobState
from dicom_node.core.worklist import WorklistState
from tests.unit.app.node import STUDY, Node, analysed, incoming, not_applicable, pacs


@pytest.fixture
def closed(node):
    node.receive_study(3)
    node.close_now()
    return node


def test_without_a_queued_job_there_is_nothing_to_do(node):
    assert node.analysis.step() is False


def test_an_analysis_ends_done_with_its_result_and_a_delivery_for_each_receiver(tmp_path):
    node = Node(tmp_path, peers=(pacs("pacs"), pacs("viewer"), pacs("scanner", receives_results=False)))
    node.receive_study(3)
    node.close_now()
    assert node.analysis.step() is True
    job = node.job()
    assert (job.state, job.attempt, job.lease, job.finished_at) == (JobState.DONE, 1, None, node.clock.now())
    assert json.loads(job.result_json)["patient_overall"]["fracture"] is True
    assert [(d.peer, d.state, d.revision) for d in node.deliveries()] == [
        ("pacs", DeliveryState.PENDING, 1),
        ("viewer", DeliveryState.PENDING, 1),
    ]
    assert node.events(f"job:{job.id}") == ["queued", "leased", "succeeded"]


def test_the_history_tells_in_order_also_of_a_worker_that_waited_for_who_closed_the_study(node):
    """It looked at the clock, then the study was closed, then the database let it have the job."""
    node.receive_study(3)
    claimed = []

    def waits_for_the_database():
        if not claimed:
            claimed.append(node.close_now())
        return node.uow()

    node.analysis._uow = waits_for_the_database
    node.analysis.step()
    job = f"job:{node.job().id}"
    assert node.events(job) == ["queued", "leased", "succeeded"]


def test_the_analyzer_gets_every_stored_file_and_a_folder_of_its_own(closed):
    closed.analyzer.script = [GpuOutOfMemory("no memory")]
    closed.analysis.step()
    closed.clock.advance(60)
    closed.requeue.tick()
    closed.analysis.step()
    first, second = closed.analyzer.requests
    assert [file.read_bytes() for file in first.files] == [f"head1.2.3.1.{n}".encode() for n in (1, 2, 3)]
    assert first.work_dir.is_dir()
    assert first.work_dir != second.work_dir


def test_objects_are_dated_from_the_beginning_of_the_analysis(closed):
    began = closed.clock.now()
    closed.analyzer.script = [lambda is_cancelled: closed.clock.advance(90)]
    closed.analysis.step()
    assert closed.encoder.created_at == [began]


def test_not_applicable_is_a_result_that_delivers_nothing(closed):
    closed.analyzer.script = [not_applicable()]
    closed.analysis.step()
    job = closed.job()
    assert (job.state, job.reason) == (JobState.SKIPPED, "no cervical spine was found")
    assert closed.detail().result["outcome"] == "not_applicable"
    assert closed.deliveries() == ()
    assert closed.state() is WorklistState.NOT_APPLICABLE


@pytest.mark.parametrize("error", [GpuOutOfMemory("x"), WorkerLost("x"), WorkerTimeout("x")])
def test_a_passing_error_is_tried_again_later_and_later_and_then_needs_attention(closed, error):
    closed.analyzer.script = [error] * 3
    waits = []
    for _ in range(2):
        closed.analysis.step()
        job = closed.job()
        assert job.state is JobState.RETRY_WAIT
        waits.append((job.next_attempt_at - closed.clock.now()).total_seconds())
        closed.clock.advance(waits[-1])
        assert closed.requeue.tick() == 1
    closed.analysis.step()
    assert waits == [10, 30]
    assert closed.job().state is JobState.FAILED
    assert closed.job().failure.endswith("x; gave up after 3 attempts")
    assert closed.state() is WorklistState.NEEDS_ATTENTION
    assert closed.detail().result["outcome"] == "failed"
    assert closed.deliveries() == ()


@pytest.mark.parametrize(
    "refusal", [StorageUnavailable("the database is away"), OSError(errno.ENOSPC, "No space left on device")]
)
def test_a_disk_that_refuses_is_waited_for_and_costs_the_study_none_of_its_attempts(closed, refusal):
    closed.analyzer.script = [refusal] * 5
    for _ in range(5):
        closed.analysis.step()
        assert closed.job().state is JobState.RETRY_WAIT
        closed.clock.advance(300)
        closed.requeue.tick()
    closed.analyzer.script = [WorkerLost("x")] * 2
    closed.settle(turns=5, seconds=60)
    assert closed.job().state is JobState.DONE


@pytest.mark.parametrize("error", [BundleMismatch("the bundle is damaged"), EncodingInvalid("no such code")])
def test_an_error_for_good_is_not_tried_again(closed, error):
    closed.analyzer.script = [error]
    closed.analysis.step()
    assert closed.job().state is JobState.FAILED
    assert closed.job().failure == f"{type(error).__name__}: {error}"


def test_a_result_that_says_failed_is_an_error_for_good(closed):
    closed.analyzer.script = [replace(analysed(), outcome=Outcome.FAILED, reason="the mask is empty")]
    closed.analysis.step()
    assert closed.job().state is JobState.FAILED
    assert "the mask is empty" in closed.job().failure


def test_an_encoder_that_fails_delivers_nothing(closed):
    closed.encoder.failure = EncodingInvalid("no segments")
    closed.analysis.step()
    assert closed.job().state is JobState.FAILED
    assert closed.deliveries() == ()


def test_an_unforeseen_exception_gets_one_more_try_and_does_not_quote_itself(closed):
    closed.analyzer.script = [KeyError("Doe^Jane"), KeyError("Doe^Jane")]
    closed.analysis.step()
    assert closed.job().state is JobState.RETRY_WAIT
    closed.clock.advance(60)
    closed.requeue.tick()
    closed.analysis.step()
    assert closed.job().state is JobState.FAILED
    assert "unexpected KeyError" in closed.job().failure
    assert "Doe" not in closed.job().failure


def test_a_late_image_during_the_analysis_throws_the_result_away(closed):
    closed.analyzer.script = [lambda is_cancelled: closed.receive(incoming(4))]
    closed.analysis.step()
    assert [job.state for job in closed.detail().jobs] == [JobState.SUPERSEDED]
    assert closed.deliveries() == ()
    assert closed.counters.counts["jobs_finished", "lost"] == 1


def test_a_heartbeat_keeps_the_lease_of_a_long_analysis(closed):
    def takes_long(is_cancelled):
        for _ in range(5):
            closed.clock.advance(40)
            closed.heart.beat()
            assert closed.requeue.tick() == 0
            assert not is_cancelled()

    _remember_heartbeat(closed)
    closed.analyzer.script = [takes_long]
    closed.analysis.step()
    assert closed.job().state is JobState.DONE


def test_a_lease_that_ran_out_unnoticed_by_others_still_keeps_the_result(closed, monkeypatch):
    healthy = closed.database.unit_of_work

    def takes_long_without_a_database(is_cancelled):
        monkeypatch.setattr(closed.database, "unit_of_work", _fails)
        closed.clock.advance(61)
        closed.heart.beat()
        assert is_cancelled()
        monkeypatch.setattr(closed.database, "unit_of_work", healthy)

    _remember_heartbeat(closed)
    closed.analyzer.script = [takes_long_without_a_database]
    closed.analysis.step()
    assert (closed.job().state, closed.job().attempt) == (JobState.DONE, 1)


def test_a_superseded_job_cancels_its_analysis_at_the_next_heartbeat(closed):
    def is_superseded(is_cancelled):
        closed.receive(incoming(4))
        assert not is_cancelled()
        closed.heart.beat()
        assert is_cancelled()
        raise WorkerLost("cancelled")

    _remember_heartbeat(closed)
    closed.analyzer.script = [is_superseded]
    closed.analysis.step()
    assert closed.detail().jobs[0].state is JobState.SUPERSEDED


def test_a_stop_gives_the_job_back_without_counting_it_as_a_failure(closed):
    for _ in range(5):
        closed.analyzer.script = [WorkerLost("cancelled")]
        assert closed.analysis.step(lambda: True) is True
        assert closed.job().state is JobState.RETRY_WAIT
        closed.restart()
        assert closed.requeue.tick() == 1
    closed.analyzer.script = [GpuOutOfMemory("no memory")]
    closed.analysis.step()
    assert closed.job().state is JobState.RETRY_WAIT
    closed.settle(turns=2)
    assert closed.job().state is JobState.DONE


def test_a_stop_after_the_last_slice_still_keeps_the_result(closed):
    assert closed.analysis.step(lambda: True) is True
    assert closed.job().state is JobState.DONE


def test_a_revision_names_what_the_peer_holds_of_the_one_before(closed):
    closed.turn()
    closed.receive(incoming(4))
    closed.close_now()
    closed.analysis.step()
    first, second = closed.encoder.predecessors
    assert first == ()
    assert second == closed.deliveries()[0].objects


def test_a_result_no_peer_ever_got_is_not_named_as_predecessor_and_is_not_sent_any_more(closed):
    closed.analysis.step()
    closed.receive(incoming(4))
    closed.close_now()
    closed.analysis.step()
    assert closed.encoder.predecessors == [(), ()]
    assert [(d.revision, d.state) for d in closed.deliveries()] == [
        (1, DeliveryState.CANCELLED),
        (2, DeliveryState.PENDING),
    ]


def test_an_older_result_is_still_sent_while_the_newer_one_is_not_there_yet(closed):
    closed.analysis.step()
    closed.receive(incoming(4))
    assert closed.delivery.step() is True
    assert closed.deliveries()[0].state is DeliveryState.STORED


def test_an_outcome_that_cannot_be_written_is_tried_again_after_the_lease(closed, monkeypatch):
    healthy = closed.database.unit_of_work

    def is_cut_off(is_cancelled):
        monkeypatch.setattr(closed.database, "unit_of_work", _fails)

    closed.analyzer.script = [is_cut_off]
    with pytest.raises(StorageUnavailable):
        closed.analysis.step()
    monkeypatch.setattr(closed.database, "unit_of_work", healthy)
    assert closed.job().state is JobState.RUNNING
    closed.settle(turns=3, seconds=61)
    assert closed.job().state is JobState.DONE
    assert set(closed.pacs.held.values()) == {1}


def test_the_worker_of_a_job_that_kills_every_worker_is_not_fed_for_ever(closed):
    for _ in range(25):
        with closed.uow() as uow:
            uow.jobs.claim(owner="doomed", now=closed.clock.now(), lease_until=closed.clock.now())
            uow.commit()
        closed.clock.advance(1)
        closed.requeue.tick()
        closed.requeue.tick()
    assert closed.job().state is JobState.FAILED
    assert "gave up after 20 lost workers" in closed.job().failure
    assert closed.events(f"job:{closed.job().id}").count("lease_expired") == 19


def test_a_job_that_takes_the_node_down_with_it_three_times_is_set_aside_with_its_last_stage(node):
    node.receive_study(1, study="1.7")
    node.receive_study(1, study="1.8")
    node.clock.advance(31)
    node.closing.tick()
    for life in range(3):
        with node.uow() as uow:
            taken = uow.jobs.claim(
                owner=f"node/{life}", now=node.clock.now(), lease_until=node.clock.now() + timedelta(seconds=60)
            )
            assert taken.study_instance_uid == "1.7"
            uow.commit()
        node.requeue = Requeue(
            uow_factory=node.uow,
            clock=node.clock,
            lost_jobs_limit=3,
            evidence_of=lambda job: f"its last stage in attempt {job.attempt} was localise",
        )
        assert node.requeue.take_back("node/now", owner_prefix="node/") == 1
        node.requeue.tick()
    job = node.job("1.7")
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert "its last stage in attempt 3 was localise" in job.failure
    assert "gave up after 3 lost workers" in job.failure
    assert node.state("1.7") is WorklistState.NEEDS_ATTENTION
    node.settle(turns=2)
    assert node.state("1.8") is WorklistState.DELIVERED


def test_studies_are_analysed_in_the_order_in_which_they_closed(node):
    node.receive_study(1, study="1.7")
    node.close_now()
    node.receive_study(1, study="1.8")
    node.close_now()
    node.analysis.step()
    node.analysis.step()
    assert [request.study_instance_uid for request in node.analyzer.requests] == ["1.7", "1.8"]


def _fails():
    raise StorageUnavailable("the disk is full")


def _remember_heartbeat(node: Node) -> None:
    make = node.analysis._heartbeat

    def remembers(job):
        node.heart = make(job)
        return node.heart

    node.analysis._heartbeat = remembers


def test_the_history_of_a_study_tells_who_did_what(closed):
    closed.analysis.step()
    actors = {entry.event: entry.actor for entry in closed.detail().history}
    assert actors == {
        "instance_stored": "SCANNER",
        "quiet_elapsed": "node",
        "queued": "node",
        "leased": "node/1",
        "succeeded": "node/1",
    }
    assert all(entry.study_instance_uid == STUDY for entry in closed.detail().history)
