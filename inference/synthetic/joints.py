"""The articulating bones: kept apart by cartilage, and painted piece by piece where they are broken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import Anatomy
from inference.synthetic.breaks import Breaks, Cut
from inference.synthetic.canvas import Box, Canvas
from inference.synthetic.field import FAR_MM, Lattice, bounds_of, evaluate, placed
from inference.synthetic.solid import Solid

Array = NDArray[Any]
_JOINT_MM = 1.3
_FUSED_MM = 0.0


class Joints:
    """Bones on one common lattice, so that neighbours can be kept apart by a cartilage gap."""

    def __init__(self, anatomy: Anatomy, canvas: Canvas) -> None:
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
    canvas: Canvas,
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
    canvas: Canvas,
    steps: tuple[int, int, int],
    voxels: Box,
) -> tuple[Array, Array, Array]:
    moved = cut.distance(here, cut.move)
    d = canvas.fine(field, steps, voxels)
    marked = (np.abs(moved) < cut.gap_mm / 2 + 0.7) & (d < 0.4)
    return np.maximum(moved + np.float32(cut.gap_mm / 2), opening), extra + _blood(moved, cut.blood_hu), marked
