import numpy as np
import pytest

from inference.synthetic.field import Lattice, bar, box, distance, ellipsoid, evaluate, frame, placed, rotation, tube


def line(start, step, count):
    """Samples from `start` every `step` along x."""
    affine = np.array([[step, 0, 0, start[0]], [0, 1, 0, start[1]], [0, 0, 1, start[2]]], float)
    return Lattice(affine=affine, shape=(1, 1, count))


@pytest.mark.parametrize(
    "prim",
    [
        ellipsoid((0, 0, 0), (5, 5, 5)),
        box((0, 0, 0), (5, 8, 8), 1.0),
        bar((0, 0, -9), (0, 0, 9), 5),
        tube((0, 0, -9), (0, 0, 9), 5),
    ],
    ids=lambda p: p.kind,
)
def test_distances_are_millimetres_from_the_surface(prim):
    d = distance(prim, line((2, 0, 0), 1.0, 7))[0, 0]
    assert d == pytest.approx(np.arange(2, 9) - 5, abs=1e-3)


def test_a_moved_primitive_is_the_primitive_at_the_moved_point():
    move = frame((3, -2, 7), rotation(20, 10, -30))
    prim = bar((0, 0, 0), (6, 2, 1), 2, 3)
    there = line((4, -1, 7), 1.0, 5)
    back = Lattice(affine=np.linalg.inv(move)[:3] @ np.vstack([there.affine, [0, 0, 0, 1]]), shape=there.shape)
    assert distance(placed([prim], move)[0], there) == pytest.approx(distance(prim, back), abs=1e-4)


def test_a_hole_is_drilled_out_of_what_came_before():
    solid = [box((0, 0, 0), (6, 6, 6), 1), tube((0, 0, -9), (0, 0, 9), 2.4)]
    d = evaluate(solid, line((-4, 0, 0), 1.0, 9))[0, 0]
    assert (d < 0).tolist() == [True, True, False, False, False, False, False, True, True]


def test_a_part_of_a_lattice_samples_the_same_points():
    prims = [ellipsoid((1, 2, 3), (4, 5, 6), rotation(10, 20, 30)), bar((0, 0, 0), (9, 3, 2), 2)]
    whole = Lattice(affine=np.array([[0.9, 0.1, 0, -6], [0, 1.1, 0, -5], [0.1, 0, 1, -4]]), shape=(10, 12, 14))
    where = (slice(2, 9), slice(3, 11), slice(4, 12))
    assert evaluate(prims, whole.part(where)) == pytest.approx(evaluate(prims, whole)[where], abs=1e-4)
