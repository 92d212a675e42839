"""Studies, instances and associations: what every database must do alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.errors import StorageConflict
from dicom_node.core.study import StudyState
from tests.contract.rows import NOON, STUDY, at, instance, intake


def test_a_study_nobody_has_sent_is_unknown(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.studies.get(STUDY) is None
        assert uow.studies.list() == ()
        assert uow.studies.instances(STUDY) == ()
        assert uow.studies.find_instance("1.2.3") is None


def test_a_saved_study_comes_back_as_it_was(database: Any) -> None:
    saved = intake(state=StudyState.CLOSED, revision=2, close_reason="quiet for 30 s", closed_at=at(40))
    with database.unit_of_work() as uow:
        uow.studies.save(saved)
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY) == saved


def test_saving_again_changes_the_study_and_keeps_its_count(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        uow.studies.save(intake(revision=1, last_received_at=at(9), calling_aet="OTHER"))
        uow.commit()
    with database.reading() as uow:
        expected = intake(revision=1, last_received_at=at(9), calling_aet="OTHER", instance_count=1)
        assert uow.studies.get(STUDY) == expected


def test_count_and_open_associations_are_derived_and_not_written(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake(instance_count=99, open_associations=("ghost",)))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY) == intake()


def test_times_come_back_aware_in_utc_to_the_microsecond(database: Any) -> None:
    in_tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    with database.unit_of_work() as uow:
        uow.studies.save(intake(first_received_at=in_tokyo, last_received_at=in_tokyo))
        uow.studies.add_instance(instance(1, received_at=in_tokyo))
        uow.commit()
    with database.reading() as uow:
        study, record = uow.studies.get(STUDY), uow.studies.find_instance(f"{STUDY}.7.1")
    for time in (study.first_received_at, study.last_received_at, record.received_at):
        assert time == NOON
        assert time.tzinfo is not None


def test_a_time_without_a_zone_is_refused_and_ends_the_unit_of_work(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        with pytest.raises(ValueError, match="time zone"):
            uow.studies.save(intake("1.2.9", last_received_at=datetime(2026, 1, 2)))
        with pytest.raises(RuntimeError):
            uow.commit()
    with database.reading() as uow:
        assert uow.studies.list() == ()


def test_studies_are_listed_by_their_newest_instance_with_pages(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number, seconds in ((1, 5), (2, 30), (3, 10), (4, 30)):
            uow.studies.save(intake(f"1.2.{number}", last_received_at=at(seconds)))
        uow.commit()
    with database.reading() as uow:
        everything = [study.study_instance_uid for study in uow.studies.list()]
        assert everything == ["1.2.2", "1.2.4", "1.2.3", "1.2.1"]
        assert [study.study_instance_uid for study in uow.studies.list(limit=2, offset=1)] == everything[1:3]


def test_studies_are_listed_by_state(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number, state in enumerate(StudyState):
            uow.studies.save(intake(f"1.2.{number}", state=state, last_received_at=at(number)))
        uow.commit()
    with database.reading() as uow:
        found = uow.studies.list(states=[StudyState.RECEIVING, StudyState.PURGED])
        assert [study.state for study in found] == [StudyState.PURGED, StudyState.RECEIVING]
        assert uow.studies.list(states=iter(())) == ()


def test_a_listed_study_has_what_a_single_one_has(database: Any) -> None:
    with database.unit_of_work() as uow:
        for uid in ("1.2.1", "1.2.2"):
            uow.studies.save(intake(uid))
            uow.studies.add_instance(instance(1, uid))
            uow.studies.open_association(f"a-{uid}", calling_aet="CT", address="10.0.0.1", at=NOON)
            uow.studies.carry(f"a-{uid}", uid)
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.list() == tuple(uow.studies.get(uid) for uid in ("1.2.1", "1.2.2"))
        assert uow.studies.list()[1].open_associations == ("a-1.2.2",)


def test_instances_come_back_as_they_were_in_the_order_of_arrival(database: Any) -> None:
    sent = [instance(number, received_at=NOON) for number in (3, 1, 2)]
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        for record in sent:
            uow.studies.add_instance(record)
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.instances(STUDY) == tuple(sent)
        assert uow.studies.find_instance(sent[1].sop_instance_uid) == sent[1]
        assert uow.studies.get(STUDY).instance_count == 3


def test_an_instance_may_be_written_before_its_study_in_one_transaction(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.add_instance(instance(1))
        uow.studies.save(intake())
        uow.studies.add_instance(instance(2))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY).instance_count == 2


def test_an_instance_without_its_study_cannot_be_committed(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.add_instance(instance(1))
        with pytest.raises(StorageConflict):
            uow.commit()
    with database.reading() as uow:
        assert uow.studies.find_instance(f"{STUDY}.7.1") is None


@pytest.mark.parametrize("twin", [{"file": Path("received/other.dcm")}, {"sop_instance_uid": "1.2.99"}])
def test_a_second_instance_with_the_same_uid_or_file_is_a_conflict(database: Any, twin: dict[str, Any]) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        uow.commit()
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.studies.add_instance(replace(instance(1), **twin))
    with database.reading() as uow:
        assert uow.studies.instances(STUDY) == (instance(1),)
        assert uow.studies.get(STUDY).instance_count == 1


def test_after_a_conflict_nothing_of_the_unit_of_work_can_be_committed(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        uow.commit()
    with database.unit_of_work() as uow:
        uow.studies.save(intake(revision=7))
        with pytest.raises(StorageConflict):
            uow.studies.add_instance(instance(1))
        with pytest.raises(StorageConflict):
            uow.studies.get(STUDY)
        with pytest.raises(StorageConflict):
            uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY).revision == 0


def test_a_file_is_known_by_its_relative_path(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.has_file(instance(1).file)
        assert not uow.studies.has_file(instance(2).file)


def test_an_open_association_shows_on_the_studies_it_carries_and_on_no_other(database: Any) -> None:
    with database.unit_of_work() as uow:
        for uid in ("1.2.1", "1.2.2"):
            uow.studies.save(intake(uid))
        for number in (2, 1):
            uow.studies.open_association(f"a-{number}", calling_aet="CT", address="10.0.0.1", at=at(-number))
            uow.studies.carry(f"a-{number}", "1.2.1")
            uow.studies.carry(f"a-{number}", "1.2.1")
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get("1.2.1").open_associations == ("a-2", "a-1")
        assert uow.studies.get("1.2.2").open_associations == ()


def test_a_closed_association_carries_nothing_any_more(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        for name in ("a-1", "a-2"):
            uow.studies.open_association(name, calling_aet="CT", address="10.0.0.1", at=NOON)
            uow.studies.carry(name, STUDY)
        uow.studies.close_association("a-1", at=at(5), how="released")
        uow.studies.close_association("never-opened", at=at(5), how="aborted")
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY).open_associations == ("a-2",)


def test_an_association_may_carry_a_study_before_the_study_is_known(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.open_association("a-1", calling_aet="CT", address="10.0.0.1", at=NOON)
        uow.studies.carry("a-1", STUDY)
        uow.commit()
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY).open_associations == ("a-1",)


def test_an_association_is_opened_once_and_before_it_carries(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.open_association("a-1", calling_aet="CT", address="10.0.0.1", at=NOON)
        uow.commit()
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.studies.open_association("a-1", calling_aet="CT", address="10.0.0.1", at=NOON)
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.studies.carry("a-2", STUDY)


def test_a_restart_forgets_the_associations_that_were_open(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        for name in ("a-1", "a-2", "a-3"):
            uow.studies.open_association(name, calling_aet="CT", address="10.0.0.1", at=NOON)
            uow.studies.carry(name, STUDY)
        uow.studies.close_association("a-2", at=at(1), how="released")
        uow.commit()
    with database.unit_of_work() as uow:
        assert uow.studies.forget_open_associations(at=at(2)) == 2
        assert uow.studies.forget_open_associations(at=at(3)) == 0
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.get(STUDY).open_associations == ()


def test_a_replaced_instance_has_its_new_file_and_keeps_its_place_in_the_study(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        for number in (1, 2):
            uow.studies.add_instance(instance(number))
        uow.commit()
    new = instance(1, file=Path("received/other.dcm"), digest="f" * 64, size_bytes=7, received_at=at(99))
    with database.unit_of_work() as uow:
        uow.studies.replace_instance(new)
        uow.studies.replace_instance(instance(2, uid="1.9", sop_instance_uid=instance(2).sop_instance_uid))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.instances(STUDY) == (new, instance(2)), "one of another study is left alone"
        assert uow.studies.has_file(new.file)
        assert not uow.studies.has_file(instance(1).file)
        held = uow.studies.get(STUDY)
    assert held is not None
    assert held.instance_count == 2


def test_a_study_without_its_instances_is_still_there_and_may_have_them_again(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.open_association("a-1", calling_aet="CT_SCANNER", address="::1", at=NOON)
        uow.studies.add_instance(instance(1))
        uow.studies.carry("a-1", STUDY)
        uow.studies.save(intake("1.9"))
        uow.studies.add_instance(instance(5, uid="1.9"))
        uow.commit()
    with database.unit_of_work() as uow:
        assert uow.studies.remove_instances(STUDY) == 1
        uow.commit()
    with database.reading() as uow:
        emptied = uow.studies.get(STUDY)
        assert emptied is not None
        assert (emptied.instance_count, emptied.open_associations) == (0, ())
        assert uow.studies.find_instance(instance(1).sop_instance_uid) is None
        assert uow.studies.instances("1.9") == (instance(5, uid="1.9"),)
    with database.unit_of_work() as uow:
        uow.studies.add_instance(instance(1))
        uow.commit()
    with database.reading() as uow:
        again = uow.studies.get(STUDY)
    assert again is not None
    assert again.instance_count == 1


def test_the_oldest_come_first_and_page_by_page(database: Any) -> None:
    with database.unit_of_work() as uow:
        for uid, seconds in (("1.3", 5), ("1.1", 9), ("1.2", 5), ("1.4", 20)):
            uow.studies.save(intake(uid, state=StudyState.CLOSED, last_received_at=at(seconds)))
        uow.studies.save(intake("1.5"))
        uow.commit()
    with database.reading() as uow:
        first = uow.studies.oldest(states=[StudyState.CLOSED], before=at(20), limit=2)
        rest = uow.studies.oldest(states=[StudyState.CLOSED], before=at(20), after=first[-1], limit=2)
    assert [study.study_instance_uid for study in (*first, *rest)] == ["1.2", "1.3", "1.1"]


def test_one_instance_without_its_row_may_come_again(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        for number in (1, 2):
            uow.studies.add_instance(instance(number))
        uow.commit()
    with database.unit_of_work() as uow:
        uow.studies.remove_instance(instance(1).sop_instance_uid)
        uow.studies.remove_instance("1.2.3.4")
        uow.commit()
    with database.unit_of_work() as uow:
        assert uow.studies.instances(STUDY) == (instance(2),)
        uow.studies.add_instance(instance(1))
        uow.commit()
    with database.reading() as uow:
        found = uow.studies.get(STUDY)
    assert found is not None
    assert found.instance_count == 2


def test_open_associations_are_counted(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.studies.open_association_count() == 0
        for name in ("a", "b"):
            uow.studies.open_association(name, calling_aet="CT", address="::1", at=NOON)
        uow.studies.close_association("a", at=at(1), how="released")
        assert uow.studies.open_association_count() == 1
        uow.commit()


def test_instances_that_are_added_together_are_there_in_their_order_and_counted(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.add_instances((instance(2), instance(1)))
        uow.studies.save(intake())
        uow.studies.add_instances((instance(3),))
        uow.commit()
    with database.reading() as uow:
        assert uow.studies.instances(STUDY) == (instance(2), instance(1), instance(3))
        assert uow.studies.get(STUDY) == intake(instance_count=3)


def test_of_instances_that_are_added_together_one_that_is_there_keeps_all_out(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(2))
        uow.commit()
    with database.unit_of_work() as uow, pytest.raises(StorageConflict):
        uow.studies.add_instances((instance(1), instance(2)))
    with database.reading() as uow:
        assert uow.studies.instances(STUDY) == (instance(2),)


@pytest.mark.parametrize("uids", [(), ("1.2.3", "1.2.4")])
def test_only_instances_of_one_study_are_added_together(database: Any, uids: tuple[str, ...]) -> None:
    records = [instance(number, uid) for number, uid in enumerate(uids)]
    with database.unit_of_work() as uow, pytest.raises(ValueError, match="one study"):
        uow.studies.add_instances(records)


def test_an_instance_is_held_from_its_commit_on(database: Any) -> None:
    uid = instance(1).sop_instance_uid
    assert not database.holds_instance(uid)
    with database.unit_of_work() as uow:
        uow.studies.save(intake())
        uow.studies.add_instance(instance(1))
        assert not database.holds_instance(uid)
        uow.commit()
    assert database.holds_instance(uid)
    with database.unit_of_work() as uow:
        uow.studies.remove_instance(uid)
        uow.commit()
    assert not database.holds_instance(uid)
