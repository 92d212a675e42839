"""How much waits and since when, for whoever watches the node: the same on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from dicom_node.core.tally import Tally
from tests.contract.rows import at, intake
from tests.contract.test_commitments import DUTY
from tests.contract.test_deliveries import pending
from tests.contract.test_deliveries import updated as delivery_updated
from tests.contract.test_jobs import claimed, queued, updated


def test_an_empty_node_has_nothing_to_tell(database: Any) -> None:
    with database.reading() as uow:
        assert (uow.studies.tally(), uow.jobs.tally(), uow.deliveries.tally()) == ({}, {}, {})
        assert (uow.commitments.unfinished_duties(), uow.jobs.latest_results(limit=5)) == (0, ())


def test_studies_are_counted_by_state_with_the_longest_silence(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number, seconds in enumerate((30, 10, 20)):
            uow.studies.save(intake(f"1.2.{number}", last_received_at=at(seconds)))
        uow.studies.save(intake("1.2.9", state=StudyState.CLOSED))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.tally() == {
            StudyState.RECEIVING: Tally(count=3, oldest=at(10)),
            StudyState.CLOSED: Tally(count=1, oldest=at(0)),
        }


def test_jobs_are_counted_while_something_is_to_come_of_them(database: Any) -> None:
    queued(database, revision=1, seconds=5)
    queued(database, revision=2, seconds=7)
    queued(database, revision=3, seconds=9)
    first, second = claimed(database), claimed(database)
    assert first is not None
    assert second is not None
    assert updated(database, replace(first, state=JobState.DONE, lease=None, result_json='{"a": 1}'), first)
    assert updated(database, replace(second, state=JobState.FAILED, lease=None), second)
    with database.reading() as uow:
        assert uow.jobs.tally() == {
            JobState.QUEUED: Tally(count=1, oldest=at(9)),
            JobState.FAILED: Tally(count=1, oldest=at(7)),
        }
        assert uow.jobs.latest_results(limit=5) == ('{"a": 1}',)


def test_the_newest_results_come_first_and_no_more_than_asked_for(database: Any) -> None:
    for revision in (1, 2, 3):
        queued(database, revision=revision)
        job = claimed(database)
        assert job is not None
        assert updated(database, replace(job, state=JobState.DONE, lease=None, result_json=f"{revision}"), job)
    with database.reading() as uow:
        assert uow.jobs.latest_results(limit=2) == ("3", "2")


def test_deliveries_are_counted_by_receiver_until_they_are_finished(database: Any) -> None:
    pending(database, "pacs", seconds=8)
    pending(database, "pacs", seconds=3, revision=2)
    done = pending(database, "archive")
    assert delivery_updated(database, replace(done, state=DeliveryState.STORED), done)
    failed = pending(database, "archive", revision=2, seconds=6)
    assert delivery_updated(database, replace(failed, state=DeliveryState.FAILED), failed)
    with database.reading() as uow:
        assert uow.deliveries.tally() == {
            (Channel.OBJECTS, "pacs", DeliveryState.PENDING): Tally(count=2, oldest=at(3)),
            (Channel.OBJECTS, "archive", DeliveryState.FAILED): Tally(count=1, oldest=at(6)),
        }


def test_duties_count_until_they_are_answered(database: Any) -> None:
    with database.unit_of_work() as uow:
        duty = uow.commitments.take_on(DUTY)
        uow.commitments.take_on(replace(DUTY, transaction_uid="2.25.8"))
        uow.commit()
    with database.unit_of_work() as uow:
        uow.commitments.save_duty(replace(duty, finished_at=at(9), next_attempt_at=None))
        uow.commit()
    with database.reading() as uow:
        assert uow.commitments.unfinished_duties() == 1
