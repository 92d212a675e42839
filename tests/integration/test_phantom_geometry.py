"""Generated vertebrae against the published sizes, and apart from one another."""

from itertools import combinations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from inference.synthetic import LEVELS, Grid, build_anatomy, draw_spec, render
from inference.synthetic.field import Lattice, evaluate
from inference.synthetic.measure import MEAN_PERSON, PUBLISHED, measure
from inference.synthetic.render import bone_distances

PEOPLE = range(1, 8)
# Not lengths of one bone: a disc is what two endplates leave between them, so their scatter adds up in it.
LOOSE = ("disc_front", "disc_back")


@pytest.fixture(scope="module")
def sizes():
    """Sizes of seven mean people's necks: they differ only in what varies from bone to bone."""
    necks = [build_anatomy(draw_spec(seed, fractures=(), decoys=(), **MEAN_PERSON)) for seed in PEOPLE]
    return {level: [measure(neck, level, 0.6) for neck in necks] for level in LEVELS}


@pytest.mark.parametrize("level", LEVELS)
def test_the_mean_vertebra_has_the_published_sizes(sizes, level):
    mean = {name: np.nanmean([s[name] for s in sizes[level]]) for name in PUBLISHED[level]}
    exact = {name: size for name, size in PUBLISHED[level].items() if name not in LOOSE}
    assert {name: mean[name] for name in exact} == pytest.approx(exact, rel=0.10)
    assert mean == pytest.approx(PUBLISHED[level], rel=0.25)


def test_people_differ_in_size_as_people_do():
    drawn = [build_anatomy(draw_spec(seed, fractures=(), decoys=(), coverage="cspine")) for seed in range(30, 46)]
    found = [measure(neck, "C5", 0.8) for neck in drawn]
    for name, low, high in (("body_depth", 0.04, 0.13), ("width", 0.04, 0.12), ("run", 0.04, 0.13)):
        values = np.array([f[name] for f in found])
        assert low < values.std() / values.mean() < high, name


@pytest.mark.parametrize(
    "posture",
    [
        {},
        {"lordosis_deg": 34.0, "slope_deg": 30.0},
        {"lordosis_deg": -22.0, "slope_deg": 8.0},
        {"scoliosis_deg": 9.0, "neck_bend_deg": 12.0, "neck_turn_deg": 25.0},
        {"fused": "C5-C6", "fused_kind": "block"},
        {"fused": "C3-C4", "fused_kind": "ankylosis"},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [11, 12])
def test_no_two_vertebrae_share_a_point(posture, seed):
    anatomy = build_anatomy(draw_spec(seed, fractures=(), decoys=(), coverage="cspine", **posture))
    corners = np.array([anatomy.boxes_lps_mm[level] for level in LEVELS])
    low, high = corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)
    fields = bone_distances(anatomy, Grid.around((low + high) / 2, high - low, 0.9))
    for a, b in combinations(("skull", *LEVELS), 2):
        assert np.maximum(fields[a], fields[b]).min() >= 0, f"{a} and {b}"


def person(**traits):
    return build_anatomy(draw_spec(21, fractures=(), decoys=(), **(MEAN_PERSON | traits)))


def picture(anatomy, level, size_mm, *, spacing_mm=0.6, ahead_mm=0.0, below_mm=0.0):
    """A picture in a vertebra's own frame, about a point in front of or below its centre."""
    place = anatomy.curve.frames[level]
    centre = (place @ np.array([0.0, -ahead_mm, -below_mm, 1.0]))[:3]
    return render(anatomy, Grid.around(centre, size_mm, spacing_mm, place[:3, :3]), ideal=True)


@pytest.mark.parametrize("kind", ["block", "ankylosis"])
def test_fused_vertebrae_are_one_bone_with_two_names(kind):
    fused = picture(person(fused="C4-C5", fused_kind=kind), "C4", (24, 18, 16), below_mm=9)
    apart = picture(person(), "C4", (24, 18, 16), below_mm=9)

    def contact(out):
        return int((binary_dilation(out.labels == 4) & (out.labels == 5)).sum())

    assert contact(apart) == 0
    assert contact(fused) > 60
    heights = [np.flatnonzero((fused.labels == n).any(axis=(1, 2))).mean() for n in (4, 5)]
    assert heights[0] > heights[1] + 4


def test_wear_narrows_discs_and_adds_bone_about_them():
    traits = {"disc_wear": (0.9,) * 6, "disc_scale": (0.5,) * 6, "facet_wear": 0.9}
    young, old = measure(person(), "C5", 0.6), measure(person(**traits), "C5", 0.6)
    assert old["disc_front"] < 0.8 * young["disc_front"]
    assert old["run"] > young["run"] + 0.8


def test_a_cervical_rib_is_bone_of_no_level():
    plain, ribbed = (picture(person(cervical_rib_mm=mm), "C7", (110, 60, 30)) for mm in ((0.0, 0.0), (0.0, 40.0)))
    new = (ribbed.hu - plain.hu.astype(int) > 300) & (ribbed.labels == 0)
    assert new.sum() > 300
    side = np.flatnonzero(new.any(axis=(0, 1))) * 0.6 - 55
    assert side.min() > 20


def test_an_ossified_ligament_narrows_the_canal():
    assert measure(person(ossification="opll"), "C4", 0.6)["canal_ap"] < measure(person(), "C4", 0.6)["canal_ap"] - 1


def test_the_larynx_moves_and_the_spine_does_not():
    low, high = (person(larynx_mm=mm) for mm in (-12.0, 12.0))
    hyoid = [next(item for item in neck.over if item.name == "hyoid").lo for neck in (low, high)]
    assert hyoid[1] - hyoid[0] == pytest.approx([0, 0, 24], abs=0.1)
    assert low.centres_lps_mm == high.centres_lps_mm


@pytest.mark.parametrize("seed", range(60, 66))
def test_the_cord_lies_in_the_canal_and_air_outside_bone(seed):
    anatomy = build_anatomy(draw_spec(seed, fractures=(), decoys=(), coverage="cspine"))
    centres = np.array([anatomy.centres_lps_mm[level] for level in ("C1", "C7")])
    grid = Grid.around(centres.mean(axis=0) + np.array([0, 10, 0]), (80, 90, 150), 2.0)
    lattice = Lattice(affine=grid.affine_lps[:3], shape=grid.shape_zyx)
    inside = evaluate(next(item for item in anatomy.soft if item.name == "cord").prims, lattice) < -0.5
    for name, distance in bone_distances(anatomy, grid).items():
        assert not np.any(inside & (distance < 0)), name
    out = render(anatomy, grid, ideal=True)
    assert out.hu[(out.labels > 0) & (out.bone_share > 200)].min() > -150
