"""What the scanner adds to the ideal picture: kernel, noise, streaks, motion.

Every slice has its own generator and everything else is a function of position: slabs and threads do not change the
picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from inference.synthetic.ct_noise import noise_filter, photon_load, shoulder_wedge, slice_taps, textured, white_slices
from inference.synthetic.grid import Grid
from inference.synthetic.spec import Scanner
from inference.synthetic.streaks import has_metal, metal_streaks, noise_size, shoulder_bands

if TYPE_CHECKING:
    from inference.synthetic.anatomy import Anatomy

Array = NDArray[Any]
# The shoulders' noise beyond the wedge, so that the SD between them is 1.5 to 2 times that of the neck.
_SHOULDER_RISE = 0.25
_BAND_HU = 30.0
_METAL_REACH_MM = 3.0


def shoulder_share(anatomy: Anatomy, z_mm: float) -> float:
    """0 above the shoulders, 1 below their top, smooth between."""
    top = anatomy.curve.frames["C6"][2, 3]
    return float(1 / (1 + np.exp((z_mm - top) / 9.0)))


def apply_scanner(hu: Array, anatomy: Anatomy, scanner: Scanner, grid: Grid, first: int) -> Array:
    """The slab as the scanner shows it; `first` is its first slice's index in the grid. float32 [z, y, x]."""
    _overshoot(hu, scanner, grid)
    pictures = _Slices(anatomy, scanner, grid)
    for k in range(hu.shape[0]):
        pictures.degrade(hu[k], first + k)
    return hu


def _overshoot(hu: Array, scanner: Scanner, grid: Grid) -> None:
    """Edge enhancement of a bone kernel, in place; invisible on a coarse grid."""
    sx, sy, _ = (float(v) for v in grid.spacing_mm_xyz)
    if not scanner.overshoot or max(sx, sy) >= 0.6:
        return
    smooth = gaussian_filter1d(gaussian_filter1d(hu, 0.6 / sy, axis=1, truncate=2.5), 0.6 / sx, axis=2, truncate=2.5)
    # Metal saturates long before it could ring.
    np.minimum(smooth, 3000, out=smooth)
    hu += np.float32(scanner.overshoot) * (np.minimum(hu, 3000) - smooth)


class _Slices:
    """Degrades the slices of one slab, in ascending order."""

    def __init__(self, anatomy: Anatomy, scanner: Scanner, grid: Grid) -> None:
        self.anatomy, self.scanner, self.grid = anatomy, scanner, grid
        self.sx, self.sy, self.sz = (float(v) for v in grid.spacing_mm_xyz)
        _, self.ny, self.nx = grid.shape_zyx
        sampling = (self.ny, self.nx, round(self.sy, 4), round(self.sx, 4))
        self.shape = noise_filter(
            round(scanner.noise_f0_per_mm, 4), round(scanner.noise_power, 4), round(scanner.pixel_mm, 4), *sampling
        )
        self.wedge = shoulder_wedge(*sampling)
        self.sd = scanner.noise_sd * min(1.0, (scanner.slice_mm / self.sz) ** 0.5)
        taps = slice_taps(round(max(scanner.slice_mm, self.sz), 4), round(self.sz, 4))
        self.white = white_slices(self._draw, taps)
        a = grid.affine_lps
        ix, iy = np.arange(self.nx, dtype=np.float32), np.arange(self.ny, dtype=np.float32)[:, None]
        self.plane_mm = [(np.float32(a[r, 0]) * ix, np.float32(a[r, 1]) * iy) for r in (0, 1)]
        self.to_index = np.linalg.inv(a)

    def _draw(self, number: int) -> Array:
        rng = np.random.default_rng([self.anatomy.spec.seed, 808, number + 4096])
        return rng.standard_normal((self.ny, self.nx), dtype=np.float32)

    def degrade(self, plane: Array, number: int) -> None:
        """Noise, cupping, streaks and motion of slice `number`, in place. `plane` is HU [y, x] without them."""
        a, scanner = self.grid.affine_lps, self.scanner
        z = float((a @ np.array([self.nx / 2, self.ny / 2, number, 1.0]))[2])
        share = shoulder_share(self.anatomy, z) * scanner.shoulder_streaks
        added = textured(self.white(number), self.shape, self.wedge if share > 0.02 else None, share)
        added *= np.float32(self.sd * (1 + _SHOULDER_RISE * share)) * photon_load(plane, self.sy, self.sx)
        x, y = (u + v + np.float32(a[r, 2] * number + a[r, 3]) for r, (u, v) in enumerate(self.plane_mm))
        body = plane > -300
        added += _cupping(x, y, self.anatomy, scanner.cupping_hu) * body
        if share > 0.02:
            added += self._bands(z, y, share) * body
        outside = self._metal_outside(number)
        if scanner.dental_streaks and has_metal(plane, outside):
            rng = np.random.default_rng([self.anatomy.spec.seed, 809, number + 4096])
            white = rng.standard_normal(noise_size(self.ny, self.nx, self.sy, self.sx), dtype=np.float32)
            added += metal_streaks(plane, self.sy, self.sx, outside, scanner.dental_streaks, white)
        plane += added
        if scanner.motion_mm:
            _move(plane, self.anatomy.spec.seed, z, scanner.motion_mm, self.sx, self.sy)

    def _bands(self, z: float, y: Array, share: float) -> Array:
        """At the middle column's y: a band crosses the whole picture. HU [y, 1]."""
        rows = y[:, self.nx // 2]
        return shoulder_bands(self.anatomy.spec.seed, z, rows, _BAND_HU * share)[:, None]

    def _metal_outside(self, number: int) -> Array:
        """(x, y) of the metal that lies in the slice but beyond the picture, mm from the first pixel [n, 2]."""
        metal = self.anatomy.metal_lps_mm
        if not len(metal):
            return np.zeros((0, 2), np.float32)
        index = metal @ self.to_index[:3, :3].T + self.to_index[:3, 3]
        near = np.abs(index[:, 2] - number) * self.sz < _METAL_REACH_MM + self.sz / 2
        inside = np.all((index[:, :2] >= -0.5) & (index[:, :2] <= np.array([self.nx, self.ny]) - 0.5), axis=1)
        return (index[near & ~inside][:, :2] * np.array([self.sx, self.sy])).astype(np.float32)


def _cupping(x: Array, y: Array, anatomy: Anatomy, depth_hu: float) -> Array:
    """Beam hardening: tissue near the neck's axis reads low, near the skin high. HU, of LPS x and y in mm."""
    axis = anatomy.curve.frames["C4"][:3, 3].astype(np.float32)
    dx, dy = x - axis[0], y - axis[1]
    share = np.minimum((dx * dx + dy * dy) * np.float32(1 / 70.0**2), 1) - np.float32(0.5)
    return np.asarray(share * np.float32(depth_hu))


def _move(plane: Array, seed: int, z_mm: float, motion_mm: float, sx: float, sy: float) -> None:
    """Swallowing or turning during part of the scan: slices double, in place."""
    rng = np.random.default_rng([seed, 818])
    phase, where = rng.uniform(0, 6.28), rng.uniform(15, 30)
    shift = float(motion_mm * np.sin(z_mm / where * 6.28 + phase) ** 3)
    dx, dy = shift / sx, 0.6 * shift / sy
    if abs(dx) + abs(dy) > 0.1:
        plane[...] = 0.5 * plane + 0.5 * _shifted(_shifted(plane, dy, 0), dx, 1)


def _shifted(plane: Array, by: float, axis: int) -> Array:
    """A picture moved by a fraction of pixels along an axis; its edge is repeated."""
    n = plane.shape[axis]
    whole = int(np.floor(by))
    part = np.float32(by - whole)
    here = np.take(plane, np.clip(np.arange(n) - whole, 0, n - 1), axis=axis)
    before = np.take(plane, np.clip(np.arange(n) - whole - 1, 0, n - 1), axis=axis)
    return np.asarray(here + (before - here) * part)
