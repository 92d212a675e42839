"""Whatever the orientation, tilt, spacing and order of files, voxel centres lie where the headers put them."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from inference.geometry import analyse_stack, grid_tolerance_mm, plan_grid
from inference.reading import read_series
from inference.stack import build_stack
from tests.builders.stored_ct import ct_slice, header, write

ANGLE = st.floats(-180, 180)
SHEAR = st.floats(-0.5, 0.5)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[float], np.ndarray]:
    """Orientation [6] and positions [n, 3] of a regular stack, rotated and sheared anyhow."""
    angles = [draw(ANGLE), draw(ANGLE), draw(ANGLE)]
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    step = draw(st.floats(0.3, 5)) * (axes[:, 2] + draw(SHEAR) * axes[:, 0] + draw(SHEAR) * axes[:, 1])
    first = np.array([draw(st.floats(-500, 500)) for _ in range(3)])
    count = draw(st.integers(2, 12))
    # Near the diagonal between two patient axes rounding decides which one the stack follows.
    normal = np.sort(np.abs(axes[:, 2]))
    assume(normal[2] - normal[1] > 1e-6)
    return [*axes[:, 0], *axes[:, 1]], first + np.arange(count)[:, None] * step


@given(stack=stacks(), order=st.randoms(use_true_random=False))
def test_the_affine_puts_the_first_voxel_of_each_slice_at_its_image_position(
    stack: tuple[list[float], np.ndarray], order: random.Random
) -> None:
    orientation, positions = stack
    headers = [header(position, orientation, number) for number, position in enumerate(positions)]
    order.shuffle(headers)

    built = build_stack(headers)
    affine = built.affine_lps(len(positions))

    assert plan_grid(built.geometry.offsets_mm, built.spacing_mm).is_identity
    for k, frame in enumerate(built.frames):
        np.testing.assert_allclose(affine @ [0, 0, k, 1], [*frame.header.image_position, 1], atol=1e-6)
    row_direction, column_direction = np.array(orientation[:3]), np.array(orientation[3:])
    np.testing.assert_allclose(affine[:3, 0], row_direction * 0.25, atol=1e-9)
    np.testing.assert_allclose(affine[:3, 1], column_direction * 0.5, atol=1e-9)


@given(stack=stacks())
def test_a_stack_ascends_along_the_patient_axis_it_is_nearest_to(stack: tuple[list[float], np.ndarray]) -> None:
    orientation, positions = stack
    geometry = analyse_stack(positions, orientation)
    assert geometry.direction[np.argmax(np.abs(geometry.direction))] > 0
    assert (np.diff(geometry.offsets_mm) > 0).all()


@given(stack=stacks(), lost=st.sets(st.integers(1, 10), max_size=4))
def test_a_stack_with_slices_lost_is_put_back_on_the_same_grid(
    stack: tuple[list[float], np.ndarray], lost: set[int]
) -> None:
    orientation, positions = stack
    inside = [k for k in range(len(positions)) if k not in lost or k in (0, len(positions) - 1)]
    steps = np.diff(inside)
    assume(len(inside) > 2 and np.median(steps) == 1)

    geometry = analyse_stack(positions[inside], orientation)
    plan = plan_grid(geometry.offsets_mm, geometry.spacing_mm or 0)

    assert len(plan.lower) == len(positions)
    assert np.count_nonzero(plan.weight) == len(positions) - len(inside)
    assert len(geometry.gaps) == np.count_nonzero(steps > 1)


@given(
    offsets=st.lists(st.floats(0.05, 4), min_size=2, max_size=30).map(lambda steps: np.cumsum([0, *steps])),
)
def test_an_interpolated_plane_lies_exactly_between_its_sources(offsets: np.ndarray) -> None:
    spacing = float(np.median(np.diff(offsets)))
    plan = plan_grid(offsets, spacing)
    planes = np.linspace(offsets[0], offsets[-1], len(plan.lower))
    upper = np.minimum(plan.lower + 1, len(offsets) - 1)
    filled = (1 - plan.weight) * offsets[plan.lower] + plan.weight * offsets[upper]
    assert np.abs(filled - planes).max() <= grid_tolerance_mm(planes[1] - planes[0]) + 1e-9
    assert np.abs(offsets[plan.nearest] - planes).max() <= np.diff(offsets).max() / 2 + 1e-9


@settings(max_examples=8)
@given(stack=stacks(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_files_never_changes_the_volume(
    stack: tuple[list[float], np.ndarray], order: random.Random
) -> None:
    orientation, positions = stack
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for k, position in enumerate(positions):
            pixels = np.full((4, 6), k, np.int16)
            placed = ct_slice(
                pixels,
                k,
                # DS holds 16 characters: write what can be read back.
                ImagePositionPatient=[f"{value:.6f}" for value in position],
                ImageOrientationPatient=[f"{value:.9f}" for value in orientation],
                InstanceNumber=order.randint(0, 5),
            )
            files.append(write(placed, Path(folder, f"{k}.dcm")))
        straight = read_series(files, threads=1)
        order.shuffle(files)
        shuffled = read_series(files, threads=2)

    np.testing.assert_array_equal(straight.volume.hu, shuffled.volume.hu)
    np.testing.assert_array_equal(straight.volume.affine_lps, shuffled.volume.affine_lps)
    assert straight.slices == shuffled.slices
    assert straight.notes == shuffled.notes == ()
    for k in range(len(positions)):
        source = positions[straight.volume.hu[k, 0, 0]]
        np.testing.assert_allclose(straight.volume.to_lps_mm(np.array([k, 0.0, 0.0])), source, atol=1e-4)
