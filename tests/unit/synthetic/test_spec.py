import numpy as np
import pytest

from inference.synthetic import DECOYS, FRACTURE_KINDS, LEVELS, Fracture, PhantomSpec, draw_spec
from inference.synthetic.injuries import draw_decoys, draw_fractures, draw_kind, draw_levels

# Measured on 2,019 public study labels: 961 have a fracture.
POSITIVE = 961
BROKEN = {"C1": 146, "C2": 285, "C3": 73, "C4": 108, "C5": 162, "C6": 277, "C7": 393}
ONLY_THIS = {"C1": 0.44, "C2": 0.63, "C3": 0.25, "C4": 0.26, "C5": 0.17, "C6": 0.30, "C7": 0.57}
LEVEL_COUNT = {1: 623, 2: 239, 3: 64, 4: 26, 5: 7, 6: 2}
PAIRS = {
    ("C1", "C2"): 56,
    ("C2", "C3"): 24,
    ("C3", "C4"): 29,
    ("C4", "C5"): 51,
    ("C5", "C6"): 90,
    ("C6", "C7"): 130,
    ("C2", "C7"): 34,
    ("C1", "C7"): 21,
}
BODY = {"compression", "burst", "flexion-teardrop", "extension-teardrop"}
PROCESS = {"transverse-process", "spinous", "lamina", "facet"}


@pytest.fixture(scope="module")
def studies():
    rng = np.random.default_rng(5)
    return [draw_levels(rng) for _ in range(8000)]


@pytest.fixture(scope="module")
def injured():
    rng = np.random.default_rng(8)
    return [f for _ in range(6000) for f in draw_fractures(rng)]


def share_of(kinds, fractures):
    return np.mean([f.kind in kinds for f in fractures])


def test_fractures_are_as_frequent_as_in_the_public_labels(studies):
    drawn = {level: np.mean([level in s for s in studies]) for level in LEVELS}
    assert drawn == pytest.approx({level: n / 2019 for level, n in BROKEN.items()}, abs=0.012)
    assert np.mean([bool(s) for s in studies]) == pytest.approx(POSITIVE / 2019, abs=0.02)


def test_as_many_levels_break_together_as_in_the_public_labels(studies):
    positive = [s for s in studies if s]
    for count, n in LEVEL_COUNT.items():
        assert np.mean([len(s) == count for s in positive]) == pytest.approx(n / POSITIVE, abs=0.02)


def test_a_level_breaks_alone_as_often_as_in_the_public_labels(studies):
    for level, share in ONLY_THIS.items():
        assert np.mean([len(s) == 1 for s in studies if level in s]) == pytest.approx(share, abs=0.06)


def test_pairs_break_together_as_often_as_in_the_public_labels(studies):
    positive = [s for s in studies if s]
    for pair, n in PAIRS.items():
        assert np.mean([set(pair) <= set(s) for s in positive]) == pytest.approx(n / POSITIVE, abs=0.015)
    assert np.mean(["C7" in s for s in studies if "C6" in s]) == pytest.approx(0.47, abs=0.05)


def test_a_third_of_the_axis_fractures_are_of_the_dens(injured):
    axis = [f for f in injured if f.level == "C2"]
    assert share_of({"odontoid-1", "odontoid-2", "odontoid-3"}, axis) == pytest.approx(0.32, abs=0.05)


def test_process_fractures_outnumber_body_fractures_more_the_lower_the_level(injured):
    ratios = []
    for levels in (("C3", "C4", "C5"), ("C6", "C7")):
        here = [f for f in injured if f.level in levels]
        ratios.append(share_of(PROCESS, here) / share_of(BODY, here))
    assert 1.0 < ratios[0] < ratios[1]


def test_two_fractures_of_one_vertebra_do_not_undo_each_other(injured):
    rng = np.random.default_rng(2)
    for level in LEVELS:
        for _ in range(60):
            first = draw_kind(rng, level)
            assert draw_kind(rng, level, beside=[first]) != first
    assert draw_kind(rng, "C2", beside=["odontoid-2"]) not in {"odontoid-1", "odontoid-3", "hangman"}


def test_decoys_keep_to_their_age_and_to_one_of_a_bone():
    rng = np.random.default_rng(4)
    young, old = [draw_decoys(rng, 18) for _ in range(1500)], [draw_decoys(rng, 70) for _ in range(3000)]
    assert not any("crowned-dens" in d for d in young)
    assert not any("unfused-apophysis" in d for d in old)
    assert {k for d in young + old for k in d} == set(DECOYS)
    assert not any({"hardware", "cage"} <= set(d) for d in old)


def test_every_kind_is_drawn_at_some_level():
    rng = np.random.default_rng(3)
    drawn = {draw_kind(rng, level) for level in LEVELS for _ in range(150)}
    assert drawn == set(FRACTURE_KINDS)


def test_a_spec_survives_json():
    spec = draw_spec(12, fractures=(Fracture(level="C2", kind="hangman", severity=0.5),))
    assert PhantomSpec.from_json(spec.to_json()) == spec


def test_one_choice_leaves_the_others_as_drawn():
    free, whole = draw_spec(21), draw_spec(21, fractures=(), decoys=())
    assert whole.fractures == ()
    assert (whole.lordosis_deg, whole.bone_hu, whole.scanner.noise_sd) == (
        free.lordosis_deg,
        free.bone_hu,
        free.scanner.noise_sd,
    )


def test_a_fracture_that_its_level_cannot_have_is_refused():
    with pytest.raises(ValueError, match="odontoid-2"):
        Fracture(level="C5", kind="odontoid-2", severity=0.5)
