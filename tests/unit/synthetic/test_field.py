import numpy as np
import pytest

from inference.synthetic.field import (
    Lattice,
    bar,
    box,
    distance,
    ellipsoid,
    evaluate,
    frame,
    placed,
    plate,
    rotation,
    roughness,
    tube,
)


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


def block(step=0.7, count=24):
    """A cube of samples about the origin."""
    affine = np.hstack([np.eye(3) * step, np.full((3, 1), -step * (count - 1) / 2)])
    return Lattice(affine=affine, shape=(count,) * 3)


def test_an_uneven_surface_wanders_about_the_smooth_one_and_is_worn_down_by_less_than_half_a_millimetre():
    smooth = evaluate([ellipsoid((0, 0, 0), (6, 6, 6))], block())
    rough = evaluate([ellipsoid((0, 0, 0), (6, 6, 6)), roughness(3, 0.8, 5.0)], block())
    shift = (rough - smooth)[np.abs(smooth) < 1.0]
    assert 0.2 < shift.std() < 0.8
    assert shift.max() <= 0.4 + 1e-5
    assert abs(shift.mean()) < 0.25


def test_unevenness_moves_with_the_bone():
    move = frame((3, -2, 7), rotation(20, 10, -30))
    prims = [ellipsoid((0, 0, 0), (6, 6, 6)), roughness(5, 0.8, 6.0)]
    here = block()
    there = Lattice(affine=move[:3] @ np.vstack([here.affine, [0, 0, 0, 1]]), shape=here.shape)
    assert evaluate(placed(prims, move), there) == pytest.approx(evaluate(prims, here), abs=2e-3)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_plate_leans_with_its_top_forwards_on_either_side(side):
    leaning = plate((side * 14, 8, 0), (side * 2, 14, 0), 1.5, 6.0, lean_deg=25.0)
    d = evaluate([leaning], Lattice(affine=np.hstack([np.eye(3), [[side * 8.0], [0], [-4]]]), shape=(9, 22, 1)))
    centre = [np.flatnonzero(row < 0).mean() for row in d[:, :, 0]]
    assert centre[0] - centre[-1] == pytest.approx(8 * np.tan(np.radians(25)), abs=1.2)
