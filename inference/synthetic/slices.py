"""Slices with a thickness: painted as thinner slices and averaged, as the scanner's beam averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Lattice
from inference.synthetic.grid import Grid

Array = NDArray[Any]
# Slabs of thin slices start at multiples of this, so that every stride of the renderer's lattices divides them.
LARGEST_STRIDE: Final = 8
_THIN_MM: Final = 0.75
_NEGLIGIBLE: Final = 0.04


@dataclass(frozen=True, kw_only=True)
class SliceProfile:
    """`per_slice` thin slices from one slice to the next, and the `weights` (odd, symmetric, sum 1) of one slice."""

    per_slice: int
    weights: tuple[float, ...]

    @property
    def margin(self) -> int:
        """Thin slices needed beyond the middle of the first and of the last slice."""
        return len(self.weights) // 2

    def rows(self, slices: int, pixels: int, most_voxels: int) -> int:
        """Slices in a slab of at most about `most_voxels` thin voxels; a slab starts at an aligned thin slice."""
        aligned = LARGEST_STRIDE // int(np.gcd(LARGEST_STRIDE, self.per_slice))
        wanted = most_voxels // (pixels * self.per_slice)
        return max(aligned, min(wanted, slices + aligned - 1) // aligned * aligned)

    def lattice(self, grid: Grid, start: int, stop: int) -> Lattice:
        """The thin slices of a grid's slices [start, stop)."""
        _, ny, nx = grid.shape_zyx
        affine = np.array(grid.affine_lps[:3], dtype=float)
        affine[:, 2] /= self.per_slice
        # In thin slices: `start * per_slice` is the number of the lattice's first slice, a margin below the slab.
        affine[:, 3] += affine[:, 2] * (start * self.per_slice - self.margin)
        count = (stop - start - 1) * self.per_slice + 1 + 2 * self.margin
        return Lattice(affine=affine, shape=(count, ny, nx))

    def averaged(self, hu: Array, truths: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Slices [z, y, x] from thin ones.

        HU are averaged. A label is that of the slice's middle. A fracture is in the mask where any thin slice of the
        inner profile has it, so that one between two middles is not lost. `bone` is the bone that fills most of any
        thin slice, `bone_share` what it fills of the whole thickness.
        """
        if len(self.weights) == 1 and self.per_slice == 1:
            return hu, truths
        starts = range(0, hu.shape[0] - 2 * self.margin, self.per_slice)
        if len(self.weights) == 1:
            return hu[:: self.per_slice].copy(), {name: v[:: self.per_slice] for name, v in truths.items()}
        mean = np.empty((len(starts), *hu.shape[1:]), np.float32)
        out = {name: np.empty(mean.shape, np.uint8) for name in truths}
        for k, first in enumerate(starts):
            where = slice(first, first + len(self.weights))
            mean[k] = np.tensordot(np.array(self.weights, np.float32), hu[where], 1)
            out["labels"][k] = truths["labels"][first + self.margin]
            out["fracture_mask"][k] = self._any(truths["fracture_mask"][where])
            out["bone"][k], out["bone_share"][k] = self._filled(truths["bone"][where], truths["bone_share"][where])
        return mean, out

    def _any(self, mask: Array) -> Array:
        inner = [j for j, w in enumerate(self.weights) if w >= 0.5 * max(self.weights)]
        return np.asarray(mask[inner[0] : inner[-1] + 1].max(axis=0))

    def _filled(self, bone: Array, share: Array) -> tuple[Array, Array]:
        chosen, most = bone[self.margin].copy(), share[self.margin].astype(np.uint8)
        for j in range(len(self.weights)):
            more = share[j] > most
            if more.any():
                chosen[more], most[more] = bone[j][more], share[j][more]
        total = np.zeros(chosen.shape, np.float32)
        for j, weight in enumerate(self.weights):
            total += np.float32(weight) * share[j] * (bone[j] == chosen)
        filled = np.rint(total).astype(np.uint8)
        return np.where(filled > 0, chosen, 0).astype(np.uint8), filled


def slice_profile(spacing_zyx: Array, thickness_mm: float) -> SliceProfile:
    """How slices `thickness_mm` thick are made at a voxel spacing; at least as thick as their distance.

    Thin slices are about 0.75 mm or as thick as a pixel is wide, whichever is more: a voxel of that shape is blurred by
    the renderer itself.
    """
    step, _, pixel = (float(s) for s in spacing_zyx)
    thin = max(_THIN_MM, 1.25 * pixel)
    per_slice = max(1, int(np.ceil(step / thin - 0.35)))
    thickness, fine = max(thickness_mm, step), step / per_slice
    reach = int(np.ceil(thickness / 2 / fine + 0.5))
    centres = np.arange(-reach, reach + 1) * fine
    inside = np.minimum(centres + fine / 2, thickness / 2) - np.maximum(centres - fine / 2, -thickness / 2)
    weights = np.maximum(inside, 0) / thickness
    weights = weights[weights >= _NEGLIGIBLE] if weights.max() > _NEGLIGIBLE else weights[weights > 0]
    weights /= weights.sum()
    return SliceProfile(per_slice=per_slice, weights=tuple(float(w) for w in weights))
