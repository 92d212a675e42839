"""What is one stack of parallel slices, what is not, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest

from inference.errors import GeometryUnsupported
from inference.geometry import analyse_stack, plan_grid
from inference.series_facts import series_facts
from inference.stack import build_stack
from tests.builders.stored_ct import AXIAL, header

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def stack_at(z_mm: list[float], **fields: object):  # type: ignore[no-untyped-def]
    return [header([0, 0, z], number=number, **fields) for number, z in enumerate(z_mm)]


@pytest.mark.parametrize(
    ("orientation", "name", "angle"),
    [(AXIAL, "axial", 0), ((1, 0, 0, 0, -1, 0), "axial", 0), (SAGITTAL, "sagittal", 90), (CORONAL, "coronal", 90)],
)
def test_the_plane_is_named_by_its_normal(orientation: tuple[float, ...], name: str, angle: float) -> None:
    geometry = analyse_stack([[0, 0, 0]], orientation)
    assert (geometry.orientation, geometry.angle_deg) == (name, pytest.approx(angle))


def test_a_plane_between_the_patient_axes_is_oblique() -> None:
    half = np.sqrt(0.5)
    geometry = analyse_stack([[0, 0, 0]], (1, 0, 0, 0, half, half))
    assert geometry.orientation == "oblique"
    assert geometry.angle_deg == pytest.approx(45)


def test_gantry_tilt_is_the_angle_between_normal_and_table() -> None:
    tilt = np.radians(20)
    orientation = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt))
    geometry = analyse_stack([[0, 0, 2.0 * k] for k in range(5)], orientation)
    assert geometry.tilt_deg == pytest.approx(20)
    assert geometry.angle_deg == pytest.approx(20)
    assert geometry.orientation == "axial"
    assert geometry.spacing_mm == pytest.approx(2 * np.cos(tilt))
    assert not geometry.is_uneven


def test_slices_flipped_in_the_plane_still_ascend_towards_superior() -> None:
    stack = build_stack([header([0, 0, z], (1, 0, 0, 0, -1, 0), number) for number, z in enumerate([5.0, 3.0, 4.0])])
    assert [frame.header.image_position[2] for frame in stack.frames] == [3, 4, 5]
    assert stack.affine_lps(3)[2, 2] == 1


def test_a_gap_is_found_with_its_place_and_size() -> None:
    geometry = analyse_stack([[0, 0, z] for z in (0, 1, 2, 14, 15, 16)], AXIAL)
    assert [(gap.before, gap.mm) for gap in geometry.gaps] == [(2, 12.0)]
    assert geometry.largest_gap_mm == 12
    assert geometry.spacing_mm == 1
    assert geometry.is_uneven


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even() -> None:
    positions = np.round(np.arange(40) * 0.625, 1)
    geometry = analyse_stack([[0, 0, z] for z in positions], AXIAL)
    assert not geometry.is_uneven
    assert geometry.spacing_mm == pytest.approx(0.625, abs=0.002)


def test_duplicates_share_one_place() -> None:
    geometry = analyse_stack([[0, 0, z] for z in (2, 0, 1, 0)], AXIAL)
    assert geometry.groups == ((1, 3), (2,), (0,))
    assert geometry.duplicate_count == 1


def test_of_duplicates_the_latest_acquisition_is_kept() -> None:
    first = stack_at([0.0, 1.0, 2.0], acquisition_number=1)
    second = [header([0, 0, z], number=10 + k, acquisition_number=2) for k, z in enumerate([0.0, 1.0, 2.0])]
    stack = build_stack([*second, *first])
    assert {frame.instance.acquisition_number for frame in stack.frames} == {2}
    assert [place for place, _frame in stack.duplicates] == [0, 1, 2]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param(
            [*stack_at([0.0, 1.0]), header([0, 0, 2], CORONAL, 7)],
            "mixed orientations.* 90.0 degrees",
            id="orientations",
        ),
        pytest.param(
            [*stack_at([0.0, 1.0]), header([0, 0, 2], number=7, rows=16)],
            "mixed matrix sizes: 8 x 8, 16 x 8",
            id="sizes",
        ),
        pytest.param(
            [*stack_at([0.0, 1.0]), header([0, 0, 2], number=7, pixel_spacing_mm=(0.6, 0.6))],
            "mixed pixel spacings: 0.2500 to 0.6000",
            id="spacings",
        ),
        pytest.param(
            [*stack_at([0.0, 1.0]), header([0, 0, 2], number=7, image_position=None)],
            "1 of 3 slices have no Image Position",
            id="no position",
        ),
        pytest.param(
            stack_at([0.0, 1.0], pixel_spacing_mm=None), "2 of 2 slices have no Pixel Spacing", id="no spacing"
        ),
        pytest.param(stack_at([0.0]), "1 slices at different positions, expected 2", id="one slice"),
        pytest.param(stack_at([3.0, 3.0]), "1 slices at different positions, expected 2", id="one place"),
        pytest.param(
            [*stack_at([0.0, 1.0]), header([30, 0, 2], number=7), header([0, 0, 3], number=8)],
            "30.0 mm off a line",
            id="off the line",
        ),
        pytest.param(
            stack_at([0.0, 1.0, 2.0, 900.0]), "4 slices 1.00 mm apart are spread over 900 mm", id="one far off"
        ),
        pytest.param(
            [*stack_at([0.0, 1.0]), header([0, 0, 2], number=7, series_instance_uid="9.9")],
            "2 series given",
            id="two series",
        ),
        pytest.param(
            [header([0, 0, z], (1, 0, 0, 1, 0, 0), k) for k, z in enumerate((0, 1))], "spans no plane", id="no plane"
        ),
    ],
)
def test_what_is_no_stack_is_refused_with_its_figures(headers: list, message: str) -> None:
    with pytest.raises(GeometryUnsupported, match=message):
        build_stack(headers)


def test_uneven_offsets_become_a_regular_grid() -> None:
    plan = plan_grid(np.array([0.0, 1.0, 2.0, 2.6, 4.0]), 1.0)
    assert plan.lower.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(plan.weight, [0, 0, 0, 0.4 / 1.4, 0])
    assert plan.nearest.tolist() == [0, 1, 2, 3, 4]
    assert not plan.is_identity


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param(header([0, 0, 2.5], CORONAL, 70), id="orientation"),
        pytest.param(header([0, 0, 2.5], number=70, rows=16), id="size"),
        pytest.param(header([0, 0, 2.5], number=70, pixel_spacing_mm=(0.6, 0.6)), id="spacing"),
        pytest.param(header([0, 0, 2.5], number=70, image_position=None), id="no position"),
    ],
)
def test_a_stray_among_many_slices_is_left_out_with_a_note(stray) -> None:
    slices = stack_at([float(z) for z in range(20)])
    stack = build_stack([stray, *slices])
    assert len(stack.frames) == 20
    assert stack.notes[0].startswith("1 images of another orientation")
    facts = series_facts([*slices, stray])
    assert facts.geometry_problem == ""
    assert facts.image_count == 20


def test_cosines_and_spacings_that_differ_by_rounding_make_no_stray() -> None:
    slices = [
        header([0, 0, float(k)], (0.95 + 1e-6 * (k % 2), 0.3122, 0, -0.3122, 0.95, 0), number=k + 1) for k in range(30)
    ]
    assert len(build_stack(slices).frames) == 30
