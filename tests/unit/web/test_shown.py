"""Read models turned into words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.web.language import ago
from dicom_node.web.shown import Leftovers, leftovers_of, level_chips, person

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Mary^Dr^Jr", "Doe, Jane Mary"),
        ("Doe", "Doe"),
        ("^Jane", "Jane"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎) (やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("", ""),
        ("^^^^", ""),
    ],
)
def test_a_person_name_is_shown_as_people_write_it(name: str, shown: str) -> None:
    assert person(name) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (172800, "2 d ago"), (-30, "in 30 s")],
)
def test_a_moment_is_told_in_the_largest_unit_that_says_something(seconds: int, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_a_level_partly_in_view_is_not_shown_as_negative() -> None:
    level = {"level": "C7", "status": "partly_in_field_of_view", "probability": None, "threshold": 0.3}
    chips = level_chips({"outcome": "analysed", "levels": [level]})
    assert [chip.look for chip in chips] == ["none"] * 6 + ["partly"]
    assert chips[6].words == "C7: partly in the field of view, not assessed"


def test_no_result_has_no_levels() -> None:
    assert level_chips({}) == ()
    assert level_chips({"outcome": "not_applicable", "levels": []}) == ()


def test_a_job_that_left_nothing_has_nothing_to_show(tmp_path: Path) -> None:
    assert leftovers_of(tmp_path) == Leftovers()
