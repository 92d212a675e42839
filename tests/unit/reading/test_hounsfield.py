"""Every way of storing a Hounsfield unit that a CT may use, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from inference.hounsfield import StoredValues, hounsfield_table, padding_of, to_hounsfield


def meaning(**changes: object) -> StoredValues:
    plain = {"bits_allocated": 16, "bits_stored": 16, "high_bit": 15, "is_signed": True, "slope": 1.0, "intercept": 0.0}
    return StoredValues(**{**plain, **changes})  # type: ignore[arg-type]


def hu(patterns: list[int], **changes: object) -> list[int]:
    asked = meaning(**changes)
    array = np.array(patterns, dtype=f"u{asked.bits_allocated // 8}")
    return to_hounsfield(array, asked, np.empty(len(patterns), np.int16)).tolist()


@pytest.mark.parametrize(
    ("changes", "pattern", "expected"),
    [
        pytest.param({}, 0xFFFF, -1, id="16 bit signed"),
        pytest.param({"is_signed": False, "intercept": -1024.0}, 1064, 40, id="16 bit unsigned"),
        pytest.param({"bits_stored": 12, "high_bit": 11}, 0x0FFF, -1, id="12 bit signed, not sign extended"),
        pytest.param({"bits_stored": 12, "high_bit": 11}, 0xFFFF, -1, id="12 bit signed, sign extended"),
        pytest.param({"bits_stored": 12, "high_bit": 11, "is_signed": False}, 0xF00A, 10, id="overlay bits above"),
        pytest.param({"bits_stored": 12, "high_bit": 15, "is_signed": False}, 0x00A7, 10, id="high bit 15 of 12"),
        pytest.param({"bits_stored": 12, "high_bit": 15}, 0xFFF3, -1, id="high bit 15 of 12, signed"),
        pytest.param({"bits_allocated": 8, "bits_stored": 8, "high_bit": 7, "is_signed": False}, 200, 200, id="8 bit"),
        pytest.param({"slope": 0.5, "intercept": 0.25}, 3, 2, id="fractions are rounded"),
        pytest.param({"slope": 2.0, "intercept": -10.0}, 100, 190, id="slope 2"),
        pytest.param({}, 0xF830, -1024, id="-2000 is clamped to air"),
        pytest.param({"is_signed": False}, 0xFFFF, 32767, id="too bright is clamped"),
    ],
)
def test_a_stored_pattern_means(changes: dict[str, object], pattern: int, expected: int) -> None:
    assert hu([pattern], **changes) == [expected]


def test_bits_that_do_not_fit_their_container_are_refused() -> None:
    with pytest.raises(ValueError, match="bits allocated 16, stored 12, high bit 10"):
        meaning(bits_stored=12, high_bit=10)


def test_padding_outside_the_stored_bits_can_be_nothing_else() -> None:
    twelve_bits = meaning(bits_stored=12, high_bit=11, is_signed=False, intercept=-1024.0)
    padding = padding_of(twelve_bits, 63536, None)
    assert padding is not None
    assert padding.is_impossible_value
    table = hounsfield_table(padding.applied_to(twelve_bits))
    assert table[63536] == -1024
    assert table[63536 & 0xFFF] == (63536 & 0xFFF) - 1024


def test_padding_that_is_air_anyway_makes_no_difference() -> None:
    assert padding_of(meaning(), 63536, None) is None
    assert padding_of(meaning(is_signed=False, intercept=-1024.0), 0, None) is None
    assert padding_of(meaning(), None, None) is None


def test_a_padding_range_includes_both_its_ends() -> None:
    padding = padding_of(meaning(), 0xFFFE, 1)
    assert padding is not None
    assert padding.contains(np.array([0xFFFD, 0xFFFE, 0, 1, 2], np.uint16)).tolist() == [False, True, True, True, False]
