import pytest

from dicom_node.core.selection import RULE_NAMES, SelectionRules, rank_series, ranked_lower, reject
from tests.unit.core.builders import thin_axial

RULES = SelectionRules()


@pytest.mark.parametrize(
    ("facts", "rule", "figure"),
    [
        ({"is_ct": False, "modality": "SR"}, "not_ct", "SR"),
        ({"is_ct": False, "modality": ""}, "not_ct", "not stated"),
        ({"is_localizer": True, "image_count": 2}, "localizer", "2 images"),
        ({"is_secondary": True, "secondary_reason": "image type DERIVED\\SECONDARY"}, "secondary", "DERIVED"),
        ({"is_secondary": True}, "secondary", "derived or secondary"),
        ({"image_count": 19}, "too_few_images", "19 images, at least 20"),
        ({"coverage_mm": 25.0}, "too_few_images", "25 mm, at least 40 mm"),
        (
            {"angle_deg": 90.0, "orientation": "sagittal"},
            "non_axial",
            "sagittal: the slice normal is 90 degrees",
        ),
        ({"slice_thickness_mm": 5.0}, "too_thick", "thickness 5.00 mm, at most 3 mm"),
        ({"slice_thickness_mm": None, "spacing_mm": 5.0}, "too_thick", "spacing 5.00 mm, at most 3.5 mm"),
        ({"largest_gap_mm": 12.0}, "gaps", "12.0 mm between slices that are 0.60 mm apart"),
        ({"duplicate_count": 150}, "duplicates", "150 of 300"),
        ({"geometry_problem": "two orientations"}, "geometry", "two orientations"),
        ({"angle_deg": None, "spacing_mm": None}, "geometry", "no slice orientation and no slice spacing"),
    ],
)
def test_a_series_is_left_out_with_the_rule_and_its_figures(facts, rule, figure):
    rejection = reject(thin_axial(**facts), RULES)
    assert rejection is not None
    assert rejection.rule == rule
    assert figure in rejection.detail


def test_every_rule_has_an_example_above():
    parameters = test_a_series_is_left_out_with_the_rule_and_its_figures.pytestmark[0].args[1]
    assert {rule for _, rule, _ in parameters} == set(RULE_NAMES)


@pytest.mark.parametrize(
    "facts",
    [
        {"angle_deg": 25.0},
        {"modality": "", "slice_thickness_mm": None, "is_bone_kernel": None},
        {"slice_thickness_mm": 3.0000001, "spacing_mm": 3.0, "largest_gap_mm": 3.0},
        {"largest_gap_mm": 1.8},
        {"slice_thickness_mm": 1.0, "spacing_mm": 1.0, "largest_gap_mm": 2.0},
        {"duplicate_count": 2},
        {"coverage_mm": None},
        {"description": "CHEST", "coverage_mm": 900.0},
    ],
    ids=[
        "tilted",
        "header poor",
        "3 mm as stored",
        "a missing slice",
        "uneven",
        "two twins",
        "no coverage",
        "chest",
    ],
)
def test_what_the_field_sends_stays_a_candidate(facts):
    assert reject(thin_axial(**facts), RULES) is None


def test_the_first_rule_that_applies_is_the_reason():
    rejection = reject(thin_axial(is_localizer=True, image_count=1, angle_deg=90.0), RULES)
    assert rejection is not None
    assert rejection.rule == "localizer"


def test_candidates_are_ranked_by_kernel_then_thickness_then_coverage_then_number():
    best = thin_axial("1.9", series_number=7)
    later_number = thin_axial("1.1", series_number=8)
    short = thin_axial("1.2", coverage_mm=60.0)
    thick = thin_axial("1.3", slice_thickness_mm=2.0, coverage_mm=300.0)
    unknown_kernel = thin_axial("1.4", is_bone_kernel=None, coverage_mm=300.0)
    soft = thin_axial("1.5", is_bone_kernel=False, slice_thickness_mm=0.5)
    facts = (soft, unknown_kernel, thick, short, later_number, best)
    assert rank_series(facts, RULES).candidates == ("1.9", "1.1", "1.2", "1.3", "1.4", "1.5")


def test_a_difference_of_hundredths_does_not_beat_twice_the_coverage():
    thin = thin_axial("1.1", slice_thickness_mm=0.6, coverage_mm=90.0)
    long = thin_axial("1.2", slice_thickness_mm=0.625, coverage_mm=200.0)
    assert rank_series((thin, long), RULES).candidates == ("1.2", "1.1")


def test_a_thick_series_is_rejected_even_where_it_is_the_only_one():
    selection = rank_series((thin_axial(slice_thickness_mm=5.0, spacing_mm=5.0),), RULES)
    assert selection.candidates == ()
    assert [rejection.rule for rejection in selection.rejected] == ["too_thick"]


def test_a_candidate_that_was_not_needed_is_explained_by_both_sets_of_figures():
    rejection = ranked_lower(thin_axial("1.2", is_bone_kernel=False, kernel="Br36"), thin_axial("1.1"))
    assert (rejection.series_instance_uid, rejection.rule) == ("1.2", "ranked_lower")
    assert "soft kernel Br36, 0.60 mm slices" in rejection.detail
    assert "the chosen series has bone kernel Br60" in rejection.detail
