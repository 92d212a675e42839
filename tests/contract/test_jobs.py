"""Jobs: claims, leases, compare-and-set, on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dicom_node.core.errors import StorageConflict
from dicom_node.core.job import AnalysisJob, JobState, Lease
from tests.contract.rows import STUDY, at


def queued(database: Any, *, revision: int = 1, seconds: float = 0, study: str = STUDY) -> AnalysisJob:
    with database.unit_of_work() as uow:
        job = uow.jobs.add(study_instance_uid=study, revision=revision, created_at=at(seconds))
        uow.commit()
    return job


def claimed(database: Any, *, owner: str = "node-1/a", until: float = 60) -> AnalysisJob | None:
    with database.unit_of_work() as uow:
        job = uow.jobs.claim(owner=owner, now=at(1), lease_until=at(until))
        uow.commit()
    return job


def updated(database: Any, job: AnalysisJob, expected: AnalysisJob) -> bool:
    with database.unit_of_work() as uow:
        won = uow.jobs.update(job, expected=expected)
        uow.commit()
    return bool(won)


def stored(database: Any, job_id: int) -> AnalysisJob:
    with database.reading() as uow:
        job = uow.jobs.get(job_id)
    assert job is not None
    return job


def test_a_new_job_is_queued_and_comes_back_as_it_was(database: Any) -> None:
    job = queued(database)
    assert (job.state, job.attempt, job.lease) == (JobState.QUEUED, 0, None)
    assert stored(database, job.id) == job


def test_an_unknown_job_is_none(database: Any) -> None:
    with database.reading() as uow:
        assert uow.jobs.get(12345) is None
        assert uow.jobs.of_study(STUDY) == ()


def test_a_revision_has_one_job(database: Any) -> None:
    queued(database)
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.jobs.add(study_instance_uid=STUDY, revision=1, created_at=at(9))
    queued(database, revision=1, study="1.2.9")


def test_jobs_of_a_study_come_oldest_revision_first(database: Any) -> None:
    jobs = [queued(database, revision=revision) for revision in (2, 1, 3)]
    queued(database, study="1.2.9")
    with database.reading() as uow:
        assert uow.jobs.of_study(STUDY) == (jobs[1], jobs[0], jobs[2])


def test_a_claim_takes_the_oldest_job_and_counts_the_attempt(database: Any) -> None:
    queued(database, revision=1, seconds=5)
    oldest = queued(database, revision=2, seconds=1)
    job = claimed(database, owner="node-1/a", until=60)
    assert job == replace(oldest, state=JobState.RUNNING, attempt=1, lease=Lease(owner="node-1/a", expires_at=at(60)))
    assert stored(database, oldest.id) == job


def test_jobs_of_the_same_time_are_claimed_in_the_order_they_were_added(database: Any) -> None:
    ids = [queued(database, revision=revision).id for revision in (1, 2, 3)]
    assert [claimed(database).id for _ in ids] == ids  # type: ignore[union-attr]
    assert claimed(database) is None


def test_a_claim_that_is_not_committed_is_none(database: Any) -> None:
    job = queued(database)
    with database.unit_of_work() as uow:
        assert uow.jobs.claim(owner="node-1/a", now=at(1), lease_until=at(60)) is not None
    assert stored(database, job.id) == job


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.QUEUED])
def test_only_a_queued_job_is_claimed(database: Any, state: JobState) -> None:
    job = queued(database)
    assert updated(database, replace(job, state=state), job)
    assert claimed(database) is None


def test_of_many_claims_of_one_job_exactly_one_wins(database: Any) -> None:
    queued(database)
    ready = threading.Barrier(4)

    def race(number: int) -> AnalysisJob | None:
        ready.wait()
        return claimed(database, owner=f"node-1/{number}")

    with ThreadPoolExecutor(4) as threads:
        winners = [job for job in threads.map(race, range(4)) if job is not None]
    assert len(winners) == 1
    assert stored(database, winners[0].id) == winners[0]


def test_claims_in_parallel_take_every_job_once(database: Any) -> None:
    ids = {queued(database, revision=revision).id for revision in range(1, 13)}
    ready = threading.Barrier(3)

    def work(number: int) -> list[int]:
        ready.wait()
        taken = []
        while job := claimed(database, owner=f"node-1/{number}"):
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(3) as threads:
        taken = [job_id for each in threads.map(work, range(3)) for job_id in each]
    # On PostgreSQL a claim skips rows another one is just taking, so the last may be left for the next tick.
    while job := claimed(database):
        taken.append(job.id)
    assert sorted(taken) == sorted(ids)


def test_the_owner_extends_its_lease_and_nobody_else(database: Any) -> None:
    queued(database)
    job = claimed(database, owner="node-1/a")
    assert job is not None
    with database.unit_of_work() as uow:
        assert uow.jobs.extend_lease(job.id, owner="node-1/a", until=at(120))
        assert not uow.jobs.extend_lease(job.id, owner="node-1/b", until=at(500))
        assert not uow.jobs.extend_lease(job.id + 99, owner="node-1/a", until=at(500))
        uow.commit()
    assert stored(database, job.id) == replace(job, lease=Lease(owner="node-1/a", expires_at=at(120)))


def test_a_lease_is_not_extended_once_the_job_has_moved_on(database: Any) -> None:
    queued(database)
    job = claimed(database, owner="node-1/a")
    assert job is not None
    assert updated(database, replace(job, state=JobState.SUPERSEDED), job)
    with database.unit_of_work() as uow:
        assert not uow.jobs.extend_lease(job.id, owner="node-1/a", until=at(120))


def test_an_update_writes_everything_that_changes_in_a_jobs_life(database: Any) -> None:
    queued(database)
    job = claimed(database)
    assert job is not None
    done = replace(
        job,
        state=JobState.DONE,
        lease=None,
        failure="none",
        reason="all well",
        result_json='{"outcome": "analysed"}',
        finished_at=at(50),
        next_attempt_at=at(70),
    )
    assert updated(database, done, job)
    assert stored(database, job.id) == done


def test_an_update_never_changes_what_identifies_a_job(database: Any) -> None:
    job = queued(database)
    assert updated(database, replace(job, study_instance_uid="1.2.9", revision=9, created_at=at(99)), job)
    assert stored(database, job.id) == job


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"state": JobState.CANCELLED},
        {"attempt": 2},
        {"lease": Lease(owner="node-1/b", expires_at=at(60))},
        {"lease": None},
    ],
)
def test_an_update_of_a_job_that_changed_meanwhile_is_lost(database: Any, meanwhile: dict[str, Any]) -> None:
    queued(database)
    job = claimed(database, owner="node-1/a")
    assert job is not None
    changed = replace(job, **meanwhile)
    assert updated(database, changed, job)
    assert not updated(database, replace(job, state=JobState.DONE), job)
    assert stored(database, job.id) == changed


def test_a_longer_lease_of_the_same_owner_loses_no_race(database: Any) -> None:
    queued(database)
    job = claimed(database, owner="node-1/a")
    assert job is not None
    with database.unit_of_work() as uow:
        uow.jobs.extend_lease(job.id, owner="node-1/a", until=at(500))
        uow.commit()
    assert updated(database, replace(job, state=JobState.DONE, lease=None), job)


def test_an_update_of_an_unknown_job_is_lost(database: Any) -> None:
    job = queued(database)
    assert not updated(database, job, replace(job, id=job.id + 99))


def test_jobs_are_due_when_their_time_has_come(database: Any) -> None:
    jobs = [queued(database, revision=revision) for revision in (1, 2, 3, 4)]
    for job, seconds in zip(jobs, (30, 10, 31, 5), strict=True):
        state = JobState.RETRY_WAIT if job is not jobs[3] else JobState.FAILED
        assert updated(database, replace(job, state=state, next_attempt_at=at(seconds)), job)
    with database.reading() as uow:
        assert [job.id for job in uow.jobs.due(at(30))] == [jobs[1].id, jobs[0].id]
        assert uow.jobs.due(at(9)) == ()


def test_leases_expire(database: Any) -> None:
    for revision, until in ((1, 60), (2, 40), (3, 61)):
        queued(database, revision=revision)
        claimed(database, until=until)
    queued(database, revision=4)
    with database.reading() as uow:
        assert [job.revision for job in uow.jobs.expired(at(60))] == [2, 1]
        assert uow.jobs.expired(at(39)) == ()


def test_a_new_life_finds_the_leases_of_the_earlier_ones(database: Any) -> None:
    for revision, owner in enumerate(("node_1/a", "node_1/b", "nodex1/a", "node_2/a"), start=1):
        queued(database, revision=revision)
        claimed(database, owner=owner)
    with database.reading() as uow:
        found = uow.jobs.leased_by_others("node_1/b", owner_prefix="node_1/")
        assert [job.revision for job in found] == [1]


def test_a_job_that_ended_without_a_result_is_unspoken_until_it_counts_as_told(database: Any) -> None:
    ends = (JobState.FAILED, JobState.DONE, JobState.SKIPPED, JobState.CANCELLED, JobState.SUPERSEDED, JobState.RUNNING)
    for revision, state in enumerate(ends, start=1):
        job = queued(database, revision=revision)
        assert updated(database, replace(job, state=state), job)
    with database.reading() as uow:
        silent = uow.jobs.unspoken()
        assert [job.state for job in silent] == [JobState.FAILED, JobState.SKIPPED, JobState.CANCELLED]
        assert uow.jobs.unspoken(limit=1) == silent[:1]
    assert updated(database, replace(silent[0], is_told=True), silent[0])
    with database.reading() as uow:
        assert uow.jobs.unspoken() == silent[1:]
