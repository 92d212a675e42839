"""One slab being painted: solids become Hounsfield units, labels and shares of voxels.

Smooth fields are sampled on a lattice of about 0.8 mm whose points are every n-th voxel, and interpolated to the
voxels; edges then become partial volumes by comparing the distance with the voxel's size. To keep slabs from
showing, every lattice starts at a multiple of its stride along z, and its strides along z are powers of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.anatomy import SKULL_LABEL
from inference.synthetic.field import FAR_MM, Lattice, evaluate
from inference.synthetic.noise import value_noise
from inference.synthetic.slices import LARGEST_STRIDE
from inference.synthetic.solid import Layer, Solid

Array = NDArray[Any]
Box = tuple[slice, slice, slice]
# Variation with cells of at least this size, and so many lattice steps, is worked out on every other one.
_SMOOTH_CELL_MM = 5.0
_SMOOTH_STEPS = 4.0
SKIN_MM = 2.0


class Canvas:
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
        # Along x first, while the field is small: the last axis copies whole planes.
        for axis in (2, 1, 0):
            step, where = steps[axis], box[axis]
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
        smooth = layer.cell_mm >= max(_SMOOTH_CELL_MM, _SMOOTH_STEPS * lattice_mm(lattice))
        noise = _smooth_noise if smooth else _sparse_noise
        noise(out, shows, item.seed + number, lattice, layer)
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


def lattice_mm(lattice: Lattice) -> float:
    """The larger of a lattice's steps in the plane, mm."""
    return float(np.linalg.norm(lattice.affine[:, :2], axis=0).max())


def _sparse_noise(out: Array, shows: Array, seed: int, lattice: Lattice, layer: Layer) -> None:
    """Add a layer's variation to the points where it shows."""
    z, y, x = np.nonzero(shows)
    out[shows] += np.float32(layer.texture_hu) * _noise_at(seed, lattice, layer, x, y, z)


def _smooth_noise(out: Array, shows: Array, seed: int, lattice: Lattice, layer: Layer) -> None:
    """The same for cells of many points: worked out at every other row and column, everywhere, and interpolated."""
    nz, ny, nx = lattice.shape
    if not shows.any():
        return
    z, y, x = np.meshgrid(np.arange(nz), np.arange(0, ny + 1, 2), np.arange(0, nx + 1, 2), indexing="ij")
    coarse = _noise_at(seed, lattice, layer, x.ravel(), y.ravel(), z.ravel()).reshape(x.shape)
    for axis, n in ((1, ny), (2, nx)):
        index = np.arange(n)
        low = np.take(coarse, index // 2, axis=axis)
        high = np.take(coarse, (index + 1) // 2, axis=axis)
        coarse = (low + high) * np.float32(0.5)
    out += np.float32(layer.texture_hu) * coarse


def _noise_at(seed: int, lattice: Lattice, layer: Layer, x: Array, y: Array, z: Array) -> Array:
    index = np.stack([x, y, z]).astype(np.float32)
    at = lattice.affine[:, :3].astype(np.float32) @ index + lattice.affine[:, 3:].astype(np.float32)
    return value_noise(seed, (at[0], at[1], at[2]), layer.cell_mm)


def field_of(item: Solid, canvas: Canvas) -> tuple[Box, Lattice, tuple[int, int, int], Array] | None:
    box = canvas.box_of(item.lo - canvas.edge_mm, item.hi + canvas.edge_mm, item.step_mm)
    if box is None:
        return None
    coarse, steps = canvas.coarse(box, item.step_mm)
    return box, coarse, steps, evaluate(item.prims, coarse)


def paint_solid(item: Solid, canvas: Canvas, within: Array | None = None) -> None:
    """Paint a solid; `within`, distances over the whole slab, keeps it inside another surface."""
    found = field_of(item, canvas)
    if found is not None:
        found = _cropped(*found, canvas.edge_mm + item.soft_mm)
    if found is not None:
        canvas.paint(item, *found, cut=None if within is None else within[found[0]])


def _cropped(
    box: Box, coarse: Lattice, steps: tuple[int, int, int], field: Array, reach_mm: float
) -> tuple[Box, Lattice, tuple[int, int, int], Array] | None:
    """The part of a sampled field that comes within `reach_mm` of the surface; None where none does."""
    near = field < reach_mm
    parts, voxels = [], []
    for axis, (where, step) in enumerate(zip(box, steps, strict=True)):
        at = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(at):
            return None
        # From an even point on, so that every other point is the same one in every slab.
        first, last = max(int(at[0]) - 1, 0) // 2 * 2, min(int(at[-1]) + 1, field.shape[axis] - 1)
        parts.append(slice(first, last + 1))
        stop = where.stop if last == field.shape[axis] - 1 else min(where.start + last * step + 1, where.stop)
        voxels.append(slice(where.start + first * step, stop))
    inner = (parts[0], parts[1], parts[2])
    return (voxels[0], voxels[1], voxels[2]), coarse.part(inner), steps, field[inner]


def paint_flesh(item: Solid, canvas: Canvas) -> Array:
    """Paint the skin's content; returns how far inside it, less the skin's own thickness, every voxel lies."""
    inside = np.full(canvas.lattice.shape, np.float32(FAR_MM))
    found = field_of(item, canvas)
    if found is not None:
        inside[found[0]] = canvas.paint(item, *found) + np.float32(SKIN_MM)
    return inside
