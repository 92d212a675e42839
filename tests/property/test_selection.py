from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.selection import RULE_NAMES, SelectionRules, rank_series
from dicom_node.core.series import SeriesFacts

RULES = SelectionRules()


def maybe(low: float, high: float):
    return st.none() | st.floats(low, high)


facts = st.builds(
    SeriesFacts,
    series_instance_uid=st.just(""),
    is_ct=st.booleans() | st.just(True),
    is_localizer=st.just(False) | st.booleans(),
    is_secondary=st.just(False) | st.booleans(),
    angle_deg=maybe(0, 90),
    image_count=st.integers(0, 600),
    slice_thickness_mm=maybe(0.3, 6),
    spacing_mm=maybe(0.3, 6),
    largest_gap_mm=maybe(0.3, 30),
    duplicate_count=st.just(0) | st.integers(0, 300),
    coverage_mm=maybe(0, 900),
    is_bone_kernel=st.sampled_from([True, False, None]),
    series_number=st.none() | st.integers(0, 5),
    geometry_problem=st.sampled_from(["", "", "two orientations"]),
)
studies = st.lists(facts, max_size=8).map(
    lambda found: [replace(series, series_instance_uid=f"1.{n}") for n, series in enumerate(found, start=1)]
)


@given(studies, st.randoms())
def test_the_order_in_which_series_come_decides_nothing(series, random):
    shuffled = list(series)
    random.shuffle(shuffled)
    assert rank_series(shuffled, RULES) == rank_series(series, RULES)


@given(studies)
def test_each_series_is_either_a_candidate_or_rejected_with_a_known_rule_and_a_detail(series):
    selection = rank_series(series, RULES)
    rejected = [rejection.series_instance_uid for rejection in selection.rejected]
    assert sorted([*selection.candidates, *rejected]) == sorted(each.series_instance_uid for each in series)
    assert all(rejection.rule in RULE_NAMES and rejection.detail for rejection in selection.rejected)


@given(studies)
def test_taking_the_best_away_leaves_the_order_of_the_others(series):
    best, *others = rank_series(series, RULES).candidates or ("",)
    rest = [each for each in series if each.series_instance_uid != best]
    assert rank_series(rest, RULES).candidates == tuple(others)
