import itertools

import numpy as np
import pytest

from inference.synthetic import FRACTURE_KINDS, LEVELS, Fracture, PhantomSpec, draw_spec
from inference.synthetic.injuries import draw_kind, draw_levels

# Share of studies with a fracture at each level in 2,019 public labels, and how often C6 and C7 break together.
SHARE = {"C1": 0.072, "C2": 0.141, "C3": 0.036, "C4": 0.054, "C5": 0.080, "C6": 0.137, "C7": 0.195}


@pytest.fixture(scope="module")
def studies():
    rng = np.random.default_rng(5)
    return [draw_levels(rng) for _ in range(6000)]


def test_fractures_are_as_frequent_as_in_the_public_labels(studies):
    drawn = {level: np.mean([level in s for s in studies]) for level in LEVELS}
    assert drawn == pytest.approx(SHARE, abs=0.025)
    assert np.mean([bool(s) for s in studies]) == pytest.approx(0.476, abs=0.02)


def test_neighbours_break_together_more_often_than_distant_levels(studies):
    pairs = {p: sum(set(p) <= set(s) for s in studies) for p in itertools.combinations(LEVELS, 2)}
    assert max(pairs, key=pairs.get) == ("C6", "C7")
    assert pairs["C5", "C6"] > pairs["C1", "C5"]


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
