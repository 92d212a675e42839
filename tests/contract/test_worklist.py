"""The node worklist: its order, what narrows it, and that what is kept of a study is what follows from it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from dicom_node.core.delivery import DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.standing import WorklistFilter, standing_of
from dicom_node.core.study import PatientSummary, StudyState
from dicom_node.core.worklist import WorklistState
from tests.contract.rows import at, intake

EVERYTHING = WorklistFilter()


def result(probability: float, *, fracture: bool) -> str:
    return json.dumps({"patient_overall": {"probability": probability, "fracture": fracture}, "levels": []})


def receiving(database: Any, uid: str, seconds: float, **changes: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake(uid, first_received_at=at(seconds), last_received_at=at(seconds), **changes))
        uow.commit()


def closed(database: Any, uid: str, seconds: float, **changes: Any) -> None:
    receiving(database, uid, seconds, state=StudyState.CLOSED, revision=1, closed_at=at(seconds), **changes)
    with database.unit_of_work() as uow:
        uow.jobs.add(study_instance_uid=uid, revision=1, created_at=at(seconds))
        uow.commit()


def analysed(database: Any, uid: str, seconds: float, *, fracture: bool = False, **changes: Any) -> None:
    """Closed and analysed; no receiver was to get the result."""
    closed(database, uid, seconds, **changes)
    with database.unit_of_work() as uow:
        (job,) = uow.jobs.of_study(uid)
        text = result(0.9 if fracture else 0.1, fracture=fracture)
        assert uow.jobs.update(replace(job, state=JobState.DONE, result_json=text), expected=job)
        uow.commit()


def page(database: Any, limit: int = 100, offset: int = 0, **narrowed: Any) -> list[str]:
    with database.reading() as uow:
        found = uow.worklist.page(WorklistFilter(**narrowed), limit=limit, offset=offset)
    return [study.study_instance_uid for study in found]


def test_suspected_fractures_come_first_then_who_waits_longest_then_what_is_done_newest_first(database: Any) -> None:
    analysed(database, "1.1", 1)
    analysed(database, "1.2", 2)
    analysed(database, "1.3", 3, fracture=True)
    analysed(database, "1.4", 4, fracture=True)
    closed(database, "1.5", 5)
    receiving(database, "1.6", 6)
    closed(database, "1.7", 7)
    assert page(database) == ["1.4", "1.3", "1.5", "1.6", "1.7", "1.2", "1.1"]
    assert page(database, limit=2, offset=3) == ["1.6", "1.7"]
    assert page(database, limit=2, offset=7) == []


def test_a_suspected_fracture_stays_first_while_late_images_of_it_arrive(database: Any) -> None:
    analysed(database, "1.1", 1, fracture=True)
    receiving(database, "1.2", 2)
    receiving(database, "1.1", 9, revision=1)
    assert page(database) == ["1.1", "1.2"]
    assert page(database, is_positive=True, state=WorklistState.RECEIVING) == ["1.1"]


def test_what_narrows_narrows_together(database: Any) -> None:
    analysed(database, "1.1", 1, fracture=True, calling_aet="CT_1")
    analysed(database, "1.2", 2, calling_aet="CT_1")
    receiving(database, "1.3", 3, calling_aet="CT_1")
    receiving(database, "1.4", 4, calling_aet="CT_2")
    assert page(database, source="CT_1") == ["1.1", "1.3", "1.2"]
    assert page(database, source="CT_1", state=WorklistState.RECEIVING) == ["1.3"]
    assert page(database, is_positive=True) == ["1.1"]
    assert page(database, is_positive=False, state=WorklistState.DELIVERED) == ["1.2"]
    assert page(database, from_at=at(2), before=at(4)) == ["1.3", "1.2"]
    assert page(database, source="CT_3") == []


@pytest.mark.parametrize(
    "text",
    ["müller", "MÜLLER", "jürgen müller", "山田", "p-0001", "a1", "1.9.7", "  Müller   p-0001 "],
)
def test_every_word_is_looked_for_in_name_id_accession_number_and_uid_whatever_its_case(
    database: Any, text: str
) -> None:
    receiving(database, "1.9.7", 1)
    receiving(database, "1.9.8", 2, patient=PatientSummary(patient_id="Q", patient_name="Doe^Jane"))
    assert page(database, text=text) == ["1.9.7"]


@pytest.mark.parametrize("text", ["müller jane", "%", "_", "\\", "\x00%"])
def test_what_no_study_holds_finds_none_and_marks_of_a_pattern_are_plain_characters(database: Any, text: str) -> None:
    receiving(database, "1.9.7", 1)
    receiving(database, "1.9.8", 2, patient=PatientSummary(patient_id="Q", patient_name="Doe^Jane"))
    assert page(database, text=text) == []


def test_a_name_longer_than_any_index_takes_is_kept_and_found_by_its_beginning(database: Any) -> None:
    receiving(database, "1.1", 1, patient=PatientSummary(patient_id="long", patient_name="Ä" * 60_000))
    with database.reading() as uow:
        assert len(uow.studies.get("1.1").patient.patient_name) == 60_000
    assert page(database, text="ÄÄÄ long 1.1") == ["1.1"]


def test_the_tally_counts_by_state_and_finding(database: Any) -> None:
    analysed(database, "1.1", 1, fracture=True)
    analysed(database, "1.2", 2)
    receiving(database, "1.3", 3)
    with database.reading() as uow:
        assert uow.worklist.tally(EVERYTHING) == {
            (WorklistState.DELIVERED, True): 1,
            (WorklistState.DELIVERED, False): 1,
            (WorklistState.RECEIVING, False): 1,
        }
        assert uow.worklist.tally(WorklistFilter(is_positive=True)) == {(WorklistState.DELIVERED, True): 1}


def test_jobs_and_deliveries_of_many_studies_are_those_of_each(database: Any) -> None:
    for number in (1, 2, 3):
        closed(database, f"1.{number}", number)
    with database.unit_of_work() as uow:
        (job,) = uow.jobs.of_study("1.2")
        uow.deliveries.add(
            job_id=job.id, study_instance_uid="1.2", revision=1, peer="pacs", objects=(), created_at=at(9)
        )
        uow.commit()
    with database.reading() as uow:
        jobs, deliveries = uow.jobs.of_studies(["1.1", "1.2", "9"]), uow.deliveries.of_studies(["1.1", "1.2", "9"])
        assert [jobs.get(uid, ()) for uid in ("1.1", "1.2", "1.3", "9")] == [
            uow.jobs.of_study("1.1"),
            uow.jobs.of_study("1.2"),
            (),
            (),
        ]
        assert [deliveries.get(uid, ()) for uid in ("1.1", "1.2")] == [(), uow.deliveries.of_study("1.2")]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_the_order_is_the_one_that_follows_from_studies_jobs_and_deliveries(
    database: Any, seed: int
) -> None:
    """Each step is one transaction that changes one thing, as the use cases do, and some are given up."""
    dice = random.Random(seed)
    uids = [f"1.{number}" for number in range(5)]
    for step in range(40):
        with database.unit_of_work() as uow:
            _change(uow, dice, dice.choice(uids), step)
            if dice.random() < 0.9:
                uow.commit()
        with database.reading() as uow:
            expected = {
                study.study_instance_uid: standing_of(
                    study,
                    uow.jobs.of_study(study.study_instance_uid),
                    uow.deliveries.of_study(study.study_instance_uid),
                )
                for study in uow.studies.list()
            }
            order = sorted(expected, key=lambda uid: (expected[uid].place, uid))
            assert [study.study_instance_uid for study in uow.worklist.page(EVERYTHING, limit=9)] == order, step
            for state in WorklistState:
                found = uow.worklist.page(WorklistFilter(state=state), limit=9)
                assert {each.study_instance_uid for each in found} == {
                    uid for uid, standing in expected.items() if standing.state is state
                }, step


def _change(uow: Any, dice: random.Random, uid: str, step: int) -> None:
    study = uow.studies.get(uid)
    jobs, deliveries = uow.jobs.of_study(uid), uow.deliveries.of_study(uid)
    what = dice.choice(("image", "close", "claim", "job", "delivery", "send", "claim delivery"))
    if study is None or what == "image":
        known = study or intake(uid)
        uow.studies.save(replace(known, state=StudyState.RECEIVING, last_received_at=at(step)))
    elif what == "close" and study.state is StudyState.RECEIVING:
        uow.studies.save(replace(study, state=StudyState.CLOSED, revision=study.revision + 1, closed_at=at(step)))
        uow.jobs.add(study_instance_uid=uid, revision=study.revision + 1, created_at=at(step))
    elif what == "claim":
        uow.jobs.claim(owner="w", now=at(step), lease_until=at(step + 60))
    elif what == "job" and jobs:
        job = dice.choice(jobs)
        state = dice.choice((JobState.DONE, JobState.SKIPPED, JobState.FAILED, JobState.QUEUED))
        text = result(0.5, fracture=dice.random() < 0.5) if state is JobState.DONE else ""
        uow.jobs.update(replace(job, state=state, lease=None, result_json=text), expected=job)
    elif what == "delivery" and jobs:
        uow.deliveries.add(
            job_id=dice.choice(jobs).id,
            study_instance_uid=uid,
            revision=1,
            peer=f"pacs-{step}",
            objects=(),
            created_at=at(step),
        )
    elif what == "claim delivery":
        uow.deliveries.claim(owner="w", now=at(step), lease_until=at(step + 60))
    elif what == "send" and deliveries:
        delivery = dice.choice(deliveries)
        state = dice.choice((DeliveryState.STORED, DeliveryState.FAILED, DeliveryState.RETRY_WAIT))
        sent = replace(delivery, state=state, lease=None, failure="away", attempt=dice.choice((1, 6)))
        uow.deliveries.update(sent, expected=delivery)
