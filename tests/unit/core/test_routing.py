from dataclasses import replace

import pytest

from dicom_node.core.finding import AnalysisResult, BundleIdentity, Finding, LevelStatus, Outcome, SelectionRecord
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.core.routing import (
    ResultClass,
    ResultFacts,
    RoutingRule,
    StudyFacts,
    facts_of,
    route,
    why_not_deliverable,
)

POSITIVE = ResultFacts(result=ResultClass.POSITIVE, positive_levels=("C2", "C5"))
NEGATIVE = ResultFacts(result=ResultClass.NEGATIVE)
NOT_ANALYSED = ResultFacts(result=ResultClass.NOT_ANALYSED)
STUDY = StudyFacts(
    calling_aets=("CT_ER",),
    modalities=("CT", "SR"),
    body_parts=("CSPINE",),
    stations=("CT1",),
    description="CT HWS nativ",
)


def peer(name: str, **changes: bool) -> Peer:
    return Peer(name=name, ae_title=AETitle(name.upper()), host="127.0.0.1", port=104, **changes)


PEERS = (peer("pacs", receives_results=True), peer("er-list"), peer("off", enabled=False))


def rule(**changes) -> RoutingRule:
    return RoutingRule(**({"name": "emergency", "add": ("er-list",)} | changes))


def test_results_go_to_every_enabled_peer_that_receives_them():
    peers = (
        peer("scanner", may_send=True),
        peer("pacs", receives_results=True),
        peer("viewer", receives_results=True),
    )
    found = route(peers)
    assert found.peers == ("pacs", "viewer")
    assert found.why == "results go to pacs, viewer"


def test_a_disabled_peer_gets_nothing_and_is_named():
    found = route((peer("pacs", receives_results=True, enabled=False),))
    assert found.peers == ()
    assert found.why == "no peer is set to receive results; disabled: pacs"


@pytest.mark.parametrize(
    ("conditions", "result", "because"),
    [
        ({}, NEGATIVE, "it applies to every study"),
        ({"results": (ResultClass.POSITIVE,)}, POSITIVE, "the result is positive"),
        ({"results": (ResultClass.POSITIVE,)}, NEGATIVE, None),
        ({"results": (ResultClass.NEGATIVE,)}, NEGATIVE, "the result is negative"),
        ({"results": (ResultClass.NOT_ANALYSED,)}, NOT_ANALYSED, "the study was not analysed"),
        ({"results": (ResultClass.NEGATIVE,)}, NOT_ANALYSED, None),
        ({"results": (ResultClass.POSITIVE, ResultClass.NOT_ANALYSED)}, NOT_ANALYSED, "the study was not analysed"),
        ({"levels": ("C1", "C2")}, POSITIVE, "C2 is positive"),
        ({"levels": ("C2", "C5")}, POSITIVE, "C2, C5 are positive"),
        ({"levels": ("C7",)}, POSITIVE, None),
        ({"calling_ae_titles": ("CT_*",)}, NEGATIVE, "the calling AE title is CT_ER"),
        ({"calling_ae_titles": ("MR_*",)}, NEGATIVE, None),
        ({"modalities": ("ct",)}, NEGATIVE, "the modality is CT"),
        ({"body_parts": ("*spine",)}, NEGATIVE, "the body part is CSPINE"),
        ({"stations": ("CT?",)}, NEGATIVE, "the station is CT1"),
        ({"stations": ("CT2", "CT3")}, NEGATIVE, None),
        ({"descriptions": ("*hws*", "*cspine*")}, NEGATIVE, "the study description is CT HWS nativ"),
        (
            {"stations": ("CT1",), "results": (ResultClass.POSITIVE,), "levels": ("C5",)},
            POSITIVE,
            "the station is CT1 and the result is positive and C5 is positive",
        ),
        ({"stations": ("CT1",), "results": (ResultClass.POSITIVE,)}, NEGATIVE, None),
    ],
)
def test_a_rule_applies_where_all_of_its_conditions_hold_and_says_so(conditions, result, because):
    assert rule(**conditions).because(STUDY, result) == because


def test_a_study_that_is_silent_about_itself_meets_no_pattern():
    assert rule(body_parts=("*",)).because(StudyFacts(), POSITIVE) is None


def test_a_positive_goes_to_the_emergency_list_too_with_the_reason():
    found = route(PEERS, [rule(results=(ResultClass.POSITIVE,))], STUDY, POSITIVE)
    assert found.peers == ("pacs", "er-list")
    added = found.destinations[1]
    assert added.route == "emergency"
    assert added.why == "route 'emergency' added peer 'er-list' because the result is positive"
    assert found.why == f"results go to pacs, er-list; {added.why}"
    assert route(PEERS, [rule(results=(ResultClass.POSITIVE,))], STUDY, NEGATIVE).peers == ("pacs",)


def test_a_rule_leaves_a_peer_out():
    found = route(PEERS, [rule(name="research", add=(), leave_out=("pacs",))], STUDY, NEGATIVE)
    assert found.peers == ()
    assert "route 'research' left out peer 'pacs' because it applies to every study" in found.why


def test_the_later_rule_has_the_last_word():
    rules = [rule(name="first"), rule(name="second", add=(), leave_out=("er-list",))]
    assert route(PEERS, rules, STUDY, POSITIVE).peers == ("pacs",)
    assert route(PEERS, rules[::-1], STUDY, POSITIVE).peers == ("pacs", "er-list")


def test_a_rule_that_names_a_peer_that_is_off_or_gone_says_so():
    found = route(PEERS, [rule(add=("off", "gone"))], STUDY, POSITIVE)
    assert found.peers == ("pacs",)
    assert "would add peer 'off', which is disabled" in found.why
    assert "would add peer 'gone', which is not configured" in found.why


def test_a_peer_that_receives_anyway_is_not_added_twice():
    found = route(PEERS, [rule(add=("pacs",))], STUDY, POSITIVE)
    assert [(entry.peer, entry.route) for entry in found.destinations] == [("pacs", "")]


def test_a_delivery_to_a_peer_that_is_gone_or_was_changed_is_refused_with_the_reason():
    assert why_not_deliverable(None, "pacs") == "peer pacs is no longer configured"
    assert "no longer set to receive" in why_not_deliverable(peer("pacs"), "pacs")
    assert why_not_deliverable(peer("pacs", receives_results=True, enabled=False), "pacs") == ""
    assert why_not_deliverable(peer("er-list"), "er-list", is_routed=True) == ""


def test_what_a_result_says_to_rules():
    def finding(level: str, probability: float | None) -> Finding:
        status = LevelStatus.NOT_ASSESSED if probability is None else LevelStatus.ASSESSED
        return Finding(level=level, status=status, threshold=0.5, probability=probability)

    negative = AnalysisResult(
        study_instance_uid="1.2.3",
        outcome=Outcome.ANALYSED,
        reason=None,
        selection=SelectionRecord(chosen="1"),
        bundle=BundleIdentity(name="b", version="1", sha256="a"),
        device="cpu",
        findings=(finding("C1", 0.1), finding("C2", 0.2)),
        overall_probability=0.1,
    )
    assert facts_of(negative) == NEGATIVE
    one_level = replace(negative, findings=(finding("C1", 0.1), finding("C2", 0.9)))
    assert facts_of(one_level) == ResultFacts(result=ResultClass.POSITIVE, positive_levels=("C2",))
    assert facts_of(replace(negative, overall_probability=0.9)).result is ResultClass.POSITIVE
    nothing_assessed = replace(negative, findings=(finding("C1", None),), overall_probability=None)
    assert facts_of(nothing_assessed) == NOT_ANALYSED
    assert facts_of(replace(nothing_assessed, outcome=Outcome.NOT_APPLICABLE)) == NOT_ANALYSED
