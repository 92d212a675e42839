"""Arithmetic on whole slices and the table of all patterns are one function."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.hounsfield import StoredValues, hounsfield_table, padding_of, to_hounsfield

EVERY_PATTERN = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)


@st.composite
def meanings(draw: st.DrawFn) -> StoredValues:
    stored = draw(st.integers(1, 16))
    whole = st.sampled_from([0, -1024, -1000, 1024, 30_000, -30_000, 30_001, -32_768, 32_767, 70_000])
    meaning = StoredValues(
        bits_allocated=16,
        bits_stored=stored,
        high_bit=draw(st.sampled_from([stored - 1, 15])),
        is_signed=draw(st.booleans()),
        slope=draw(st.sampled_from([1.0, 1.0, 1.0, 0.5, 2.0])),
        intercept=draw(st.one_of(whole, st.integers(-33_000, 33_000), st.floats(-2000, 2000)).map(float)),
    )
    padding = padding_of(meaning, draw(st.one_of(st.none(), st.integers(0, 65_535))), None)
    return meaning if padding is None else padding.applied_to(meaning)


@settings(max_examples=150)
@given(meanings())
def test_every_pattern_becomes_what_the_table_says_wherever_it_lies(meaning: StoredValues) -> None:
    expected = hounsfield_table(meaning)[EVERY_PATTERN]
    apart = to_hounsfield(EVERY_PATTERN, meaning, np.empty(EVERY_PATTERN.shape, np.int16))
    np.testing.assert_array_equal(apart, expected)
    volume = np.empty((2, *EVERY_PATTERN.shape), np.int16)
    volume[1].view(np.uint16)[:] = EVERY_PATTERN
    assert to_hounsfield(volume[1].view(np.uint16), meaning, volume[1]) is not None
    np.testing.assert_array_equal(volume[1], expected)
