"""From implicit surfaces to voxels: paint, average to slices, degrade.

A volume is made in slabs, so memory does not grow with its length. Slabs start at multiples of the largest stride of
the canvas's lattices: the sample points are the same whatever the slabs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import Anatomy
from inference.synthetic.canvas import SKIN_MM, Canvas, paint_flesh, paint_solid
from inference.synthetic.collar import paint_collar
from inference.synthetic.decoration import Shade
from inference.synthetic.field import FAR_MM, Lattice, bounds_of, evaluate
from inference.synthetic.grid import Grid
from inference.synthetic.joints import Joints
from inference.synthetic.scanner import apply_scanner
from inference.synthetic.slices import slice_profile
from inference.synthetic.spec import Scanner

Array = NDArray[Any]
_SLAB_VOXELS = 5_000_000
_OPEN = ("airway", "mouth-air")
_TRUTHS = ("labels", "fracture_mask", "bone", "bone_share")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """One rendered grid, arrays [z, y, x].

    `hu` int16. `labels` uint8: the vertebra whose bone holds the voxel's centre, 1-7 = C1-C7, 8-19 = T1-T12 (as in the
    RSNA 2022 segmentations), 20-24 = L1-L5. `fracture_mask` uint8: 0 or the level 1-7 of a fracture zone. `bone` and
    `bone_share` uint8 are soft truth for training: the bone that fills most of the voxel (codes of `labels`, 25 =
    skull) and how much of the voxel it fills, 0-255; a voxel less than half full has a bone there but no label.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    fracture_mask: NDArray[np.uint8]
    bone: NDArray[np.uint8]
    bone_share: NDArray[np.uint8]


def _paint_slab(anatomy: Anatomy, lattice: Lattice, spacing: Array, blur_mm: float, first: int) -> Canvas:
    canvas = Canvas(lattice, spacing, blur_mm, first)
    for item in anatomy.outside:
        paint_solid(item, canvas)
    inside = paint_flesh(anatomy.flesh, canvas)
    paint_collar(anatomy, canvas, inside - np.float32(SKIN_MM))
    for item in anatomy.soft:
        paint_solid(item, canvas, None if item.name in _OPEN else inside)
    del inside
    joints = Joints(anatomy, canvas)
    joints.paint()
    for item in anatomy.over:
        paint_solid(item, canvas)
    for shade in anatomy.shades:
        _shadow(shade, canvas)
    return canvas


def _shadow(shade: Shade, canvas: Canvas) -> None:
    box = canvas.lattice.index_box(*bounds_of(shade.prims))
    if box is not None:
        share = canvas.cover(evaluate(shade.prims, canvas.lattice.part(box)), 0.3)
        canvas.hu[box] += share * np.float32(shade.hu) * (canvas.hu[box] > -200)


def render(
    anatomy: Anatomy,
    grid: Grid,
    *,
    scanner: Scanner | None = None,
    ideal: bool = False,
    workers: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Rendered:
    """Render any grid. `scanner` None is the spec's own; `ideal` leaves out noise, streaks and kernel altogether.

    A slice averages over the scanner's slice thickness (`ideal`: over the distance to the next), or over the grid's
    spacing where that is more. On a grid coarser than the scanner's own voxels the noise is what averaging would
    leave. Neither `workers` nor the size of the slabs changes a voxel by more than 1 HU. `progress` is told the share
    of the slices that are done, from any of the threads.
    """
    chosen = anatomy.spec.scanner if scanner is None else scanner
    nz, ny, nx = grid.shape_zyx
    spacing = np.linalg.norm(grid.affine_lps[:3, :3], axis=0)[::-1]
    profile = slice_profile(spacing, 0.0 if ideal else chosen.slice_mm)
    fine = spacing / np.array([profile.per_slice, 1, 1])
    blur = 0.0 if ideal else chosen.psf_mm
    out = Rendered(
        hu=np.empty(grid.shape_zyx, np.int16), **{name: np.empty(grid.shape_zyx, np.uint8) for name in _TRUTHS}
    )

    def slab(start: int) -> None:
        stop = min(start + rows, nz)
        canvas = _paint_slab(anatomy, profile.lattice(grid, start, stop), fine, blur, start * profile.per_slice)
        hu, truths = profile.averaged(canvas.hu, canvas.truths())
        shown = hu if ideal else apply_scanner(hu, anatomy, chosen, grid, start)
        out.hu[start:stop] = np.rint(np.clip(shown, -1024, 3071))
        for name, values in truths.items():
            getattr(out, name)[start:stop] = values
        done.append(stop - start)
        if progress is not None:
            progress(sum(done) / nz)

    done: list[int] = []
    rows = profile.rows(nz, ny * nx, _SLAB_VOXELS)
    starts = range(0, nz, rows)
    if workers > 1 and len(starts) > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(slab, starts))
    else:
        for start in starts:
            slab(start)
    return out


def bone_distances(anatomy: Anatomy, grid: Grid) -> dict[str, Array]:
    """How far every voxel [z, y, x] lies from each unbroken bone near the grid, mm, negative inside.

    Articulating neighbours are kept apart as in a picture; distances are capped at `FAR_MM`.
    """
    spacing = np.linalg.norm(grid.affine_lps[:3, :3], axis=0)[::-1]
    canvas = Canvas(Lattice(affine=grid.affine_lps[:3], shape=grid.shape_zyx), spacing, 0.0)
    joints = Joints(anatomy, canvas)
    out = {}
    for name, (box, fields) in joints.parts.items():
        out[name] = np.full(grid.shape_zyx, np.float32(FAR_MM), np.float32)
        out[name][joints.voxel_box(box)] = canvas.fine(fields[0], joints.steps, joints.voxel_box(box))
    return out
