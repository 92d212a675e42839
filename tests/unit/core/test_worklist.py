import pytest

from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from dicom_node.core.worklist import ATTENTION_AFTER_ATTEMPTS, WorklistState, summarise
from tests.unit.core.builders import delivery, intake, job

CLOSED = intake(state=StudyState.CLOSED, revision=1)


def test_a_study_that_is_received_is_receiving_whatever_became_of_an_earlier_revision():
    status = summarise(intake(revision=1, instance_count=12), job(JobState.FAILED), ())
    assert status.state is WorklistState.RECEIVING
    assert status.why == "12 instances so far; revision 2 follows"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (JobState.QUEUED, WorklistState.WAITING),
        (JobState.RUNNING, WorklistState.ANALYSING),
        (JobState.RETRY_WAIT, WorklistState.WAITING),
        (JobState.SKIPPED, WorklistState.NOT_APPLICABLE),
        (JobState.FAILED, WorklistState.NEEDS_ATTENTION),
        (JobState.CANCELLED, WorklistState.NEEDS_ATTENTION),
        (JobState.SUPERSEDED, WorklistState.NEEDS_ATTENTION),
        (JobState.DONE, WorklistState.DELIVERED),
    ],
)
def test_the_job_of_a_closed_study_decides(state, expected):
    status = summarise(CLOSED, job(state, reason="a chest", failure="out of memory"), ())
    assert status.state is expected
    assert status.why


def test_a_closed_study_without_a_job_needs_attention():
    assert summarise(CLOSED, None, ()).state is WorklistState.NEEDS_ATTENTION


def test_an_analysis_with_nobody_to_send_it_to_is_not_stuck():
    status = summarise(CLOSED, job(JobState.DONE), ())
    assert status.state is WorklistState.DELIVERED
    assert "no peer" in status.why


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((DeliveryState.PENDING,), WorklistState.SENDING),
        ((DeliveryState.STORED, DeliveryState.SENDING), WorklistState.SENDING),
        ((DeliveryState.STORED, DeliveryState.RETRY_WAIT), WorklistState.SENDING),
        ((DeliveryState.STORED, DeliveryState.COMMITTED), WorklistState.DELIVERED),
        ((DeliveryState.STORED, DeliveryState.FAILED), WorklistState.NEEDS_ATTENTION),
        ((DeliveryState.SENDING, DeliveryState.FAILED), WorklistState.NEEDS_ATTENTION),
        ((DeliveryState.CANCELLED,), WorklistState.NEEDS_ATTENTION),
    ],
)
def test_the_deliveries_of_a_finished_job_decide(states, expected):
    deliveries = [delivery(state, id=n, peer=f"pacs{n}", failure="refused") for n, state in enumerate(states)]
    assert summarise(CLOSED, job(JobState.DONE), deliveries).state is expected


def test_a_delivery_that_keeps_failing_shows_before_it_gives_up():
    tired = delivery(DeliveryState.RETRY_WAIT, attempt=ATTENTION_AFTER_ATTEMPTS, failure="no answer")
    status = summarise(CLOSED, job(JobState.DONE), [tired])
    assert status.state is WorklistState.NEEDS_ATTENTION
    assert "still trying: no answer" in status.why


def test_deliveries_of_an_earlier_revision_do_not_count():
    failed = delivery(DeliveryState.FAILED, job_id=7)
    assert summarise(CLOSED, job(JobState.DONE), [failed]).state is WorklistState.DELIVERED


def test_a_notification_that_cannot_be_told_needs_attention_and_one_that_was_is_no_storage():
    stored = delivery(DeliveryState.STORED)
    told = delivery(DeliveryState.STORED, id=2, peer="hl7", channel=Channel.HL7, objects=())
    status = summarise(CLOSED, job(JobState.DONE), [stored, told])
    assert (status.state, status.why) == (WorklistState.DELIVERED, "stored at pacs")
    failed = delivery(DeliveryState.FAILED, id=2, peer="hl7", channel=Channel.HL7, objects=(), failure="AE")
    assert summarise(CLOSED, job(JobState.DONE), [stored, failed]).state is WorklistState.NEEDS_ATTENTION
    assert "no peer" in summarise(CLOSED, job(JobState.DONE), [told]).why


def test_a_peer_that_could_not_be_told_of_a_study_without_a_result_needs_attention():
    failed = delivery(DeliveryState.FAILED, failure="refused")
    status = summarise(CLOSED, job(JobState.SKIPPED, reason="a chest"), [failed])
    assert status.state is WorklistState.NEEDS_ATTENTION
    assert status.why == "not applicable (a chest); pacs was not told: refused"


def test_what_became_of_the_deliveries_before_a_second_start_no_longer_matters():
    failed, stored = delivery(DeliveryState.FAILED, failure="x"), delivery(DeliveryState.STORED, id=2, round=2)
    assert summarise(CLOSED, job(JobState.DONE), [stored, failed]).state is WorklistState.DELIVERED
