"""What an operator may do with a file in quarantine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dicom_node.app.found_instance import FoundInstance
from dicom_node.app.operator_actions import ActionRefused
from dicom_node.app.quarantine import UnknownQuarantine
from dicom_node.app.receive_instance import InstanceHeader
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.identifiers import study_key
from dicom_node.core.quarantine import QuarantineReason, QuarantineState
from dicom_node.core.study import StudyState
from tests.unit.app.node import EXPLICIT, STUDY, Node, incoming
from tests.unit.app.quarantined import OTHER, entries, set_aside


def test_a_released_conflict_takes_the_place_of_what_was_held_in_a_new_revision(node: Node) -> None:
    node.receive_study(2)
    node.close_now()
    node.settle(3)
    before = node.study()
    entry = set_aside(node, incoming(1, content=OTHER))
    released = node.quarantine.release(entry.id, actor="ann", reason="the scanner's second try")
    assert (released.state, released.settled_by) == (QuarantineState.RELEASED, "ann")
    assert node.study().state is StudyState.RECEIVING
    (series,) = node.detail().series
    assert [node.files.contents[each.file] for each in series.instances] == [b"head" + OTHER, b"head1.2.3.1.2"]
    assert series.instances[0].file.parts[0] == "received"
    assert entry.file not in node.files.contents
    node.settle(3)
    assert node.study().revision == before.revision + 1
    assert len(node.analyzer.requests) == 2
    history = [(each.event, each.actor) for each in node.detail().history if each.subject == f"quarantine:{entry.id}"]
    assert history == [("conflicting_instance", "SCANNER"), ("quarantine_released", "ann")]


def test_what_a_release_replaced_is_in_quarantine_and_can_be_taken_back(node: Node) -> None:
    node.receive(incoming(1))
    original = node.detail().series[0].instances[0]
    entry = set_aside(node, incoming(1, content=OTHER))
    node.quarantine.release(entry.id, actor="ann")
    replaced = entries(node)[0]
    assert (replaced.reason, replaced.state, replaced.file) == (
        QuarantineReason.REPLACED,
        QuarantineState.HELD,
        original.file,
    )
    assert node.restart().indexed == [], "its file stays where it is, and the sweep leaves it there"
    node.found[node.files.absolute(replaced.file)] = FoundInstance(
        header=incoming(1).header or InstanceHeader(),
        transfer_syntax_uid=EXPLICIT,
        digest=replaced.digest,
        size_bytes=replaced.size_bytes,
    )
    node.quarantine.release(replaced.id, actor="ann")
    held = node.detail().series[0].instances[0]
    assert held.digest == original.digest
    assert node.files.contents[held.file] == b"head1.2.3.1.1"


def test_the_sender_of_the_released_content_is_told_success_from_then_on(node: Node) -> None:
    node.receive(incoming(1))
    entry = set_aside(node, incoming(1, content=OTHER))
    with node.database.unit_of_work() as uow:
        held = uow.studies.find_instance("1.2.3.1.1")
        assert held is not None
    node.quarantine.release(entry.id, actor="ann")
    assert node.receive(incoming(1, content=OTHER)).value == "identical"


def test_a_released_instance_that_nobody_holds_opens_its_study(node: Node) -> None:
    entry = set_aside(node, incoming(7, header=None))
    node.quarantine.release(entry.id, actor="ann")
    assert node.study().instance_count == 1
    node.settle(3)
    assert node.study().revision == 1


def test_what_cannot_be_read_or_names_no_study_is_not_released(node: Node) -> None:
    unreadable = set_aside(node, incoming(1, header=None), readable=False)
    nameless = set_aside(node, incoming(2, header=None), study_instance_uid="")
    for entry in (unreadable, nameless):
        with pytest.raises(ActionRefused, match="only be discarded"):
            node.quarantine.release(entry.id, actor="ann")
    assert {entry.state for entry in entries(node)} == {QuarantineState.HELD}
    assert len(node.files.contents) == 2


def test_a_file_that_has_changed_in_quarantine_is_not_released(node: Node) -> None:
    entry = set_aside(node, incoming(1, header=None))
    path = node.files.absolute(entry.file)
    node.found[path] = replace(node.found[path], digest="0" * 64)
    with pytest.raises(ActionRefused, match="has changed"):
        node.quarantine.release(entry.id, actor="ann")


def test_an_instance_held_in_another_study_is_not_replaced(node: Node) -> None:
    node.receive(incoming(1))
    entry = set_aside(node, incoming(1, content=OTHER), study_instance_uid="1.9")
    with pytest.raises(ActionRefused, match=r"held in study 1\.2\.3 and is of study 1\.9"):
        node.quarantine.release(entry.id, actor="ann")
    assert node.study().instance_count == 1
    assert len(node.files.contents) == 2, "the copy that was made for it is gone"


def test_a_release_that_cannot_be_committed_leaves_everything_as_it_was(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.receive(incoming(1))
    entry = set_aside(node, incoming(1, content=OTHER))
    before = dict(node.files.contents)
    monkeypatch.setattr(type(node.uow().quarantine), "update", _fails)
    with pytest.raises(StorageUnavailable):
        node.quarantine.release(entry.id, actor="ann")
    assert node.files.contents == before
    assert [each.state for each in entries(node)] == [QuarantineState.HELD]


def _fails(*_: object, **__: object) -> None:
    raise StorageUnavailable("no")


def test_a_discarded_file_is_gone_and_noted_and_nobody_decides_twice(node: Node) -> None:
    node.receive(incoming(1))
    entry = set_aside(node, incoming(1, content=OTHER))
    settled = node.quarantine.discard(entry.id, actor="bob", reason="a test image")
    assert entry.file not in node.files.contents
    assert (settled.state, settled.settled_why) == (QuarantineState.DISCARDED, "a test image")
    assert node.detail().history[-1].event == "quarantine_discarded"
    assert node.detail().history[-1].actor == "bob"
    for act in (node.quarantine.discard, node.quarantine.release):
        with pytest.raises(ActionRefused, match="is DISCARDED since"):
            act(entry.id, actor="ann")
    with pytest.raises(UnknownQuarantine):
        node.quarantine.discard(999, actor="ann")


def test_an_operator_sees_the_evidence_and_what_a_release_would_do_before_deciding(node: Node) -> None:
    node.receive(incoming(1))
    entry = set_aside(node, incoming(1, content=OTHER))
    detail = node.quarantine.detail(entry.id)
    assert (detail.is_there, detail.is_conflict, detail.path) == (True, True, node.files.absolute(entry.file))
    assert detail.held is not None
    assert (detail.held.calling_aet, detail.held.size_bytes) == ("SCANNER", len(b"head1.2.3.1.1"))
    assert [each.event for each in detail.history] == ["conflicting_instance"]
    foreseen = node.quarantine.foresee_release(entry.id)
    assert (foreseen.instance.digest, foreseen.replaces) == (entry.digest, detail.held)
    assert entries(node) == (entry,), "nothing is decided by looking"
    node.quarantine.release(entry.id, actor="ann")
    after = node.quarantine.detail(entry.id)
    assert (after.is_there, after.is_conflict) == (False, False)
    assert after.held is not None
    assert after.held.digest == entry.digest
    with pytest.raises(ActionRefused, match="is RELEASED since"):
        node.quarantine.foresee_release(entry.id)


def test_what_a_release_would_refuse_is_foreseen_in_the_same_words(node: Node) -> None:
    unreadable = set_aside(node, incoming(1, header=None), readable=False)
    node.receive(incoming(2))
    elsewhere = set_aside(node, incoming(2, content=OTHER), study_instance_uid="1.9")
    for entry, words in ((unreadable, "cannot be read as DICOM"), (elsewhere, "the sender must mend it")):
        for act in (node.quarantine.foresee_release, lambda entry_id: node.quarantine.release(entry_id, actor="ann")):
            with pytest.raises(ActionRefused, match=words):
                act(entry.id)
    nameless = node.quarantine.detail(unreadable.id)
    assert (nameless.held, nameless.study) == (None, None)
    for look in (node.quarantine.detail, node.quarantine.foresee_release):
        with pytest.raises(UnknownQuarantine, match="there is no quarantine 999"):
            look(999)


def test_a_settled_file_that_a_kill_left_is_gone_after_the_next_start(node: Node) -> None:
    entry = set_aside(node, incoming(1, header=None))
    content = node.files.contents[entry.file]
    node.quarantine.discard(entry.id, actor="bob")
    node.files.contents[entry.file] = content
    node.restart()
    assert node.files.contents == {}


def test_a_file_set_aside_without_a_row_has_one_after_the_next_start(node: Node) -> None:
    node.receive(incoming(1))
    set_aside(node, incoming(1, content=OTHER))
    (entry,) = entries(node)
    node.database._state.tables.quarantine.clear()  # the kill came between the file and its row
    assert node.restart().adopted == 1
    (adopted,) = entries(node)
    assert adopted == replace(entry, id=adopted.id, set_aside_at=adopted.set_aside_at, size_bytes=adopted.size_bytes)
    assert node.restart().adopted == 0


def test_what_was_refused_long_ago_expires_and_what_was_acknowledged_does_not(node: Node) -> None:
    node.receive(incoming(1))
    entry = set_aside(node, incoming(1, content=OTHER))
    node.quarantine.release(entry.id, actor="ann")
    set_aside(node, incoming(2, header=None))
    node.clock.advance(86400 * 30)
    set_aside(node, incoming(3, header=None))
    assert node.quarantine.expire(timedelta(days=20)) == 1
    states = {(each.reason, each.state) for each in entries(node) if each.state is not QuarantineState.RELEASED}
    assert states == {
        (QuarantineReason.REPLACED, QuarantineState.HELD),
        (QuarantineReason.UNREADABLE, QuarantineState.DISCARDED),
        (QuarantineReason.UNREADABLE, QuarantineState.HELD),
    }


def test_a_leftover_of_a_purged_study_is_removed_and_does_not_open_it_again(node: Node) -> None:
    node.receive(incoming(1))
    node.close_now()
    with node.uow() as uow:
        intake = uow.studies.get(STUDY)
        assert intake is not None
        uow.studies.save(replace(intake, state=StudyState.PURGED))
        assert uow.studies.remove_instances(STUDY) == 1
        uow.commit()
    (left,) = node.files.contents
    header = incoming(1).header
    assert header is not None
    node.found[node.files.absolute(left)] = FoundInstance(
        header=header, transfer_syntax_uid=EXPLICIT, digest="d", size_bytes=1
    )
    assert node.restart().discarded == [left]
    assert node.study().state is StudyState.PURGED
    assert study_key(STUDY) in left.parts
