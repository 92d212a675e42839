"""What the scanner adds to the ideal picture: kernel, noise, streaks, motion.

Noise is filtered white noise. The filter's radial shape, f * exp(-(f / f0) ** p), was fitted to autocorrelations
measured on public CT slices. It is defined in cycles per mm, so on a grid coarser than the scanner's own the noise
shrinks as averaging would make it. Every slice has its own generator: slabs do not change the picture.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from inference.synthetic.grid import Grid
from inference.synthetic.spec import Scanner

if TYPE_CHECKING:
    from inference.synthetic.anatomy import Anatomy

Array = NDArray[Any]
# (f0 in cycles per mm, exponent) for lag-1 to lag-4 correlations of .46 -.14 -.10 .04 (bone kernel at 0.31 mm) and
# .81 .45 .11 -.08 (soft kernel at 0.29 mm).
_SPECTRUM = {"bone": (1.0, 3.0), "soft": (0.47, 2.0)}


@lru_cache(maxsize=32)
def _noise_filter(kernel: str, pixel_mm: float, ny: int, nx: int, sy: float, sx: float) -> Array:
    """rfft2 filter that turns unit white noise on the grid into noise of SD 1 at the scanner's own pixel."""
    f0, power = _SPECTRUM[kernel]

    def amplitude(f: Array) -> Array:
        return f * np.exp(-((f / f0) ** power))

    native = np.fft.fftfreq(128, pixel_mm)
    total = (amplitude(np.hypot(native[:, None], native)) ** 2).sum() * (native[1] - native[0]) ** 2
    fy, fx = np.fft.fftfreq(ny, sy)[:, None], np.fft.rfftfreq(nx, sx)
    averaging = np.sinc(fy * max(sy - pixel_mm, 0)) * np.sinc(fx * max(sx - pixel_mm, 0))
    return (amplitude(np.hypot(fy, fx)) * averaging / np.sqrt(total * sx * sy)).astype(np.float32)


def shoulder_share(anatomy: Anatomy, z_mm: float) -> float:
    """0 above the shoulders, 1 below their top, smooth between."""
    top = anatomy.curve.frames["C6"][2, 3]
    return float(1 / (1 + np.exp((z_mm - top) / 9.0)))


def _horizontal(rng: np.random.Generator, ny: int, nx: int, sx: float) -> Array:
    """Streaks: white from row to row, smooth along a row, SD 1."""
    knots = max(2, int(nx * sx / 18) + 2)
    rough = rng.standard_normal((ny, knots), dtype=np.float32)
    at = np.linspace(0, knots - 1.001, nx, dtype=np.float32)
    low = at.astype(int)
    w = at - low
    return (rough[:, low] * (1 - w) + rough[:, low + 1] * w) * np.float32(1.2)


def _metal_rays(rng: np.random.Generator, x: Array, y: Array, metal: Array, strength: float) -> Array:
    """Bright and dark rays from each piece of metal, HU; half of each ray persists from slice to slice."""
    strength /= np.sqrt(len(metal))
    out = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for mx, my in metal:
        dx, dy = x - np.float32(mx), y - np.float32(my)
        r = np.sqrt(dx * dx + dy * dy)
        own = np.random.default_rng(int(abs(mx) * 100)).standard_normal(720)
        ray = gaussian_filter1d((own + 0.6 * rng.standard_normal(720)).astype(np.float32), 2.0, mode="wrap")
        ray = ray * np.abs(ray) * 4
        angle = ((np.arctan2(dy, dx) + np.pi) * (719.99 / (2 * np.pi))).astype(int)
        out += ray[angle] * np.exp(-r / 45) * np.float32(420 * strength) * (r > 2.5)
    return out


def _cupping(plane: Array, affine: Array, index: int, anatomy: Anatomy, depth_hu: float) -> Array:
    """Beam hardening: tissue near the neck's axis reads low, near the skin high. HU [y, x]."""
    ny, nx = plane.shape
    axis = anatomy.curve.frames["C4"][:3, 3]
    ix, iy = np.arange(nx, dtype=np.float32), np.arange(ny, dtype=np.float32)[:, None]
    corner = (affine @ np.array([0, 0, index, 1.0]))[:2] - axis[:2]
    x = ix * np.float32(affine[0, 0]) + iy * np.float32(affine[0, 1]) + np.float32(corner[0])
    y = ix * np.float32(affine[1, 0]) + iy * np.float32(affine[1, 1]) + np.float32(corner[1])
    share = np.minimum((x * x + y * y) * np.float32(1 / 70.0**2), 1) - np.float32(0.5)
    return share * (plane > -300) * np.float32(depth_hu)


def apply_scanner(hu: Array, anatomy: Anatomy, scanner: Scanner, grid: Grid, first: int) -> Array:
    """The slab as the scanner shows it; `first` is its first slice's index in the grid. float32 [z, y, x]."""
    sx, sy, sz = (float(v) for v in grid.spacing_mm_xyz)
    nz, ny, nx = hu.shape
    if scanner.overshoot and max(sx, sy) < 0.6:
        smooth = gaussian_filter1d(
            gaussian_filter1d(hu, 0.6 / sy, axis=1, truncate=2.5), 0.6 / sx, axis=2, truncate=2.5
        )
        hu += np.float32(scanner.overshoot) * (hu - smooth)
    shape = _noise_filter(scanner.kernel, round(scanner.pixel_mm, 4), ny, nx, round(sy, 4), round(sx, 4))
    sd = scanner.noise_sd * min(1.0, (scanner.slice_mm / sz) ** 0.5)
    coarse = min(1.0, scanner.pixel_mm / sx * 1.6)
    a = grid.affine_lps
    ix, iy = np.arange(nx, dtype=np.float32), np.arange(ny, dtype=np.float32)[:, None]
    for k in range(nz):
        rng = np.random.default_rng([anatomy.spec.seed, 808, first + k])
        centre = a @ np.array([nx / 2, ny / 2, first + k, 1.0])
        share = shoulder_share(anatomy, float(centre[2])) * scanner.shoulder_streaks
        white = rng.standard_normal((ny, nx), dtype=np.float32)
        noise = scipy.fft.irfft2(scipy.fft.rfft2(white) * shape, s=(ny, nx))
        noise *= np.float32(sd * (1 + 0.8 * share))
        if share > 0.03:
            noise += np.float32(sd * 0.8 * share * coarse) * _horizontal(rng, ny, nx, sx)
        noise *= np.where(hu[k] < -700, np.float32(0.6), np.float32(1.0))
        noise += _cupping(hu[k], a, first + k, anatomy, scanner.cupping_hu)
        metal = anatomy.metal_lps_mm
        if len(metal):
            near = metal[np.abs(metal[:, 2] - centre[2]) < 3.0 + sz / 2]
            if len(near):
                x, y = (
                    a[0, 0] * ix + a[0, 1] * iy + a[0, 3] + a[0, 2] * (first + k),
                    a[1, 0] * ix + a[1, 1] * iy + a[1, 3] + a[1, 2] * (first + k),
                )
                noise += _metal_rays(
                    rng, x.astype(np.float32), y.astype(np.float32), near[:, :2], scanner.dental_streaks
                )
        hu[k] += noise
        if scanner.motion_mm:
            _move(hu[k], anatomy.spec.seed, float(centre[2]), scanner.motion_mm, sx, sy)
    return hu


def _move(plane: Array, seed: int, z_mm: float, motion_mm: float, sx: float, sy: float) -> None:
    """Swallowing or turning during part of the scan: slices shift and double."""
    rng = np.random.default_rng([seed, 818])
    phase, where = rng.uniform(0, 6.28), rng.uniform(15, 30)
    shift = motion_mm * np.sin(z_mm / where * 6.28 + phase) ** 3
    dx, dy = round(float(shift) / sx), round(float(0.6 * shift) / sy)
    if dx or dy:
        plane[...] = 0.5 * plane + 0.5 * np.roll(plane, (dy, dx), axis=(0, 1))
