"""What is sent to whom, as a table of peers that take this and refuse that."""

import pytest

from dicom_node.core.finding import ResultKind as K
from dicom_node.core.finding import ResultObject
from dicom_node.core.peer import AUTO_KINDS, ObjectChoice, object_choice
from dicom_node.core.shipment import FALLBACKS, NAMES, Plan, Shipment, Substitution
from tests.unit.core.builders import result_object

SR_FAMILY = {K.SR, K.SR_COMPREHENSIVE, K.SR_ENHANCED}
EVERYTHING = tuple(kind for kind in K if kind not in (K.SEG_LABELMAP, K.STATUS_SR))
OBJECTS = (*(result_object(str(n), kind) for n, kind in enumerate(EVERYTHING)), result_object("99", K.SC))


def plan(refused=frozenset(), *, choice: ObjectChoice = ObjectChoice(), objects=OBJECTS, **more) -> Plan:
    shipment = Shipment(objects=objects, choice=choice, **more)
    return shipment.plan(lambda entry: "does not take it" if entry.kind in refused else "")


def kinds(found: Plan) -> list[K]:
    return list(dict.fromkeys(entry.kind for entry in found.objects))


def instead(found: Plan) -> dict[K, K | None]:
    return {entry.wanted: entry.sent for entry in found.substitutions}


def uids(*wanted: K) -> frozenset[str]:
    return frozenset(entry.sop_instance_uid for entry in OBJECTS if entry.kind in wanted)


@pytest.mark.parametrize(
    ("refused", "sent", "substitutions"),
    [
        (set(), [K.SEG, K.SUSPICION_SEG, K.SR, K.TEXT_SR, K.SC], {}),
        ({K.SR}, [K.SEG, K.SUSPICION_SEG, K.SR_COMPREHENSIVE, K.TEXT_SR, K.SC], {K.SR: K.SR_COMPREHENSIVE}),
        (
            {K.SR, K.SR_COMPREHENSIVE},
            [K.SEG, K.SUSPICION_SEG, K.SR_ENHANCED, K.TEXT_SR, K.SC],
            {K.SR: K.SR_ENHANCED},
        ),
        (SR_FAMILY, [K.SEG, K.SUSPICION_SEG, K.TEXT_SR, K.SC], {K.SR: K.TEXT_SR}),
        (
            {*SR_FAMILY, K.TEXT_SR},
            [K.SEG, K.SUSPICION_SEG, K.SC, K.PDF],
            {K.SR: K.PDF, K.TEXT_SR: K.PDF},
        ),
        ({K.SEG, K.SUSPICION_SEG}, [K.SR, K.TEXT_SR, K.SC], {K.SEG: K.SC, K.SUSPICION_SEG: K.SC}),
        (
            set(K) - {K.SC},
            [K.SC],
            {K.SEG: K.SC, K.SUSPICION_SEG: K.SC, K.SR: K.SC, K.TEXT_SR: K.SC},
        ),
    ],
)
def test_what_a_peer_does_not_take_falls_back_in_the_stated_order(refused, sent, substitutions):
    found = plan(refused)
    assert kinds(found) == sent
    assert instead(found) == substitutions
    assert found.why_not_enough == ""
    assert len(set(found.objects)) == len(found.objects), "no object twice"


def test_the_reason_names_what_was_sent_instead_of_what():
    assert plan({K.SR}).reasons == "Comprehensive SR instead of Comprehensive 3D SR: the peer does not take it"


def test_a_reason_that_holds_for_several_kinds_is_said_once():
    (said,) = [entry for entry in plan(set(K) - {K.SC}).substitutions if entry.wanted is K.SR]
    assert said.why == "the peer does not take it (nor Comprehensive SR, Enhanced SR, text SR, PDF)"


def test_another_reason_names_its_kinds():
    why = {K.SR: "does not take it", K.SR_COMPREHENSIVE: "is full", K.SR_ENHANCED: "is full"}
    found = Shipment(objects=OBJECTS).plan(lambda entry: why.get(entry.kind, ""))
    (said,) = found.substitutions
    assert said.sent is K.TEXT_SR
    assert said.why == "the peer does not take it; Comprehensive SR, Enhanced SR: the peer is full"


def test_every_instance_of_the_captures_is_sent():
    assert sum(entry.kind is K.SC for entry in plan(set(K) - {K.SC}).objects) == 2


def test_a_peer_that_takes_nothing_is_told_apart_with_every_reason():
    found = plan(set(K))
    assert found.objects == ()
    assert found.why_not_enough.startswith("none of the results was accepted: vertebra segmentation left out")


def test_a_peer_that_takes_pictures_of_no_words_was_not_told():
    found = plan({*SR_FAMILY, K.TEXT_SR, K.PDF, K.SC})
    assert kinds(found) == [K.SEG, K.SUSPICION_SEG]
    assert found.why_not_enough.startswith("no report was accepted: Comprehensive 3D SR left out")


def test_a_list_is_meant_to_the_letter():
    found = plan({K.SEG}, choice=object_choice(["SR", "SEG", "KOS"]))
    assert kinds(found) == [K.SR, K.KOS]
    assert instead(found) == {K.SEG: None}
    assert found.why_not_enough == ""
    assert plan({K.SR}, choice=object_choice(["SR"])).why_not_enough


def test_auto_can_be_added_to():
    assert kinds(plan(choice=object_choice(["auto", "PDF"]))) == [*AUTO_KINDS, K.PDF]


def test_a_labelmap_goes_in_place_of_the_binary_one_and_falls_back_to_it():
    choice = object_choice(["auto", "SEG_LABELMAP"])
    objects = (*OBJECTS, result_object("77", K.SEG_LABELMAP))
    assert kinds(plan(choice=choice, objects=objects)) == [K.SUSPICION_SEG, K.SR, K.TEXT_SR, K.SC, K.SEG_LABELMAP]
    assert instead(plan({K.SEG_LABELMAP}, choice=choice, objects=objects)) == {K.SEG_LABELMAP: K.SEG}


def test_a_labelmap_that_was_configured_after_the_encoding_goes_as_a_binary_one():
    found = plan(choice=object_choice(["SR", "SEG_LABELMAP"]))
    assert kinds(found) == [K.SEG, K.SR]
    assert found.reasons == "vertebra segmentation instead of vertebra segmentation (LABELMAP): was not made"


def test_what_the_result_has_no_content_for_is_not_missed():
    negative = tuple(entry for entry in OBJECTS if entry.kind is not K.SUSPICION_SEG)
    assert plan(objects=negative).substitutions == ()


def test_a_status_report_goes_to_whoever_has_it_and_is_not_replaced():
    status = (result_object("1", K.STATUS_SR),)
    assert kinds(plan(objects=status)) == [K.STATUS_SR]
    assert "status SR left out" in plan({K.STATUS_SR}, objects=status).why_not_enough


def test_a_choice_is_kept_when_the_peer_takes_more_later():
    earlier = plan({K.SR}).substitutions
    found = plan(earlier=earlier, stored=uids(K.SR_COMPREHENSIVE))
    assert instead(found) == {K.SR: K.SR_COMPREHENSIVE}
    assert K.SR not in kinds(found)


def test_a_choice_whose_answer_was_lost_is_kept_too():
    """It may lie there already; another kind would be a second copy of the same findings."""
    assert instead(plan(earlier=plan({K.SR}).substitutions)) == {K.SR: K.SR_COMPREHENSIVE}


def test_a_choice_that_is_no_longer_taken_falls_on():
    assert instead(plan({K.SR, K.SR_COMPREHENSIVE}, earlier=plan({K.SR}).substitutions)) == {K.SR: K.SR_ENHANCED}


def test_what_was_left_out_is_sent_when_the_peer_takes_it():
    earlier = (Substitution(wanted=K.KOS, sent=None, why="the peer does not take it"),)
    assert plan(choice=object_choice(["SR", "KOS"]), earlier=earlier).substitutions == ()


def test_what_the_peer_holds_is_not_asked_about():
    asked: list[ResultObject] = []
    Shipment(objects=OBJECTS, stored=uids(K.SEG)).plan(lambda entry: asked.append(entry) or "")
    assert K.SEG not in {entry.kind for entry in asked}


def test_everything_that_may_stand_in_is_a_candidate_and_nothing_else():
    candidates = {entry.kind for entry in Shipment(objects=OBJECTS).candidates}
    assert candidates == set(EVERYTHING) - {K.KOS}
    exactly = Shipment(objects=OBJECTS, choice=object_choice(["SR", "KOS"]))
    assert {entry.kind for entry in exactly.candidates} == {K.SR, K.KOS}


@pytest.mark.parametrize("kind", K)
def test_every_kind_has_a_name_and_a_line_that_does_not_lead_back_to_it(kind):
    assert NAMES[kind]
    assert kind not in FALLBACKS[kind]


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="HOLOGRAM"):
        object_choice(["auto", "HOLOGRAM"])
