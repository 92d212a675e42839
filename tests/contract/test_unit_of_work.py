"""What a transaction is, on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.rows import STUDY, at, entry, instance, intake


def test_leaving_without_a_commit_forgets_everything(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        uow.history.append(entry(0))
        assert uow.studies.get(STUDY) is not None
        assert uow.jobs.add(study_instance_uid=STUDY, revision=1, created_at=at(0)).revision == 1
    with database.reading() as uow:
        assert uow.studies.get(STUDY) is None
        assert uow.studies.find_instance(instance(1).sop_instance_uid) is None
        assert uow.history.of_study(STUDY) == ()
        assert uow.jobs.of_study(STUDY) == ()


def test_an_error_in_the_block_forgets_everything_and_passes_on(database: Any) -> None:
    def fail_half_way() -> None:
        with database.unit_of_work() as uow:
            uow.studies.save(intake())
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail_half_way()
    with database.unit_of_work() as uow:
        assert uow.studies.get(STUDY) is None


def test_what_follows_a_commit_is_a_transaction_of_its_own(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.commit()
        uow.studies.save(intake(revision=5))
    with database.reading() as uow:
        assert uow.studies.get(STUDY).revision == 0


def test_a_unit_of_work_that_does_nothing_can_be_committed(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.commit()


def test_nothing_works_after_the_block(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
    with pytest.raises(RuntimeError, match="over"):
        uow.studies.get(STUDY)


def test_history_is_read_oldest_first_whatever_the_subject(database: Any) -> None:
    late, early = entry(9, "job:1", event="leased"), entry(1, f"study:{STUDY}", study_instance_uid="")
    same_time = entry(9, "delivery:1", event="leased", reason="")
    with database.unit_of_work() as uow:
        for each in (late, early, same_time, entry(0, "study:1.2.9", study_instance_uid="1.2.9")):
            uow.history.append(each)
        uow.commit()
    with database.reading() as uow:
        assert uow.history.of_study(STUDY) == (early, late, same_time)


def test_a_reading_unit_of_work_cannot_write(database: Any) -> None:
    with database.reading() as uow, pytest.raises(RuntimeError, match="reads"):
        uow.studies.save(intake())


def test_a_reader_does_not_wait_for_a_writer_and_sees_only_what_was_committed(database: Any) -> None:
    with database.unit_of_work() as writer:
        writer.studies.save(intake())
        with database.reading() as reader:
            assert reader.studies.get(STUDY) is None
        writer.commit()
    with database.reading() as reader:
        assert reader.studies.get(STUDY) is not None


def test_a_reader_keeps_its_snapshot(database: Any) -> None:
    with database.unit_of_work() as writer:
        writer.studies.save(intake())
        writer.commit()
    with database.reading() as reader:
        assert reader.studies.get(STUDY).revision == 0
        with database.unit_of_work() as writer:
            writer.studies.save(intake(revision=1))
            writer.commit()
        assert reader.studies.get(STUDY).revision == 0
        assert reader.studies.instances(STUDY) == ()


def test_reading_a_study_to_write_it_keeps_other_writers_of_it_out(database: Any) -> None:
    """Read, decide, write in parallel: no decision is made on a study that another is changing."""
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.commit()

    def count_up(_: int) -> None:
        for _ in range(10):
            with database.unit_of_work() as uow:
                study = uow.studies.get(STUDY)
                uow.studies.save(replace(study, revision=study.revision + 1))
                uow.commit()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count_up, range(4)))
    with database.reading() as uow:
        assert uow.studies.get(STUDY).revision == 40


def test_senders_in_parallel_lose_no_instance_of_a_study_nobody_knew(database: Any) -> None:
    ready = threading.Barrier(4)

    def send(sender: int) -> None:
        ready.wait()
        for number in range(10):
            with database.unit_of_work() as uow:
                study = uow.studies.get(STUDY) or intake()
                uow.studies.add_instance(instance(100 * sender + number))
                uow.studies.save(study)
                uow.commit()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, range(4)))
    with database.reading() as uow:
        assert len(uow.studies.instances(STUDY)) == 40
        assert uow.studies.get(STUDY).instance_count == 40


def test_what_is_committed_without_a_sync_is_seen_by_all(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.open_association("a", calling_aet="SCANNER", address="192.0.2.1", at=at(0))
        uow.commit_unsynced()
    with database.reading() as uow:
        assert uow.studies.open_association_count() == 1
