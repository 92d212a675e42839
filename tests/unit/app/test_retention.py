"""Finished studies go, the oldest first; everything else stays."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dicom_node.app.retention import ApplyRetention, RetentionPolicy
from dicom_node.core.commitment import CommitmentDuty, Reference
from dicom_node.core.errors import (
    GeometryUnsupported,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    RejectedInput,
    StorageUnavailable,
)
from dicom_node.core.study import StudyState
from tests.unit.app.node import CT, STUDY, Node, incoming, not_applicable, pacs

DAY = 86400.0
BY_AGE = RetentionPolicy(maximum_age=timedelta(days=30))


def retention(node: Node, policy: RetentionPolicy = BY_AGE, **changes: Any) -> ApplyRetention:
    return ApplyRetention(
        uow_factory=node.uow, files=node.files, clock=node.clock, counters=node.counters, policy=policy, **changes
    )


def finish(node: Node, *studies: str) -> None:
    """Received, analysed and delivered, each a day after the one before."""
    for study in studies:
        node.receive_study(2, study)
        node.settle(6)
        node.clock.advance(DAY)


def states(node: Node, *studies: str) -> list[StudyState]:
    return [node.study(study).state for study in studies]


def test_a_delivered_study_goes_when_it_is_old_enough_with_its_files_and_says_so(node: Node) -> None:
    finish(node, STUDY)
    folder = node.files.job_folder(node.job().id)
    (folder / "objects.dcm").write_bytes(b"result")
    node.clock.advance(28 * DAY)
    assert retention(node).tick() == 0
    node.clock.advance(2 * DAY)
    assert retention(node).tick() == 1
    assert (node.study().state, node.study().instance_count) == (StudyState.PURGED, 0)
    assert node.files.contents == {}
    assert not folder.exists()
    last = node.detail().history[-1]
    assert (last.event, last.to_state) == ("retention_elapsed", "PURGED")
    assert "30 days; 2 images" in last.reason
    assert node.counters.counts[("studies_purged",)] == 1
    assert retention(node).tick() == 0


def test_without_a_rule_nothing_is_removed(node: Node) -> None:
    finish(node, STUDY)
    node.clock.advance(10_000 * DAY)
    assert retention(node, RetentionPolicy()).tick() == 0


def test_age_counts_from_the_last_delivery_and_not_from_the_images(node: Node) -> None:
    node.pacs.failures = [PeerBusy("away")] * 3
    node.receive_study(2)
    node.settle(3, seconds=31)
    node.clock.advance(29 * DAY)
    node.settle(8, seconds=3600)
    assert node.deliveries()[0].state.value == "STORED"
    node.clock.advance(2 * DAY)
    assert retention(node).tick() == 0
    node.clock.advance(29 * DAY)
    assert retention(node).tick() == 1


def failed_delivery(node: Node) -> None:
    node.pacs.failures = [PeerRefused("no")]
    finish(node, STUDY)


def waiting_delivery(node: Node) -> None:
    node.pacs.failures = [PeerUnreachable("away")] * 500
    finish(node, STUDY)


def failed_analysis(node: Node) -> None:
    node.analyzer.script = [GeometryUnsupported("no")]
    finish(node, STUDY)


def being_received(node: Node) -> None:
    node.receive_study(2)


def closed_and_not_analysed(node: Node) -> None:
    node.receive_study(2)
    node.close_now()


def with_a_late_image(node: Node) -> None:
    finish(node, STUDY)
    node.receive(incoming(9))


def with_a_conflict_in_quarantine(node: Node) -> None:
    finish(node, STUDY)
    with pytest.raises(RejectedInput):
        node.receive(incoming(1, content=b"other"))


def cancelled(node: Node) -> None:
    node.receive_study(2)
    node.close_now()
    node.operator.cancel_study(STUDY, actor="ann")


def untold(node: Node) -> None:
    node.analyzer.script = [not_applicable()]
    node.receive_study(2)
    node.close_now()
    node.analysis.step()


def awaited_by_its_sender(node: Node) -> None:
    finish(node, STUDY)
    with node.uow() as uow:
        uow.commitments.take_on(
            CommitmentDuty(
                id=0,
                transaction_uid="1.7",
                calling_aet="SCANNER",
                peer="scanner",
                references=(Reference(sop_class_uid=CT, sop_instance_uid=f"{STUDY}.1.2"),),
                asked_at=node.clock.now(),
            )
        )
        uow.commit()


@pytest.mark.parametrize(
    "make",
    [
        failed_delivery,
        waiting_delivery,
        failed_analysis,
        being_received,
        closed_and_not_analysed,
        with_a_late_image,
        with_a_conflict_in_quarantine,
        cancelled,
        untold,
        awaited_by_its_sender,
    ],
    ids=lambda make: make.__name__.replace("_", " "),
)
def test_what_is_unfinished_undelivered_or_undecided_stays_however_old_it_is(node: Node, make: Any) -> None:
    make(node)
    files = dict(node.files.contents)
    node.clock.advance(10_000 * DAY)
    node.files.free = 0
    both = RetentionPolicy(maximum_age=timedelta(days=1), minimum_free_bytes=1_000)
    assert retention(node, both).tick() == 0
    assert node.files.contents == files


def test_a_study_that_is_not_applicable_goes_once_everybody_was_told(tmp_path: Path) -> None:
    node = Node(tmp_path, peers=(pacs(status_reports=True),))
    node.analyzer.script = [not_applicable()]
    finish(node, STUDY)
    node.clock.advance(31 * DAY)
    assert retention(node).tick() == 1


def test_a_failed_delivery_of_an_earlier_revision_does_not_hold_a_study_for_good(node: Node) -> None:
    failed_delivery(node)
    node.receive(incoming(9))
    node.settle(6)
    assert [each.state.value for each in node.deliveries()] == ["FAILED", "STORED"]
    node.clock.advance(31 * DAY)
    assert retention(node).tick() == 1


def test_where_space_is_short_the_oldest_go_until_there_is_enough(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(node, "1.4", "1.2", "1.3")
    node.clock.advance(DAY)
    node.files.free = 500
    discard = node.files.discard

    def gives_room(path: Path) -> None:
        discard(path)
        node.files.free += 100

    monkeypatch.setattr(node.files, "discard", gives_room)
    by_space = RetentionPolicy(minimum_free_bytes=800)
    assert retention(node, by_space).tick() == 2
    assert states(node, "1.4", "1.2", "1.3") == [StudyState.PURGED, StudyState.PURGED, StudyState.CLOSED]


def test_nothing_young_goes_for_want_of_space(node: Node) -> None:
    node.receive_study(2)
    node.settle(6)
    node.files.free = 0
    assert retention(node, RetentionPolicy(minimum_free_bytes=800)).tick() == 0


def test_many_studies_that_must_stay_do_not_hide_those_that_may_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.app.retention._PAGE", 2)
    for number in range(5):
        node.receive_study(1, f"1.5.{number}")
    node.clock.advance(31)
    node.closing.tick()
    node.clock.advance(DAY)
    node.analyzer.script = [GeometryUnsupported("no")] * 5
    node.settle(12)
    finish(node, "1.6")
    node.clock.advance(40 * DAY)
    assert retention(node).tick() == 1
    assert node.study("1.6").state is StudyState.PURGED


def test_while_a_backup_runs_nothing_is_removed(node: Node) -> None:
    finish(node, STUDY)
    node.clock.advance(31 * DAY)
    assert retention(node, hold=lambda: nullcontext(False)).tick() == 0


def test_files_that_cannot_be_removed_now_are_left_for_the_next_start(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(node, STUDY)
    node.clock.advance(31 * DAY)

    def fails(path: Path) -> None:
        raise StorageUnavailable("EIO")

    monkeypatch.setattr(node.files, "discard", fails)
    assert retention(node).tick() == 1
    assert node.study().state is StudyState.PURGED


def test_a_purged_study_that_is_sent_again_is_taken_in_and_analysed_anew(node: Node) -> None:
    finish(node, STUDY)
    node.clock.advance(31 * DAY)
    retention(node).tick()
    node.receive_study(2)
    assert len(node.files.contents) == 2, "the same images are new: their files had gone"
    node.settle(6)
    assert node.study().revision == 2
    assert node.study().state is StudyState.CLOSED
