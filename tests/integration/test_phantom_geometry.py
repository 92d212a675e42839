"""Generated vertebrae against the published sizes, and apart from one another."""

from itertools import combinations

import numpy as np
import pytest

from inference.synthetic import LEVELS, Grid, build_anatomy, draw_spec
from inference.synthetic.measure import MEAN_PERSON, PUBLISHED, measure
from inference.synthetic.render import bone_distances

PEOPLE = range(1, 9)
# Not lengths of one bone: a disc is what two endplates leave between them, so their scatter adds up in it.
LOOSE = ("disc_front", "disc_back")


@pytest.fixture(scope="module")
def sizes():
    """Sizes of eight mean people's necks: they differ only in what varies from bone to bone."""
    necks = [build_anatomy(draw_spec(seed, fractures=(), decoys=(), **MEAN_PERSON)) for seed in PEOPLE]
    return {level: [measure(neck, level, 0.6) for neck in necks] for level in LEVELS}


@pytest.mark.parametrize("level", LEVELS)
def test_the_mean_vertebra_has_the_published_sizes(sizes, level):
    mean = {name: np.nanmean([s[name] for s in sizes[level]]) for name in PUBLISHED[level]}
    exact = {name: size for name, size in PUBLISHED[level].items() if name not in LOOSE}
    assert {name: mean[name] for name in exact} == pytest.approx(exact, rel=0.10)
    assert mean == pytest.approx(PUBLISHED[level], rel=0.25)


def test_people_differ_in_size_as_people_do():
    drawn = [build_anatomy(draw_spec(seed, fractures=(), decoys=(), coverage="cspine")) for seed in range(30, 50)]
    found = [measure(neck, "C5", 0.8) for neck in drawn]
    for name, low, high in (("body_depth", 0.04, 0.16), ("width", 0.04, 0.12), ("run", 0.04, 0.16)):
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
