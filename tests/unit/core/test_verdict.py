"""What a reader may say of a result, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.core.verdict import LONGEST_NOTE, WHOLE, Called, called_in, in_order, why_not_this_verdict
from tests.builders.verdicts import called, verdict


def test_a_verdict_that_names_nothing_agrees() -> None:
    given = verdict(levels=("C2", "C5"))
    assert given.agrees
    assert given.truth == ("C2", "C5")
    assert given.in_words == "agrees"


def test_the_truth_is_what_was_called_without_the_false_and_with_the_missed() -> None:
    given = verdict(levels=("C2", "C5"), false_positives=("C5",), missed=("C1",))
    assert not given.agrees
    assert given.truth == ("C1", "C2")
    assert given.is_fractured
    assert given.in_words == "false positive C5; missed C1"


@pytest.mark.parametrize(
    ("said", "is_fractured"),
    [
        ({"levels": ("C2",)}, True),
        ({"levels": ("C2",), "false_positives": ("C2",)}, False),
        ({"levels": ("C2",), "false_positives": ("C2",), "missed": ("C3",)}, True),
        ({"levels": (), "whole": True}, True),
        ({"levels": (), "whole": True, "false_positives": (WHOLE,)}, False),
        ({"levels": (), "whole": True, "false_positives": (WHOLE,), "missed": ("C7",)}, True),
        ({"levels": ()}, False),
    ],
)
def test_a_study_is_fractured_where_the_reader_leaves_a_finding_or_adds_one(
    said: dict[str, Any], is_fractured: bool
) -> None:
    assert verdict(**said).is_fractured is is_fractured


@pytest.mark.parametrize(
    ("levels", "whole", "false_positives", "missed", "why"),
    [
        (("C2",), True, ("C3",), (), "'C3' was not called"),
        (("C2",), True, (WHOLE,), (), "'whole' was not called"),
        (("C2",), True, (), ("C2",), "'C2' was called, so it was not missed"),
        ((), True, (), (WHOLE,), "'whole' is no level"),
        ((), False, (), ("T1",), "'T1' is no level"),
        ((), False, (), ("<b>",), "'<b>' is no level"),
    ],
)
def test_a_verdict_that_does_not_fit_the_result_is_refused_with_the_reason(
    levels: tuple[str, ...], whole: bool, false_positives: tuple[str, ...], missed: tuple[str, ...], why: str
) -> None:
    assert why in why_not_this_verdict(called(levels=levels, whole=whole), false_positives, missed, "")


def test_a_level_that_was_not_assessed_can_be_missed_and_a_long_note_is_refused() -> None:
    assert why_not_this_verdict(called(assessed=("C1",)), (), ("C7",), "x" * LONGEST_NOTE) == ""
    assert "at most 500" in why_not_this_verdict(called(), (), (), "x" * (LONGEST_NOTE + 1))


def test_levels_stand_in_the_order_of_the_spine_and_each_once() -> None:
    assert in_order([WHOLE, "C5", "C1", "C5"]) == ("C1", "C5", WHOLE)


def test_what_was_called_is_read_from_the_result_and_is_nothing_without_an_analysis() -> None:
    level = {"level": "C1", "status": "assessed", "fracture": True}
    result = {
        "outcome": "analysed",
        "levels": [level, {"level": "C2", "status": "not_assessed", "fracture": None}],
        "patient_overall": {"fracture": True},
        "bundle": {"name": "cspine", "version": "1", "sha256": "ab"},
    }
    assert called_in(result) == Called(
        levels=("C1",), assessed=("C1",), whole=True, bundle_name="cspine", bundle_version="1", bundle_sha256="ab"
    )
    assert called_in({**result, "outcome": "not_applicable"}) is None
    assert called_in(None) is None
