"""Phantoms straight into prepared studies: only the part near the spine is rendered, on the study's own slices.

Scanner, noise, streaks, decoys and the reconstruction circle are those of the whole study. Slices and pixels finer
than `LEAST_VOXEL_MM_ZYX` are rendered at that size, which the prepared grid is coarser than anyway.

A localiser sees the whole field of view, rendered a second time with voxels of `LOCALISER_VOXEL_MM`: it works at 2 mm
and draws at 1 mm, and a crop would tell it where the spine is.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.dataset.crop import MARGIN_MM_XYZ, around_levels
from inference.dataset.drawing import DrawsLevels, drawn_levels
from inference.dataset.errors import StudyUnusable
from inference.dataset.from_scan import localiser_facts
from inference.dataset.placing import bounds_lps_mm, mask_boxes, on_grid, smooth_on_grid
from inference.dataset.prepared import OTHER_VERTEBRA, SPACING_MM_ZYX, PreparedStudy, stored_hu
from inference.dataset.splits import PhantomRecipe
from inference.preprocess import PatientGrid, sample_volume
from inference.spine import Localiser, Spine
from inference.synthetic import Anatomy, Grid, PhantomSpec, Rendered, build_anatomy, default_grid, draw_spec, render
from inference.synthetic.phantom import reconstruction_circle
from inference.synthetic.spec import LEVELS
from inference.training.phantoms import coarser_grid, training_spec
from inference.volume import Volume

LEAST_VOXEL_MM_ZYX: Final = (0.5, 0.4, 0.4)
LOCALISER_VOXEL_MM: Final = 1.0
BOX_MARGIN_MM: Final = 4.0
_EVERYWHERE: Final = "everywhere"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A rendered part of a study with what the reconstruction circle leaves of it."""

    volume: Volume
    labels: NDArray[np.uint8]
    fracture: NDArray[np.uint8]


def phantom_spec(seed: int, recipe: PhantomRecipe) -> PhantomSpec:
    """The study of a seed in a recipe."""
    fractures = training_spec(seed).fractures if recipe.fractures == "enriched" else None
    return draw_spec(
        seed,
        fractures=fractures,
        coverage=recipe.coverage,
        protocol=recipe.protocol,
        slices=recipe.slices,
        matrix=recipe.matrix,
    )


def phantom_uid(seed: int, recipe: PhantomRecipe) -> str:
    """The study's UID: another for each seed and recipe, the same on every machine."""
    name = f"cspine phantom {seed} {recipe}".encode()
    return f"2.25.{int.from_bytes(hashlib.sha256(name).digest()[:15])}"


def prepare_phantom(
    seed: int,
    recipe: PhantomRecipe,
    localiser: Localiser | None = None,
    *,
    draws: DrawsLevels | None = None,
    spacing_mm_zyx: tuple[float, float, float] = SPACING_MM_ZYX,
    least_voxel_mm_zyx: tuple[float, float, float] = LEAST_VOXEL_MM_ZYX,
) -> PreparedStudy:
    """The prepared study of a seed.

    Without a localiser its levels are the generator's. With one they are what it answered on the whole study (the
    truth stays in `true_levels`), and the crop is around its answer; where it finds no spine, `levels` is None, and
    the crop is the truth's. With `draws` in its place they are named by the truth and drawn by it, for which the whole
    study need not be rendered. Raises StudyUnusable where the scan holds no cervical vertebra.
    """
    spec, uid = phantom_spec(seed, recipe), phantom_uid(seed, recipe)
    anatomy = build_anatomy(spec)
    full = default_grid(spec, anatomy)
    spine = None if localiser is None else localiser.locate(_render(anatomy, _whole(full, LOCALISER_VOXEL_MM)).volume)
    near = _near_spine(anatomy, coarser_grid(full, least_voxel_mm_zyx), spine, uid)
    part = _render(anatomy, near)
    grid = _kept_grid(part, spine, uid, spacing_mm_zyx)
    truth = np.minimum(on_grid(part.labels, part.volume.affine_lps, grid), OTHER_VERTEBRA)
    fracture = on_grid(part.fracture, part.volume.affine_lps, grid)
    broken = _truth(spec, part)
    hu = sample_volume(part.volume, grid).numpy()
    if draws is None:
        levels = _levels(truth, spine, localiser is not None, grid, anatomy, full)
    else:
        seen = Volume(hu=np.rint(hu).astype(np.int16), affine_lps=grid.affine_lps())
        levels = {"levels": drawn_levels(seen, truth, draws), "levels_from": "drawn", "true_levels": truth}
    return PreparedStudy(
        study_instance_uid=uid,
        patient=f"phantom-{seed}",
        source="phantom",
        hu=stored_hu(hu),
        grid=grid,
        **levels,
        fracture=fracture,
        boxes=mask_boxes(fracture > 0, grid, BOX_MARGIN_MM),
        truth=broken,
        facts=_facts(seed, spec, anatomy, part, full, broken)
        | localiser_facts(spine, localiser is not None)
        | {"recipe": vars(recipe).copy()},
    )


def _whole(grid: Grid, voxel_mm: float) -> tuple[Grid, NDArray[np.bool_] | None]:
    coarse = coarser_grid(grid, (voxel_mm,) * 3)
    return coarse, reconstruction_circle(coarse)


def _near_spine(anatomy: Anatomy, grid: Grid, spine: Spine | None, uid: str) -> tuple[Grid, NDArray[np.bool_] | None]:
    """The part of the study's grid near its cervical bones (and near what a localiser took for them)."""
    boxes = [anatomy.boxes_lps_mm[level] for level in LEVELS]
    low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
    found = None if spine is None else bounds_lps_mm(spine.column.labels > 0, spine.column.grid.affine_lps())
    if found is not None:
        low, high = np.minimum(low, found[0]), np.maximum(high, found[1])
    margin = np.array(MARGIN_MM_XYZ) + 2.0
    try:
        region = index_region(grid, low - margin, high + margin)
    except ValueError as error:
        raise StudyUnusable(uid, "the scan holds no cervical vertebra") from error
    return part_of(grid, region), reconstruction_circle(grid)[region[1], region[2]]


def index_region(grid: Grid, low_lps_mm: Any, high_lps_mm: Any) -> tuple[slice, slice, slice]:
    """The voxels of a grid between two LPS corners. Raises ValueError where it has none there."""
    ends = np.array([low_lps_mm, high_lps_mm])
    corners = np.array([[ends[i][0], ends[j][1], ends[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    index = ((corners - grid.affine_lps[:3, 3]) @ np.linalg.inv(grid.affine_lps[:3, :3]).T)[:, ::-1]
    # A hair of rounding must not add a slice.
    first = np.maximum(np.floor(index.min(axis=0) + 1e-6).astype(int), 0)
    stop = np.minimum(np.ceil(index.max(axis=0) - 1e-6).astype(int) + 1, grid.shape_zyx)
    if np.any(stop - first < 2):
        raise ValueError("the grid has no voxels between the corners")
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
    return z, y, x


def part_of(grid: Grid, region: tuple[slice, slice, slice]) -> Grid:
    """The grid of an index region of another."""
    affine = grid.affine_lps.copy()
    affine[:3, 3] += grid.affine_lps[:3, :3] @ np.array([s.start for s in region[::-1]], dtype=float)
    z, y, x = (s.stop - s.start for s in region)
    return Grid(shape_zyx=(z, y, x), affine_lps=affine)


def _render(anatomy: Anatomy, where: tuple[Grid, NDArray[np.bool_] | None]) -> _Part:
    grid, inside = where
    out: Rendered = render(anatomy, grid)
    if anatomy.spec.scanner.circle and inside is not None:
        for array, nothing in ((out.hu, -1024), (out.labels, 0), (out.fracture_mask, 0)):
            array[:, ~inside] = nothing
    volume = Volume(hu=np.maximum(out.hu, -1024), affine_lps=np.asarray(grid.affine_lps, dtype=float))
    return _Part(volume=volume, labels=out.labels, fracture=out.fracture_mask)


def _kept_grid(part: _Part, spine: Spine | None, uid: str, spacing_mm_zyx: tuple[float, float, float]) -> PatientGrid:
    true = bounds_lps_mm((part.labels > 0) & (part.labels <= len(LEVELS)), part.volume.affine_lps)
    found = None if spine is None else bounds_lps_mm(spine.column.labels > 0, spine.column.grid.affine_lps())
    bounds = found or true
    if true is None or bounds is None:
        raise StudyUnusable(uid, "the scan holds no cervical vertebra")
    return around_levels(bounds, part.volume, spacing_mm_zyx)


def _levels(
    truth: NDArray[np.uint8], spine: Spine | None, asked: bool, grid: PatientGrid, anatomy: Anatomy, full: Grid
) -> dict[str, Any]:
    if not asked:
        return {"levels": truth, "levels_from": "truth"}
    if spine is None:
        return {"levels": None, "levels_from": None, "true_levels": truth}
    affine = np.asarray(coarser_grid(full, (LOCALISER_VOXEL_MM,) * 3).affine_lps, dtype=float)
    return {"levels": smooth_on_grid(spine.mask, affine, grid), "levels_from": "localiser", "true_levels": truth}


def _truth(spec: PhantomSpec, part: _Part) -> tuple[int, ...]:
    """A level is broken where the spec breaks it and the scan shows some of the fracture, as in `describe`."""
    seen = [bool((part.fracture == number).any()) for number in range(1, 8)]
    asked = {fracture.level for fracture in spec.fractures}
    broken = [int(level in asked and bool(here)) for level, here in zip(LEVELS, seen, strict=True)]
    return max(broken), *broken


def _facts(
    seed: int,
    spec: PhantomSpec,
    anatomy: Anatomy,
    part: _Part,
    full: Grid,
    truth: tuple[int, ...],
) -> dict[str, Any]:
    """What a study is made of; of fractures and decoys only those that the scan shows."""
    fractures: defaultdict[str, list[str]] = defaultdict(list)
    severity: defaultdict[str, list[float]] = defaultdict(list)
    decoys: defaultdict[str, list[str]] = defaultdict(list)
    for fracture in (f for f in spec.fractures if truth[1 + LEVELS.index(f.level)]):
        fractures[fracture.level].append(fracture.kind)
        severity[fracture.level].append(fracture.severity)
    present = np.bincount(part.labels.ravel(), minlength=8)[1:8] > 0
    in_view = [level for level, here in zip(LEVELS, present, strict=True) if here]
    for decoy in anatomy.decoys:
        where = decoy.level or _EVERYWHERE
        if where in (*in_view, _EVERYWHERE) and decoy.kind not in decoys[where]:
            decoys[where].append(decoy.kind)
    everywhere = decoys.pop(_EVERYWHERE, [])
    scanner = spec.scanner
    return {
        "seed": seed,
        "fractures": dict(fractures),
        "severity": dict(severity),
        "decoys": dict(decoys),
        "decoys_everywhere": everywhere,
        "levels_in_view": in_view,
        "kernel": scanner.kernel,
        "slice_mm": scanner.slice_mm,
        "spacing_mm_zyx": [round(float(v), 4) for v in full.spacing_mm_xyz[::-1]],
        "slices": int(full.shape_zyx[0]),
        "noise_sd_hu": round(scanner.noise_sd, 1),
        "tilt_deg": round(scanner.tilt_deg, 1),
        "sex": spec.sex,
        "age": spec.age,
        # What the study would be as DICOM without compression.
        "source_bytes": int(np.prod(full.shape_zyx)) * 2,
        "crop": "levels",
    }
