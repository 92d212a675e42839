"""Figures with answers worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from dicom_node.core.agreement import Share, agreement
from tests.builders.verdicts import NOON, verdict

RIGHT = verdict(levels=("C2",))
HALF_RIGHT = verdict(levels=("C2", "C5"), false_positives=("C5",))
FALSE_ALARM = verdict(levels=("C2",), false_positives=("C2",))
OVERLOOKED = verdict(missed=("C7",))
NEGATIVE = verdict()
UNSEEN = verdict(assessed=("C1", "C2"), missed=("C7",))


def test_the_interval_is_wilsons() -> None:
    # Newcombe (Stat Med 17:857, 1998), table I: 81 of 263 and 15 of 148, 0 of 20, 1 of 29.
    for count, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert Share(count=count, of=of).interval == pytest.approx((low, high), abs=5e-5)
    assert (Share(count=0, of=0).value, Share(count=0, of=0).interval) == (None, None)


def test_studies_are_counted_by_what_was_called_and_what_the_reader_says() -> None:
    table = agreement([RIGHT, HALF_RIGHT, FALSE_ALARM, OVERLOOKED, NEGATIVE, UNSEEN]).studies
    counts = (table.true_positive, table.false_positive, table.false_negative, table.true_negative)
    assert counts == (2, 1, 2, 1)
    assert (table.sensitivity, table.predictive_value) == (Share(count=2, of=4), Share(count=2, of=3))
    assert table.specificity == Share(count=1, of=2)


def test_levels_are_counted_where_they_were_assessed_and_the_unseen_apart() -> None:
    levels = dict(agreement([RIGHT, HALF_RIGHT, FALSE_ALARM, OVERLOOKED, NEGATIVE, UNSEEN]).levels)
    c2, c5, c7 = levels["C2"], levels["C5"], levels["C7"]
    assert (c2.true_positive, c2.false_positive, c2.false_negative, c2.true_negative) == (2, 1, 0, 3)
    assert (c5.true_positive, c5.false_positive, c5.false_negative, c5.true_negative) == (0, 1, 0, 4)
    assert (c7.false_negative, c7.true_negative, c7.unseen) == (1, 4, 1)
    assert c7.sensitivity == Share(count=0, of=1)


def test_weeks_begin_on_monday_and_one_without_a_verdict_is_there_too() -> None:
    later = verdict(at=NOON + timedelta(days=12), missed=("C1",))  # Monday after next
    weeks = agreement([RIGHT, later]).weeks
    assert [(week.monday, week.agreed) for week in weeks] == [
        (date(2026, 3, 2), Share(count=1, of=1)),
        (date(2026, 3, 9), Share(count=0, of=0)),
        (date(2026, 3, 16), Share(count=0, of=1)),
    ]


def test_each_bundle_has_its_own_figures_also_under_one_name() -> None:
    bundles = agreement([RIGHT, verdict(bundle_sha256="cd"), verdict(missed=("C1",), bundle_sha256="cd")]).bundles
    assert [(bundle.sha256[:2], bundle.agreed) for bundle in bundles] == [
        ("ab", Share(count=1, of=1)),
        ("cd", Share(count=1, of=2)),
    ]


def test_without_a_verdict_there_is_nothing_to_say() -> None:
    found = agreement([])
    assert (found.agreed.value, found.weeks, found.bundles) == (None, (), ())
