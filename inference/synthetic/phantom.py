"""A whole study: grid, voxels and truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import Anatomy, build_anatomy
from inference.synthetic.field import rotation
from inference.synthetic.grid import Grid
from inference.synthetic.render import render
from inference.synthetic.spec import PhantomSpec
from inference.synthetic.truth import describe
from inference.volume import Volume

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """A synthetic study: `volume`, `labels` and `fracture_mask` (uint8 [z, y, x]) and the `truth` as plain data."""

    spec: PhantomSpec
    volume: Volume
    labels: NDArray[np.uint8]
    fracture_mask: NDArray[np.uint8]
    truth: dict[str, Any]


def z_range(spec: PhantomSpec, anatomy: Anatomy) -> tuple[float, float]:
    """Lowest and highest slice position of the coverage, LPS z mm."""
    f = anatomy.curve.frames

    def z(name: str) -> float:
        return float(f[name][2, 3])

    t, b, s = spec.cut_top, spec.cut_bottom, spec.scale
    if spec.coverage == "cspine":
        top = z("skull") + (8 + 62 * t) * s if t > 0.15 else z("C2") + (t / 0.15) * 40
        low = z("T1") + (z("T5") - z("T1")) * b if b > 0.2 else z("C6") + (z("T1") - z("C6")) * (b / 0.2)
        return low, top
    if spec.coverage == "neck":
        return z("T1") + (z("T6") - z("T1")) * b, z("skull") + (40 + 90 * t) * s
    if spec.coverage == "head":
        return z("C1") - 12 + (z("C4") - z("C1")) * b, z("skull") + (125 + 20 * t) * s
    if spec.coverage == "wholebody":
        return z("L5") - 140 + 90 * b, z("skull") + (60 + 85 * t) * s
    if spec.coverage == "chest":
        return z("L2") + 40 * (b - 0.5), z("T1") - 14 + 16 * t
    return z("L5") - 150 + 60 * b, z("T9") + 30 * (t - 0.5)


def default_grid(spec: PhantomSpec, anatomy: Anatomy) -> Grid:
    """The study's own grid: coverage, slice spacing, FOV, gantry tilt. `spec.slices` > 0 fixes the slice count.

    With a fixed count and a spine coverage the slices are centred on the neck.
    """
    low, high = z_range(spec, anatomy)
    sc = spec.scanner
    if spec.slices:
        middle = 0.5 * (low + high)
        if spec.coverage in ("cspine", "neck"):
            middle = 0.5 * (anatomy.curve.frames["C1"][2, 3] + anatomy.curve.frames["C7"][2, 3])
        count = spec.slices
        low = middle - (count - 1) / 2 * sc.spacing_mm
    else:
        count = max(int((high - low) / sc.spacing_mm), 8)
    levels = [f[:3, 3] for name, f in anatomy.curve.frames.items() if low <= f[2, 3] <= low + count * sc.spacing_mm]
    centre = np.mean(levels, axis=0) if levels else anatomy.curve.frames["C4"][:3, 3]
    ahead = {"cspine": -8, "neck": -22, "head": -25}.get(spec.coverage, -60)
    if spec.fov_mm > 215 and spec.coverage in ("cspine", "neck"):
        ahead -= 12
    pixel = spec.fov_mm / spec.matrix
    affine = np.eye(4)
    affine[:3, :3] = rotation(sc.tilt_deg) @ np.diag([pixel, pixel, 1.0])
    # With a tilted gantry the couch still moves along z: slices are sheared, not the stack rotated.
    affine[:3, 2] = [0, 0, sc.spacing_mm]
    corner = np.array(
        [
            centre[0] + spec.fov_shift_mm[0],
            centre[1] + ahead + spec.fov_shift_mm[1],
            low + (count - 1) / 2 * sc.spacing_mm,
        ]
    )
    affine[:3, 3] = corner - affine[:3, :3] @ np.array([(spec.matrix - 1) / 2, (spec.matrix - 1) / 2, (count - 1) / 2])
    return Grid(shape_zyx=(count, spec.matrix, spec.matrix), affine_lps=affine)


def make_phantom(
    spec: PhantomSpec,
    *,
    grid: Grid | None = None,
    workers: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Phantom:
    """Render the study of a spec (on its own grid, or another) with its truth; `progress` as in `render`."""
    anatomy = build_anatomy(spec)
    grid = default_grid(spec, anatomy) if grid is None else grid
    out = render(anatomy, grid, workers=workers, progress=progress)
    cut: frozenset[int] = frozenset()
    if spec.scanner.circle:
        outside = ~reconstruction_circle(grid)
        cut = frozenset(int(label) for label in np.unique(out.labels[:, outside]))
        out.hu[:, outside] = -1024
        out.labels[:, outside] = 0
        out.fracture_mask[:, outside] = 0
    volume = Volume(hu=out.hu, affine_lps=np.asarray(grid.affine_lps, float), notes=("synthetic",))
    return Phantom(
        spec=spec,
        volume=volume,
        labels=out.labels,
        fracture_mask=out.fracture_mask,
        truth=describe(spec, anatomy, volume, out.labels, out.fracture_mask, cut),
    )


def reconstruction_circle(grid: Grid) -> NDArray[np.bool_]:
    """The pixels [y, x] inside the circle that the scanner reconstructs."""
    _, ny, nx = grid.shape_zyx
    y, x = np.ogrid[:ny, :nx]
    inside: NDArray[np.bool_] = (y - (ny - 1) / 2) ** 2 + (x - (nx - 1) / 2) ** 2 <= (min(nx, ny) / 2) ** 2
    return inside
