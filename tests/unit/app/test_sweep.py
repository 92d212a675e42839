from pathlib import Path

import pytest

from dicom_node.app.found_instance import FoundInstance
from dicom_node.app.receive_instance import InstanceHeader
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from tests.unit.app.node import STUDY, Node, incoming


def left_behind(node: Node, number: int, *, content: bytes = b"", readable: bool = True) -> Path:
    """A durable file whose row was never committed."""
    instance = incoming(number, content=content)
    stored = node.files.write("key", instance.head, instance.data_set)
    if readable:
        node.found[node.files.absolute(stored.path)] = FoundInstance(
            header=instance.header,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            calling_aet="SCANNER",
        )
    return stored.path


def test_a_clean_start_does_nothing(node):
    node.receive_study(2)
    report = node.restart()
    assert (report.discarded, report.indexed, report.set_aside) == ([], [], [])
    assert (report.forgotten_associations, report.taken_back) == (0, 0)


def test_a_file_without_a_row_is_indexed_and_its_study_goes_on(node):
    node.receive_study(1)
    path = left_behind(node, 2)
    assert node.restart().indexed == [path]
    assert node.study().instance_count == 2
    assert node.restart().indexed == []


def test_a_file_of_a_study_nobody_knows_opens_it(node):
    left_behind(node, 1)
    node.restart()
    assert node.study().state is StudyState.RECEIVING


def test_a_leftover_copy_of_what_is_held_is_dropped(node):
    node.receive_study(1)
    path = left_behind(node, 1)
    assert node.restart().discarded == [path]
    assert len(node.files.contents) == 1


def test_a_leftover_with_other_content_under_a_known_uid_is_kept_aside(node):
    node.receive_study(1)
    path = left_behind(node, 1, content=b"other pixels")
    assert node.restart().set_aside == [path]
    assert [reason for reason, _ in node.files.notes.values()] == ["conflicting_instance"]
    assert node.detail().history[-1].event == "conflicting_instance"


def test_an_unreadable_leftover_is_kept_aside_and_not_deleted(node):
    path = left_behind(node, 1, readable=False)
    assert node.restart().set_aside == [path]
    assert [reason for reason, _ in node.files.notes.values()] == ["unreadable_leftover"]


def test_a_leftover_that_names_no_study_is_kept_aside(node):
    path = left_behind(node, 1)
    found = node.found[node.files.absolute(path)]
    node.found[node.files.absolute(path)] = FoundInstance(
        header=InstanceHeader(), transfer_syntax_uid="", digest=found.digest, size_bytes=1
    )
    assert node.restart().set_aside == [path]


def test_a_file_that_was_being_written_is_removed(node):
    node.files.contents[Path("incoming/00000009.part")] = b"half"
    assert node.restart().discarded == [Path("incoming/00000009.part")]
    assert node.files.contents == {}


def test_associations_of_an_earlier_life_no_longer_hold_a_study(node):
    node.open_association("before the kill")
    node.receive(incoming(association_id="before the kill"))
    assert node.restart().forgotten_associations == 1
    node.close_now()


def test_a_job_of_an_earlier_life_is_taken_back_at_once(node):
    node.receive_study(1)
    node.close_now()
    with node.uow() as uow:
        uow.jobs.claim(owner="node/0", now=node.clock.now(), lease_until=node.clock.now().replace(year=2030))
        uow.commit()
    assert node.restart().taken_back == 1
    node.turn()
    assert (node.job().state, node.job().attempt) == (JobState.DONE, 2)


def test_a_job_of_another_node_is_left_alone(node):
    node.receive_study(1)
    node.close_now()
    with node.uow() as uow:
        uow.jobs.claim(owner="elsewhere/1", now=node.clock.now(), lease_until=node.clock.now().replace(year=2030))
        uow.commit()
    assert node.restart().taken_back == 0
    assert node.job().state is JobState.RUNNING


def test_a_start_without_storage_fails(node, monkeypatch):
    def fails():
        raise StorageUnavailable("the disk is gone")

    monkeypatch.setattr(node.database, "unit_of_work", fails)
    with pytest.raises(StorageUnavailable):
        node.restart()


def test_the_sweep_is_told_in_no_history_of_a_study_it_did_not_touch(node):
    node.receive_study(1)
    before = node.detail().history
    node.restart()
    assert node.detail().history == before
    assert {entry.study_instance_uid for entry in before} == {STUDY}
