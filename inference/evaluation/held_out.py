"""The held-out studies of the localiser's evaluation: which they are, and how each is made.

`spine` studies show a cervical spine: the generator's four coverages with one, each a fixed share of the seeds, all
else as `draw_spec` draws it (people, posture, fractures, decoys, kernels, slices, contrast, cuts through any level).
`without` studies have at most a sliver of one: chest (cut under C7), abdomen, and head (cut above C1).

To keep hundreds of studies feasible on two cores they are rendered on their own slices but with voxels of at
least `LEAST_VOXEL_MM` (necks and heads) or `LEAST_VOXEL_TRUNK_MM` (z, y, x).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.synthetic import Anatomy, Grid, build_anatomy, default_grid, draw_spec, make_phantom
from inference.synthetic.spec import LEVELS
from inference.training.phantoms import coarser_grid
from inference.volume import Volume

LEAST_VOXEL_MM: Final = (0.8, 0.8, 0.8)
LEAST_VOXEL_TRUNK_MM: Final = (1.25, 1.25, 1.25)
WITHOUT_OFFSET: Final = 20_000

_SPINE_COVERAGE: Final = {"cspine": 0.58, "neck": 0.16, "head": 0.13, "wholebody": 0.13}
_WITHOUT: Final = ("chest", "abdomen", "head")
_SLIVER_MM: Final = 2.0
_FEWEST_SLICES: Final = 8


@dataclass(frozen=True, kw_only=True)
class Case:
    """One study to be: `group` is spine or without; the seed decides everything else."""

    group: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in a work file."""
        return f"{self.group}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class TrueLevel:
    """What is true of one level: complete, partial or absent.

    `in_view` is the share of its box inside the field of view, `edge_mm` the distance of its bone to the nearest
    border (None where absent).
    """

    level: str
    status: str
    centre_lps_mm: tuple[float, float, float]
    in_view: float
    edge_mm: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A volume with its truth: `labels` uint8 [z, y, x] (1-7 = C1-C7, 8 on = T1 on) and C1 to C7 in `levels`."""

    volume: Volume
    labels: NDArray[np.uint8]
    levels: tuple[TrueLevel, ...]
    facts: dict[str, Any]


def held_out(first_seed: int, phantoms: int, without: int) -> tuple[Case, ...]:
    """The cases of an evaluation; the two groups have disjoint seeds."""
    if phantoms > WITHOUT_OFFSET:
        raise ValueError(f"at most {WITHOUT_OFFSET} phantoms, not {phantoms}: the seeds of the two groups would meet")
    spines = (Case(group="spine", seed=first_seed + i) for i in range(phantoms))
    others = (Case(group="without", seed=first_seed + WITHOUT_OFFSET + i) for i in range(without))
    return (*spines, *others)


def make_study(case: Case) -> Study:
    """Render one case."""
    coverage = _coverage(case)
    spec = draw_spec(case.seed, coverage=coverage)
    anatomy = build_anatomy(spec)
    least = LEAST_VOXEL_MM if coverage in ("cspine", "neck", "head") else LEAST_VOXEL_TRUNK_MM
    grid = coarser_grid(default_grid(spec, anatomy), least)
    if case.group == "without":
        grid = without_cervical_spine(grid, anatomy, coverage)
    phantom = make_phantom(spec, grid=grid)
    spacing = phantom.volume.spacing_mm_zyx
    facts = {
        "coverage": coverage,
        "slices": int(phantom.volume.hu.shape[0]),
        "slice_mm": spec.scanner.slice_mm,
        "spacing_mm": round(spacing[0], 3),
        "pixel_mm": round(spacing[1], 3),
        "kernel": spec.scanner.kernel,
        "fractured": bool(phantom.truth["any_fracture"]),
        "decoys": list(spec.decoys),
    }
    levels = true_levels(phantom.truth["levels"], anatomy.boxes_lps_mm, phantom.volume, phantom.labels)
    return Study(volume=phantom.volume, labels=phantom.labels, levels=levels, facts=facts)


def without_cervical_spine(grid: Grid, anatomy: Anatomy, coverage: str) -> Grid:
    """The slices of a grid that show at most a sliver (2 mm) of C1 to C7; at least eight of them."""
    count = grid.shape_zyx[0]
    corners = np.concatenate([_corners(*anatomy.boxes_lps_mm[level]) for level in LEVELS])
    # The third row of the inverse gives the slice index; a tilted gantry is in it.
    slices = (corners - grid.affine_lps[:3, 3]) @ np.linalg.inv(grid.affine_lps[:3, :3])[2]
    sliver = _SLIVER_MM / float(grid.spacing_mm_xyz[2])
    if coverage == "head":
        first, last = int(np.ceil(slices.max() - sliver)), count - 1
    else:
        first, last = 0, int(np.floor(slices.min() + sliver))
    first = int(np.clip(first, 0, count - _FEWEST_SLICES))
    last = int(np.clip(last, first + _FEWEST_SLICES - 1, count - 1))
    affine = grid.affine_lps.copy()
    affine[:3, 3] += first * grid.affine_lps[:3, 2]
    return Grid(shape_zyx=(last + 1 - first, *grid.shape_zyx[1:]), affine_lps=affine)


def true_levels(
    truth: Iterable[dict[str, Any]],
    boxes_lps_mm: dict[str, tuple[NDArray[Any], NDArray[Any]]],
    volume: Volume,
    labels: NDArray[np.uint8],
) -> tuple[TrueLevel, ...]:
    """C1 to C7 from a phantom's truth, with how much of each is in view and how far from the border."""
    found = ndimage.find_objects(labels, max_label=len(LEVELS))
    levels = []
    for number, one in enumerate(truth):
        box = found[number]
        levels.append(
            TrueLevel(
                level=one["level"],
                status=one["status"],
                centre_lps_mm=tuple(one["centre_lps_mm"]),
                in_view=_share_in_view(volume, *boxes_lps_mm[one["level"]]),
                edge_mm=None if box is None else _edge_mm(volume, box),
            )
        )
    return tuple(levels)


def _coverage(case: Case) -> str:
    if case.group == "without":
        return _WITHOUT[case.seed % len(_WITHOUT)]
    rng = np.random.default_rng([case.seed, 71])
    return str(rng.choice(list(_SPINE_COVERAGE), p=list(_SPINE_COVERAGE.values())))


def _corners(low: NDArray[Any], high: NDArray[Any], per_axis: int = 2) -> NDArray[np.float64]:
    """Points [n, 3] of a regular lattice in a box, its corners among them."""
    axes = [np.linspace(a, b, per_axis) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _share_in_view(volume: Volume, low: NDArray[Any], high: NDArray[Any]) -> float:
    index = volume.to_index_zyx(_corners(low, high, 17))
    inside = np.all((index >= -0.5) & (index <= np.array(volume.hu.shape) - 0.5), axis=1)
    return round(float(inside.mean()), 3)


def _edge_mm(volume: Volume, box: tuple[slice, ...]) -> float:
    low = np.array([s.start for s in box])
    high = np.array(volume.hu.shape) - np.array([s.stop for s in box])
    return round(float((np.minimum(low, high) * np.array(volume.spacing_mm_zyx)).min()), 2)
