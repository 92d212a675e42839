"""From implicit surfaces to voxels.

Smooth fields are sampled on a lattice of about 0.8 mm whose points are every n-th voxel, and interpolated to the
voxels; edges then become partial volumes by comparing the distance with the voxel's size. Fracture surfaces are
evaluated at the voxels themselves. Slices thicker than their pixels allow are averaged from thinner ones (`slices`).

A volume is made in slabs, so memory does not grow with its length. To keep the slabs from showing, every lattice
starts at a multiple of its stride along z, its strides along z are powers of two, and slabs start at multiples of the
largest: the sample points are the same whatever the slabs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import SKULL_LABEL, Anatomy
from inference.synthetic.breaks import Breaks, Cut
from inference.synthetic.decoration import Shade
from inference.synthetic.field import FAR_MM, Lattice, bounds_of, evaluate, placed
from inference.synthetic.grid import Grid
from inference.synthetic.noise import value_noise
from inference.synthetic.scanner import apply_scanner
from inference.synthetic.slices import LARGEST_STRIDE, slice_profile
from inference.synthetic.solid import Solid
from inference.synthetic.spec import Scanner

Array = NDArray[Any]
Box = tuple[slice, slice, slice]
_SLAB_VOXELS = 5_000_000
_JOINT_MM = 1.3
_FUSED_MM = 0.0
_SKIN_MM = 2.0
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


class _Canvas:
    """One slab being painted: float32 HU, labels and mask over a lattice of voxels."""

    def __init__(self, lattice: Lattice, spacing_zyx: Array, blur_mm: float, first: int = 0) -> None:
        self.lattice = lattice
        self.spacing = spacing_zyx
        self.first = first
        # The edge is as wide as a voxel seen from a random direction, or as the point spread where that is wider.
        voxel = float(np.cbrt(np.prod(np.minimum(spacing_zyx, 1.3 * spacing_zyx.min() + 0.4))))
        self.edge_mm = float(np.hypot(voxel, 2.5 * blur_mm))
        self.hu = np.full(lattice.shape, np.float32(-1000.0), dtype=np.float32)
        self.labels = np.zeros(lattice.shape, np.uint8)
        self.mask = np.zeros(lattice.shape, np.uint8)
        self.bone = np.zeros(lattice.shape, np.uint8)
        self.bone_share = np.zeros(lattice.shape, np.uint8)
        self._voxel_mm = voxel

    def steps(self, step_mm: float) -> tuple[int, int, int]:
        z, y, x = (max(1, int(step_mm / s + 0.25)) for s in self.spacing)
        return min(LARGEST_STRIDE, 1 << (z.bit_length() - 1)), y, x

    def box_of(self, lo: Array, hi: Array, step_mm: float) -> Box | None:
        """The voxels between two corners, from a multiple of the z stride on; None where there are none."""
        box = self.lattice.index_box(lo, hi)
        if box is None:
            return None
        over = (box[0].start + self.first) % self.steps(step_mm)[0]
        return slice(max(box[0].start - over, 0), box[0].stop), box[1], box[2]

    def truths(self) -> dict[str, Array]:
        return {"labels": self.labels, "fracture_mask": self.mask, "bone": self.bone, "bone_share": self.bone_share}

    def coarse(self, box: Box, step_mm: float) -> tuple[Lattice, tuple[int, int, int]]:
        """The sampling lattice over one voxel box and its stride in voxels."""
        steps = self.steps(step_mm)
        part = self.lattice.part(box)
        shape = tuple((n - 2) // s + 2 if n > 1 else 1 for n, s in zip(part.shape, steps, strict=True))
        affine = part.affine * np.array([steps[2], steps[1], steps[0], 1.0])
        return Lattice(affine=affine, shape=(shape[0], shape[1], shape[2])), steps

    def fine(self, field: Array, steps: tuple[int, int, int], box: Box) -> Array:
        """A coarse field at the voxels of a box, trilinear."""
        for axis, (step, where) in enumerate(zip(steps, box, strict=True)):
            if step == 1:
                continue
            index = np.arange(where.stop - where.start)
            low = index // step
            high = np.minimum(low + 1, field.shape[axis] - 1)
            weight = ((index % step) / np.float32(step)).astype(np.float32)
            weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
            a = np.take(field, low, axis=axis)
            b = np.take(field, high, axis=axis)
            b -= a
            b *= weight
            a += b
            field = a
        return field

    def cover(self, d: Array, soft_mm: float = 0.0) -> Array:
        """Share of each voxel inside the surface at distance 0."""
        width = np.float32(1 / (self.edge_mm + soft_mm))
        out = d * -width
        out += np.float32(0.5)
        return np.clip(out, 0, 1, out=out)

    def claim(self, label: int, box: Box, d: Array) -> None:
        """Enter a bone in the truth: `d` its voxel distances, mm, in the box."""
        share = d * np.float32(-255 / self._voxel_mm)
        share += np.float32(127.5)
        filled = np.clip(share, 0, 255, out=share).astype(np.uint8)
        more = filled > self.bone_share[box]
        self.bone_share[box][more] = filled[more]
        self.bone[box][more] = label
        if label != SKULL_LABEL:
            self.labels[box][d < 0] = label

    def texture(self, item: Solid, number: int, lattice: Lattice, field: Array) -> Array:
        """HU of one layer on the coarse lattice; the variation is worked out only where the layer shows."""
        layer = item.layers[number]
        reach = self.edge_mm + 1.5
        shows = field < reach - layer.depth_mm
        if number + 1 < len(item.layers):
            shows &= field > -item.layers[number + 1].depth_mm - reach
        out = np.full(lattice.shape, np.float32(layer.hu))
        z, y, x = np.nonzero(shows)
        index = np.stack([x, y, z]).astype(np.float32)
        at = lattice.affine[:, :3].astype(np.float32) @ index + lattice.affine[:, 3:].astype(np.float32)
        noise = value_noise(item.seed + number, (at[0], at[1], at[2]), layer.cell_mm)
        out[shows] += np.float32(layer.texture_hu) * noise
        return out

    def paint(
        self,
        item: Solid,
        box: Box,
        coarse: Lattice,
        steps: tuple[int, int, int],
        field: Array,
        cut: Array | None = None,
        extra: Array | None = None,
    ) -> Array:
        """Paint a solid's layers from its coarse field; returns the voxel distances."""
        d = self.fine(field, steps, box)
        here = self.hu[box]
        for number, layer in enumerate(item.layers):
            depth = d + np.float32(layer.depth_mm) if layer.depth_mm else d
            if cut is not None:
                depth = np.maximum(depth, cut)
            share = self.cover(depth, item.soft_mm)
            target: Any = np.float32(layer.hu)
            if layer.texture_hu:
                target = self.fine(self.texture(item, number, coarse, field), steps, box)
            if extra is not None and layer.depth_mm:
                target = target + extra
            share *= target - here
            here += share
        return d


def _field_of(item: Solid, canvas: _Canvas) -> tuple[Box, Lattice, tuple[int, int, int], Array] | None:
    box = canvas.box_of(item.lo - canvas.edge_mm, item.hi + canvas.edge_mm, item.step_mm)
    if box is None:
        return None
    coarse, steps = canvas.coarse(box, item.step_mm)
    return box, coarse, steps, evaluate(item.prims, coarse)


def _paint_simple(item: Solid, canvas: _Canvas, within: Array | None = None) -> None:
    """Paint a solid; `within`, distances over the whole slab, keeps it inside another surface."""
    found = _field_of(item, canvas)
    if found is not None and found[3].min() < canvas.edge_mm:
        canvas.paint(item, *found, cut=None if within is None else within[found[0]])


def _paint_flesh(item: Solid, canvas: _Canvas) -> Array:
    """Paint the skin's content; returns how far inside it, less the skin's own thickness, every voxel lies."""
    inside = np.full(canvas.lattice.shape, np.float32(FAR_MM))
    found = _field_of(item, canvas)
    if found is not None:
        inside[found[0]] = canvas.paint(item, *found) + np.float32(_SKIN_MM)
    return inside


class _Joints:
    """Bones on one common lattice, so that neighbours can be kept apart by a cartilage gap."""

    def __init__(self, anatomy: Anatomy, canvas: _Canvas) -> None:
        self.anatomy, self.canvas = anatomy, canvas
        whole = tuple(slice(0, n) for n in canvas.lattice.shape)
        self.coarse, self.steps = canvas.coarse((whole[0], whole[1], whole[2]), 0.8)
        self.parts: dict[str, tuple[Box, list[Array]]] = {}
        for bone in anatomy.bones:
            moves = [c.move for c in anatomy.breaks[bone.name].cuts] if bone.name in anatomy.breaks else []
            lo, hi = bone.lo.copy(), bone.hi.copy()
            variants = [bone.prims] + [placed(bone.prims, m) for m in moves]
            for v in variants[1:]:
                a, b = bounds_of(v)
                lo, hi = np.minimum(lo, a - 1.5), np.maximum(hi, b + 1.5)
            box = self.coarse.index_box(lo - canvas.edge_mm, hi + canvas.edge_mm)
            if box is None:
                continue
            part = self.coarse.part(box)
            self.parts[bone.name] = (box, [evaluate(v, part) for v in variants])
        names = [b.name for b in anatomy.bones if b.name in self.parts]
        for above, below in pairwise(names):
            self._keep_apart(above, below)

    def _keep_apart(self, a: str, b: str) -> None:
        gap = np.float32(_FUSED_MM if self.anatomy.spec.fused == f"{a}-{b}" else _JOINT_MM)
        box_a, fields_a = self.parts[a]
        box_b, fields_b = self.parts[b]
        common = tuple(slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(box_a, box_b, strict=True))
        if any(c.start >= c.stop for c in common):
            return
        in_a = tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(common, box_a, strict=True))
        in_b = tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(common, box_b, strict=True))
        whole_a, whole_b = fields_a[0][in_a].copy(), fields_b[0][in_b].copy()
        for fields, where, other in ((fields_a, in_a, whole_b), (fields_b, in_b, whole_a)):
            whole = fields[0][where]
            np.maximum(whole, (whole - other + gap) * np.float32(0.5), out=whole)
            # A fragment that has moved gives way altogether, so that a fracture leaves its neighbours as they were.
            for fragment in fields[1:]:
                here = fragment[where]
                np.maximum(here, gap - other, out=here)

    def voxel_box(self, box: Box) -> Box:
        z, y, x = (
            slice(b.start * s, min((b.stop - 1) * s + 1, n))
            for b, s, n in zip(box, self.steps, self.canvas.lattice.shape, strict=True)
        )
        return z, y, x

    def paint(self) -> None:
        for bone in self.anatomy.bones:
            if bone.name not in self.parts:
                continue
            box, fields = self.parts[bone.name]
            if min(float(f.min()) for f in fields) >= self.canvas.edge_mm:
                continue
            voxels, part = self.voxel_box(box), self.coarse.part(box)
            broken = self.anatomy.breaks.get(bone.name)
            if broken is None:
                d = self.canvas.paint(bone, voxels, part, self.steps, fields[0])
            else:
                d = _paint_broken(bone, broken, fields, voxels, part, self.steps, self.canvas)
            if bone.label:
                self.canvas.claim(bone.label, voxels, d)


def _blood(c: Array, hu: float) -> Array:
    return np.float32(hu) * np.exp(np.minimum(np.abs(c), 30) * np.float32(-0.25))


def _bruises(broken: Breaks, lattice: Lattice) -> tuple[Array, Array]:
    extra = np.zeros(lattice.shape, np.float32)
    marked = np.zeros(lattice.shape, bool)
    for b in broken.bruises:
        inv = np.hstack([np.eye(3), -np.asarray(b.centre, float)[:, None]]) / np.asarray(b.radii_mm, float)[:, None]
        u, v, w = lattice.coordinates(inv)
        r = u * u + v * v + w * w
        extra += np.float32(b.hu) * np.clip(1.6 - 1.6 * r, 0, 1)
        if b.marks:
            marked |= r < 0.8
    return extra, marked


def _paint_broken(
    bone: Solid,
    broken: Breaks,
    fields: list[Array],
    voxels: Box,
    coarse: Lattice,
    steps: tuple[int, int, int],
    canvas: _Canvas,
) -> Array:
    """Paint a bone piece by piece; returns the voxel distances of what is left, and marks the gaps in the mask."""
    here = canvas.lattice.part(voxels)
    extra, marked = _bruises(broken, here)
    intact = canvas.fine(fields[0], steps, voxels)
    marked &= intact < 0
    share = canvas.cover(intact)
    share *= 55 - canvas.hu[voxels]
    canvas.hu[voxels] += share
    opening = np.full(here.shape, np.float32(-FAR_MM), np.float32)
    for crack in broken.cracks:
        s, half = np.abs(crack.surface.distance(here)), crack.half_gap(here)
        extra += _blood(s, crack.blood_hu) * (half > 0)
        np.maximum(opening, half - s, out=opening)
        marked |= (half > 0.1) & (s < half + 0.7) & (intact < 0.4)
    main = opening.copy()
    pieces: list[tuple[Array, Array, Array]] = []
    for cut, field in zip(broken.cuts, fields[1:], strict=True):
        c = cut.distance(here)
        np.maximum(main, np.float32(cut.gap_mm / 2) - c, out=main)
        pieces.append(_piece(cut, field, here, opening, extra, canvas, steps, voxels))
        marked |= (np.abs(c) < cut.gap_mm / 2 + 0.7) & (intact < 0.4)
        marked |= pieces[-1][2]
        extra = extra + _blood(c, cut.blood_hu)
    canvas.paint(bone, voxels, coarse, steps, fields[0], main, extra)
    left: Array = np.maximum(intact, main)
    for (cutting, more, _), field in zip(pieces, fields[1:], strict=True):
        d = canvas.paint(bone, voxels, coarse, steps, field, cutting, more)
        np.minimum(left, np.maximum(d, cutting), out=left)
    canvas.mask[voxels][marked] = bone.label
    return left


def _piece(
    cut: Cut,
    field: Array,
    here: Lattice,
    opening: Array,
    extra: Array,
    canvas: _Canvas,
    steps: tuple[int, int, int],
    voxels: Box,
) -> tuple[Array, Array, Array]:
    moved = cut.distance(here, cut.move)
    d = canvas.fine(field, steps, voxels)
    marked = (np.abs(moved) < cut.gap_mm / 2 + 0.7) & (d < 0.4)
    return np.maximum(moved + np.float32(cut.gap_mm / 2), opening), extra + _blood(moved, cut.blood_hu), marked


def _paint_slab(anatomy: Anatomy, lattice: Lattice, spacing: Array, blur_mm: float, first: int) -> _Canvas:
    canvas = _Canvas(lattice, spacing, blur_mm, first)
    for item in anatomy.outside:
        _paint_simple(item, canvas)
    inside = _paint_flesh(anatomy.flesh, canvas)
    for item in anatomy.soft:
        _paint_simple(item, canvas, None if item.name in _OPEN else inside)
    del inside
    joints = _Joints(anatomy, canvas)
    joints.paint()
    for item in anatomy.over:
        _paint_simple(item, canvas)
    for shade in anatomy.shades:
        _shadow(shade, canvas)
    return canvas


def _shadow(shade: Shade, canvas: _Canvas) -> None:
    box = canvas.lattice.index_box(*bounds_of(shade.prims))
    if box is not None:
        share = canvas.cover(evaluate(shade.prims, canvas.lattice.part(box)), 0.3)
        canvas.hu[box] += share * np.float32(shade.hu) * (canvas.hu[box] > -200)


def render(
    anatomy: Anatomy, grid: Grid, *, scanner: Scanner | None = None, ideal: bool = False, workers: int = 1
) -> Rendered:
    """Render any grid. `scanner` None is the spec's own; `ideal` leaves out noise, streaks and kernel altogether.

    A slice averages over the scanner's slice thickness (`ideal`: over the distance to the next), or over the grid's
    spacing where that is more. On a grid coarser than the scanner's own voxels the noise is what averaging would
    leave. Neither `workers` nor the size of the slabs changes a voxel by more than 1 HU.
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
    canvas = _Canvas(Lattice(affine=grid.affine_lps[:3], shape=grid.shape_zyx), spacing, 0.0)
    joints = _Joints(anatomy, canvas)
    out = {}
    for name, (box, fields) in joints.parts.items():
        out[name] = np.full(grid.shape_zyx, np.float32(FAR_MM), np.float32)
        out[name][joints.voxel_box(box)] = canvas.fine(fields[0], joints.steps, joints.voxel_box(box))
    return out
