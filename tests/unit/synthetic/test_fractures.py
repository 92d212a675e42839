import numpy as np
import pytest

from inference.synthetic import DECOYS, Fracture, draw_spec
from inference.synthetic.fractures import squash_of
from inference.synthetic.site import displacement, is_hairline
from inference.synthetic.slips import slip_of
from tests.unit.synthetic.necks import neck, picture

SEED = 6
DEPTH_C5_MM = 14.8


def slip_mm(kind, severity, seed):
    """How far behind where it was the lower rear edge of C5 is, mm."""
    fracture = Fracture(level="C5", kind=kind, severity=severity)
    spec = draw_spec(seed, fractures=(fracture,), decoys=(), scale=1.0)
    rear = np.array([0.0, 7.0, -6.3, 1.0])
    return float((slip_of(spec, fracture).motion @ rear - rear)[1])


def test_one_jumped_facet_lets_the_body_slip_by_a_quarter_to_a_third():
    slips = [-slip_mm("unilateral-dislocation", v, seed) / DEPTH_C5_MM for seed in range(12) for v in (0.1, 0.9)]
    assert min(slips) > 0.2
    assert max(slips) < 0.4


def test_both_facets_jumped_lets_the_body_slip_by_half():
    gross = [-slip_mm("bilateral-dislocation", 0.9, seed) / DEPTH_C5_MM for seed in range(12)]
    perched = [-slip_mm("bilateral-dislocation", 0.1, seed) / DEPTH_C5_MM for seed in range(12)]
    assert 0.5 <= min(gross) < max(gross) < 0.75
    assert 0.25 < np.mean(perched) < 0.5


def test_a_broken_dens_takes_the_atlas_and_the_skull_along():
    fracture = Fracture(level="C2", kind="odontoid-2", severity=1.0)
    whole, broken = neck(SEED).curve.frames, neck(SEED, (fracture,)).curve.frames
    for level in ("skull", "C1"):
        assert np.linalg.norm(broken[level] - whole[level]) > 1.0
    for level in ("C2", "C3"):
        assert broken[level] == pytest.approx(whole[level])


def test_a_hangmans_fracture_carries_the_body_of_c2_forward_and_leaves_c3():
    fracture = Fracture(level="C2", kind="hangman", severity=1.0)
    whole, broken = neck(SEED).curve.frames, neck(SEED, (fracture,)).curve.frames
    assert 2.0 < np.linalg.norm(broken["C2"][:3, 3] - whole["C2"][:3, 3]) < 8.0
    assert broken["C3"] == pytest.approx(whole["C3"])


def test_a_gross_teardrop_goes_back_into_the_canal():
    gross = [slip_mm("flexion-teardrop", 0.95, seed) for seed in range(12)]
    assert 2.0 < min(gross) < max(gross) < 6.5


def test_a_compressed_body_loses_a_tenth_to_two_fifths_of_its_front():
    lost = []
    for seed in range(40):
        fracture = Fracture(level="C5", kind="compression", severity=seed / 39)
        lost.append(squash_of(draw_spec(seed, fractures=(fracture,), decoys=(), scale=1.0), "C5").wedge_mm / 12.6)
    assert 0.08 < min(lost) < 0.16
    assert 0.32 < max(lost) <= 0.42


def test_some_fractures_are_hairlines_and_hardly_move():
    drawn = []
    for seed in range(200):
        severity = float(np.random.default_rng(seed).beta(1.4, 1.6))
        fracture = Fracture(level="C6", kind="lamina", severity=severity)
        spec = draw_spec(seed, fractures=(fracture,), decoys=())
        drawn.append(is_hairline(spec, fracture))
        if drawn[-1]:
            assert displacement(spec, fracture) <= 0.1
    assert 0.1 < np.mean(drawn) < 0.25


def test_every_decoy_is_built_and_says_where_it_is():
    found = set()
    for seed in range(SEED, SEED + 3):
        anatomy = neck(seed, (), DECOYS)
        for decoy in anatomy.decoys:
            found.add(decoy.kind)
            if decoy.kind != "motion":
                box = anatomy.boxes_lps_mm[decoy.level]
                assert np.all(np.array(decoy.centre_lps_mm) > box[0] - 30)
                assert np.all(np.array(decoy.centre_lps_mm) < box[1] + 30)
    assert found == set(DECOYS)


def test_a_decoy_gives_way_to_a_fracture_of_the_same_bone():
    fracture = Fracture(level="C2", kind="odontoid-2", severity=0.5)
    anatomy = neck(SEED, (fracture,), ("os-odontoideum", "mach-line", "crowned-dens"))
    assert {d.kind for d in anatomy.decoys} == {"crowned-dens"}


def test_decoys_are_not_fractures():
    out = picture(neck(SEED, (), DECOYS), "C5")
    plain = picture(neck(SEED), "C5")
    assert not out.fracture_mask.any()
    assert np.abs(out.hu.astype(int) - plain.hu).max() > 300
