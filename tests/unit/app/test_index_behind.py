"""Rows behind the answer: what is claimed, what is not, and that no acknowledged image lacks its row in the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_node.app import counting
from dicom_node.app.associations import RecordAssociations
from dicom_node.app.found_instance import FoundInstance
from dicom_node.app.index_behind import BehindLimits, IndexBehind
from dicom_node.app.index_instance import Indexed
from dicom_node.app.receive_instance import DUPLICATE_SOP_INSTANCE, IncomingInstance, ReceiveInstance
from dicom_node.core.errors import RejectedInput, StorageConflict, StorageUnavailable
from dicom_node.core.study import StudyState
from tests.unit.app.node import STUDY, Node, incoming


class BehindNode(Node):
    """A node whose rows are written when the test says `behind.step()`."""

    limits = BehindLimits(most_waiting=3, batch=2, same_uid_timeout_s=0.0)

    def restart(self) -> Any:
        report = super().restart()
        self.now = 0.0
        self.behind = IndexBehind(
            uow_factory=self.uow,
            reading=self.database.reading,
            files=self.files,
            limits=self.limits,
            monotonic=lambda: self.now,
        )
        self.associations = RecordAssociations(uow_factory=self.uow, clock=self.clock, behind=self.behind)
        self.receive = ReceiveInstance(
            uow_factory=self.uow,
            clock=self.clock,
            files=self.files,
            counters=self.counters,
            min_free_bytes=1000,
            behind=self.behind,
        )
        return report

    def rows(self) -> list[str]:
        with self.uow() as uow:
            return [record.sop_instance_uid for record in uow.studies.instances(STUDY)]

    def open_rows(self) -> int:
        with self.uow() as uow:
            return uow.studies.open_association_count()

    def write_all(self) -> None:
        while self.behind.step():
            pass

    @contextmanager
    def failing(self) -> Iterator[None]:
        """No transaction can be begun."""
        working = self.database.unit_of_work
        self.database.unit_of_work = self._fail
        try:
            yield
        finally:
            self.database.unit_of_work = working

    def _fail(self) -> Any:
        raise StorageUnavailable("the database is away")


@pytest.fixture
def node(tmp_path: Path) -> BehindNode:
    return BehindNode(tmp_path)


def uid(number: int) -> str:
    return incoming(number).sop_instance_uid


def test_a_new_instance_is_answered_before_its_row_is_written(node: BehindNode) -> None:
    assert node.receive(incoming(1)) is Indexed.NEW
    assert node.rows() == []
    assert node.behind.step() == 1
    assert node.rows() == [uid(1)]
    assert node.counters.counts[counting.INSTANCES_RECEIVED, "SCANNER"] == 1


def test_rows_are_written_in_batches_and_the_study_counts_them_all(node: BehindNode) -> None:
    for number in (1, 2, 3):
        node.receive(incoming(number))
        node.clock.advance(1)
    assert (node.behind.step(), node.behind.step(), node.behind.step()) == (2, 1, 0)
    study = node.detail().study
    assert study.instance_count == 3
    assert study.last_received_at == node.clock.now().replace(second=2)


def test_the_open_association_carries_the_study_once_the_row_is_there(node: BehindNode) -> None:
    node.open_association("a")
    node.receive(incoming(1, association_id="a"))
    node.receive(incoming(2, association_id="a"))
    node.write_all()
    assert node.detail().study.open_associations == ("a",)


def test_the_row_of_an_association_comes_behind_its_accept_and_before_any_that_names_it(node: BehindNode) -> None:
    node.associations.opened("a", calling_aet="SCANNER", address="::1")
    node.receive(incoming(1, association_id="a"))
    assert node.open_rows() == 0
    assert node.behind.wait(0.0)
    assert node.behind.step() == 2
    assert node.open_rows() == 1
    assert node.detail().study.open_associations == ("a",)
    node.associations.closed("a", how="released")
    assert node.open_rows() == 0


def test_an_association_that_brought_nothing_has_its_row_too(node: BehindNode) -> None:
    node.associations.opened("a", calling_aet="SCANNER", address="::1")
    assert node.behind.wait(0.0)
    assert (node.behind.step(), node.behind.step()) == (1, 0)
    assert node.open_rows() == 1


def test_what_is_received_in_the_old_way_waits_for_the_row_of_its_association(tmp_path: Path) -> None:
    node = BehindNode(tmp_path)
    node.receive(incoming(1))
    node.write_all()
    node.associations.opened("a", calling_aet="SCANNER", address="::1")
    with pytest.raises(RejectedInput, match="association a waits for its row"):
        node.receive(incoming(1, association_id="a"))
    node.behind._limits = BehindLimits(same_uid_timeout_s=30.0)
    answers: list[Indexed] = []
    again = threading.Thread(target=lambda: answers.append(node.receive(incoming(1, association_id="a"))))
    again.start()
    node.behind.step()
    again.join(30.0)
    assert answers == [Indexed.IDENTICAL]
    assert node.detail().study.open_associations == ("a",)


def test_an_association_is_not_over_before_its_row_is_written(node: BehindNode, monkeypatch: Any) -> None:
    monkeypatch.setattr("dicom_node.app.associations.DRAIN_S", 0.0)
    node.associations.opened("a", calling_aet="SCANNER", address="::1")
    with pytest.raises(StorageUnavailable, match="1 associations wait"):
        node.associations.closed("a", how="released")
    node.write_all()
    node.associations.closed("a", how="released")
    assert node.open_rows() == 0


def test_while_the_database_fails_an_association_has_its_row_before_it_is_accepted(node: BehindNode) -> None:
    node.associations.opened("a", calling_aet="SCANNER", address="::1")
    with node.failing():
        with pytest.raises(StorageUnavailable):
            node.behind.step()
        with pytest.raises(StorageUnavailable):
            node.associations.opened("b", calling_aet="SCANNER", address="::1")
    node.associations.opened("c", calling_aet="SCANNER", address="::1")
    assert node.open_rows() == 1
    node.write_all()
    assert node.open_rows() == 2


def test_the_row_of_an_association_that_is_there_already_keeps_no_other_waiting(node: BehindNode) -> None:
    """After a commit that was done and said to have failed."""
    node.open_association("a")
    node.associations.opened("a", calling_aet="SCANNER", address="::1")
    node.associations.opened("b", calling_aet="SCANNER", address="::1")
    node.receive(incoming(1, association_id="b"))
    node.write_all()
    assert node.open_rows() == 2
    assert node.rows() == [uid(1)]


def test_an_instance_that_is_held_is_answered_as_ever(node: BehindNode) -> None:
    node.receive(incoming(1))
    node.write_all()
    assert node.receive(incoming(1)) is Indexed.IDENTICAL
    with pytest.raises(RejectedInput) as refused:
        node.receive(incoming(1, content=b"other"))
    assert refused.value.status == DUPLICATE_SOP_INSTANCE
    assert not node.behind.step()


def test_the_same_uid_is_not_claimed_twice(node: BehindNode) -> None:
    node.receive(incoming(1))
    assert not node.behind.claim(uid(1), STUDY)
    node.write_all()
    assert not node.behind.claim(uid(1), STUDY)


def test_whoever_sends_a_uid_whose_row_is_to_come_waits_for_it(tmp_path: Path) -> None:
    node = BehindNode(tmp_path)
    node.behind._limits = BehindLimits(same_uid_timeout_s=30.0)
    node.receive(incoming(1))
    answers: list[Indexed] = []
    second = threading.Thread(target=lambda: answers.append(node.receive(incoming(1))))
    second.start()
    node.behind.step()
    second.join(30.0)
    assert answers == [Indexed.IDENTICAL]


def test_a_late_image_of_a_study_that_is_closed_has_its_row_before_the_answer(node: BehindNode) -> None:
    node.receive(incoming(1))
    node.write_all()
    node.clock.advance(31)
    node.closing.tick()
    node.now += 10.0
    assert node.detail().study.state is StudyState.CLOSED
    node.receive(incoming(2))
    assert node.rows() == [uid(1), uid(2)]
    node.receive(incoming(3))
    assert node.rows() == [uid(1), uid(2)], "the study is open again: the next row may come behind"


def test_when_too_many_rows_wait_the_sender_waits_for_its_own(node: BehindNode) -> None:
    for number in (1, 2, 3, 4):
        node.receive(incoming(number))
    assert node.rows() == [uid(4)]


def test_while_the_database_fails_nothing_is_acknowledged_and_what_was_is_written_later(node: BehindNode) -> None:
    node.receive(incoming(1))
    with node.failing():
        with pytest.raises(StorageUnavailable):
            node.behind.step()
        with pytest.raises(RejectedInput):
            node.receive(incoming(2))
    assert node.rows() == []
    node.write_all()
    assert node.rows() == [uid(1)]
    assert node.receive(incoming(2)) is Indexed.NEW


def test_a_file_that_cannot_be_written_leaves_no_claim(node: BehindNode) -> None:
    node.files.failure = StorageUnavailable("full")
    with pytest.raises(RejectedInput):
        node.receive(incoming(1))
    node.files.failure = None
    assert node.receive(incoming(1)) is Indexed.NEW
    assert node.behind.step() == 1


def test_an_instance_that_another_process_took_in_meanwhile_is_held_once(node: BehindNode) -> None:
    node.receive(incoming(1))
    node.receive(incoming(2))
    other = ReceiveInstance(
        uow_factory=node.uow, clock=node.clock, files=node.files, counters=node.counters, min_free_bytes=1000
    )
    other(incoming(1))
    other(incoming(2, content=b"other"))
    node.write_all()
    assert sorted(node.rows()) == [uid(1), uid(2)]
    assert len(node.files.received()) == 2
    assert len(node.files.quarantined()) == 1


def test_an_image_of_an_association_that_has_no_row_gets_its_own(node: BehindNode) -> None:
    known = node.database.unit_of_work

    def without_carrying() -> Any:
        uow = known()
        uow.studies.carry = _nobody_knows
        return uow

    def _nobody_knows(association_id: str, study_instance_uid: str) -> None:
        raise StorageConflict("no such association")

    node.database.unit_of_work = without_carrying
    node.receive(incoming(1, association_id="unrecorded"))
    node.receive(incoming(2))
    node.write_all()
    assert node.rows() == [uid(1), uid(2)]


def test_a_commit_that_failed_only_in_its_answer_does_not_make_the_image_its_own_copy(node: BehindNode) -> None:
    known = node.database.unit_of_work

    def failing_after_the_commit() -> Any:
        uow = known()
        commit = uow.commit_unsynced

        def commit_and_fail() -> None:
            commit()
            node.database.unit_of_work = known
            raise StorageUnavailable("the connection broke")

        uow.commit_unsynced = commit_and_fail
        return uow

    node.receive(incoming(1))
    node.database.unit_of_work = failing_after_the_commit
    with pytest.raises(StorageUnavailable):
        node.behind.step()
    node.write_all()
    assert node.rows() == [uid(1)]
    assert len(node.files.received()) == 1


def test_rows_gather_until_somebody_waits_for_them(tmp_path: Path) -> None:
    node = BehindNode(tmp_path)
    node.behind._limits = BehindLimits(gather_s=30.0)
    node.receive(incoming(1))
    drained = threading.Thread(target=lambda: node.behind.drain(30.0))
    drained.start()
    assert node.behind.wait(30.0)
    assert node.behind.step() == 1
    drained.join(30.0)
    assert not drained.is_alive()
    assert not node.behind.wait(0.0)


def test_draining_waits_for_what_was_put_before_and_says_when_that_takes_too_long(node: BehindNode) -> None:
    node.behind.drain(0.0)
    node.receive(incoming(1))
    with pytest.raises(StorageUnavailable):
        node.behind.drain(0.0)
    node.write_all()
    node.behind.drain(0.0)


def test_after_a_kill_before_the_row_the_next_start_finds_the_instance(node: BehindNode) -> None:
    sent: IncomingInstance = incoming(1)
    node.receive(sent)
    (path,) = node.files.received()
    node.found[node.files.absolute(path)] = FoundInstance(
        header=sent.header,  # type: ignore[arg-type]
        transfer_syntax_uid=sent.transfer_syntax_uid,
        digest="d",
        size_bytes=1,
    )
    node.restart()
    assert node.rows() == [uid(1)]
