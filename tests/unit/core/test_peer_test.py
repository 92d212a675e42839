"""What an offer means for a peer: what finds no way to it, and what goes instead of what."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.core.finding import ResultKind as K
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer, StowEndpoint, object_choice
from dicom_node.core.peer_test import (
    Answer,
    OfferedClass,
    OfferedContext,
    PeerTest,
    configured_kinds,
    judged,
    trial_json,
)
from dicom_node.core.result_classes import SOP_CLASSES, SYNTAX_NAMES, kinds_by_class

PEER = Peer(name="pacs", ae_title=AETitle("PACS"), host="h", port=104, receives_results=True)


def offered(*taken: K) -> tuple[OfferedClass, ...]:
    """Every class of ours, accepted where it is that of one of these kinds."""
    classes = {SOP_CLASSES[kind].uid for kind in taken}
    return tuple(
        OfferedClass(
            uid=entry.uid,
            name=entry.name,
            kinds=kinds,
            wanted=(),
            contexts=tuple(
                OfferedContext(sop_class_uid=entry.uid, transfer_syntax_uid=syntax, accepted=entry.uid in classes)
                for syntax in entry.transfer_syntaxes
            ),
        )
        for entry, kinds in kinds_by_class().items()
    )


def test_what_is_accepted_goes_as_it_is() -> None:
    test = judged(PEER, offered(*K))
    assert (test.missing, test.instead) == ((), ())


def test_the_next_that_says_the_same_goes_instead() -> None:
    test = judged(PEER, offered(K.SEG, K.SR_ENHANCED, K.SC))
    assert test.instead == ((K.SR, K.SR_ENHANCED),)


def test_a_list_to_the_letter_has_nothing_instead() -> None:
    test = judged(replace(PEER, objects=object_choice(["SR"])), offered(K.SR_ENHANCED))
    assert (test.missing, test.instead) == ((K.SR,), ())


def test_who_gets_nothing_by_c_store_misses_nothing() -> None:
    assert configured_kinds(replace(PEER, receives_results=False)) == ()
    assert configured_kinds(replace(PEER, stow=StowEndpoint(url="https://a"))) == ()
    assert K.STATUS_SR in configured_kinds(replace(PEER, status_reports=True))


def test_a_test_is_passed_where_everything_asked_was_answered_and_nothing_is_missing() -> None:
    good, bad = Answer(ok=True), Answer(ok=False, why="away")
    assert not PeerTest(peer="a").ok
    assert PeerTest(peer="a", echo=good).ok
    assert not PeerTest(peer="a", echo=good, stow=bad).ok
    assert not PeerTest(peer="a", echo=good, missing=(K.SR,)).ok


def test_the_json_names_every_class_with_its_contexts() -> None:
    told = trial_json(replace(judged(PEER, offered(K.SEG)), echo=Answer(ok=True, ms=1.25)))
    assert told["echo"] == {"ok": True, "elapsed_ms": 1.2, "trouble": "", "why": "", "advice": ""}
    accepts = told["accepts"]
    assert isinstance(accepts, list)
    assert [entry["sop_class"] for entry in accepts if entry["accepted"]] == ["Segmentation Storage"]
    assert {context["transfer_syntax"] for entry in accepts for context in entry["contexts"]} == set(
        SYNTAX_NAMES.values()
    )


def test_every_kind_has_a_class() -> None:
    assert set(SOP_CLASSES) == set(K)
