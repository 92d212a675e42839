"""Readers judge what they saw; the history keeps what they said, and no note of theirs."""

from __future__ import annotations

import pytest

from dicom_node.app.operator_actions import ActionRefused, UnknownStudy
from dicom_node.app.verdicts import Judged, Verdicts, judged, quality
from tests.unit.app.node import STUDY, Node, analysed, incoming, not_applicable


def verdicts(node: Node) -> Verdicts:
    return Verdicts(uow_factory=node.uow, clock=node.clock)


def seen(node: Node, study: str = STUDY) -> Judged:
    with node.database.reading() as uow:
        found = judged(uow, study)
    assert found is not None
    return found


def analyse(node: Node, study: str = STUDY, probability: float = 0.9) -> None:
    node.analyzer.script.append(analysed(study, probability))
    node.receive_study(study=study)
    node.settle(turns=3)


def test_a_verdict_stands_with_what_was_called_and_who_gave_it(node: Node) -> None:
    analyse(node)
    given = verdicts(node).give(
        STUDY, revision=1, false_positives=["C2"], missed=["C5", "C1"], remark=" old ", reader="ann"
    )
    assert (given.false_positives, given.missed, given.note, given.reader) == (("C2",), ("C1", "C5"), "old", "ann")
    assert given.called.levels == ("C2",)
    assert given.at == node.clock.now()
    assert seen(node).current == given


def test_a_later_verdict_takes_the_place_of_the_earlier_one_which_stays(node: Node) -> None:
    analyse(node)
    first = verdicts(node).give(STUDY, revision=1, missed=["C5"], reader="ann")
    node.clock.advance(60)
    second = verdicts(node).give(STUDY, revision=1, reader="bob")
    found = seen(node)
    assert (found.current, found.verdicts) == (second, (second, first))


def test_the_history_says_who_and_what_and_nothing_of_the_note(node: Node) -> None:
    analyse(node)
    verdicts(node).give(STUDY, revision=1, missed=["C5"], remark="Mrs Doe fell", reader="ann")
    (entry,) = [each for each in node.detail().history if each.event == "verdict_given"]
    assert (entry.subject, entry.to_state, entry.actor) == ("verdict:1", "DISAGREES", "ann")
    assert entry.reason == "revision 1: missed C5"


@pytest.mark.parametrize(
    ("revision", "false_positives", "why"),
    [(1, ["C3"], "was not called"), (2, [], "look again"), (0, [], "look again")],
)
def test_a_verdict_on_what_was_not_said_or_not_seen_is_refused_and_nothing_is_kept(
    node: Node, revision: int, false_positives: list[str], why: str
) -> None:
    analyse(node)
    with pytest.raises(ActionRefused, match=why):
        verdicts(node).give(STUDY, revision=revision, false_positives=false_positives, reader="ann")
    assert seen(node).verdicts == ()


def test_without_a_result_there_is_nothing_to_judge(node: Node) -> None:
    node.analyzer.script.append(not_applicable())
    node.receive_study()
    with pytest.raises(ActionRefused, match="no result"):
        verdicts(node).give(STUDY, revision=0, reader="ann")
    node.settle(turns=3)
    with pytest.raises(ActionRefused, match="no result"):
        verdicts(node).give(STUDY, revision=1, reader="ann")
    with pytest.raises(UnknownStudy):
        verdicts(node).give("9.9", revision=1, reader="ann")


def test_a_verdict_on_an_earlier_revision_is_kept_and_is_not_that_of_the_new_one(node: Node) -> None:
    analyse(node)
    verdicts(node).give(STUDY, revision=1, reader="ann")
    node.receive(incoming(9))
    node.settle(turns=3)
    found = seen(node)
    assert (found.study.revision, found.current, len(found.verdicts)) == (2, None, 1)


def test_an_analysis_that_is_run_again_takes_nothing_from_a_verdict(node: Node) -> None:
    analyse(node)
    given = verdicts(node).give(STUDY, revision=1, reader="ann")
    node.analyzer.script.append(analysed(STUDY, 0.1))
    node.receive(incoming(9))
    node.settle(turns=3)
    assert seen(node).called != given.called
    assert seen(node).verdicts == (given,)


def test_quality_counts_the_newest_verdict_of_each_study_and_lists_what_was_wrong(node: Node) -> None:
    for number, probability in ((1, 0.9), (2, 0.1), (3, 0.9)):
        analyse(node, f"1.2.{number}", probability)
    give = verdicts(node).give
    give("1.2.1", revision=1, false_positives=["C2"], reader="ann")
    give("1.2.1", revision=1, reader="ann")
    give("1.2.2", revision=1, missed=["C4"], reader="ann")
    since = node.clock.now()
    node.clock.advance(1)
    give("1.2.3", revision=1, reader="ann")
    with node.database.reading() as uow:
        everything, of_late = quality(uow), quality(uow, since=node.clock.now())
        assert quality(uow, since=since) == everything
    assert (everything.agreement.agreed.count, everything.agreement.agreed.of) == (2, 3)
    assert [each.study_instance_uid for each in everything.disagreements] == ["1.2.2"]
    assert of_late.agreement.agreed.of == 1
    shown = everything.as_json()
    assert shown["studies"]["sensitivity"]["count"] == 2
    assert shown["levels"]["C4"]["false_negative"] == 1
