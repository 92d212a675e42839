"""Quantum noise as filtered back-projection leaves it: a texture, a direction and a correlation along z.

In the plane the noise is white noise with the amplitude f * exp(-(f / f0) ** p), f in cycles per mm: a ramp and the
kernel's roll-off, fitted to autocorrelations measured on public CT slices (`KERNEL_SPECTRA`). By the projection-slice
theorem the noise of one view lies along one direction of frequency space, so the views through both shoulders, which
carry few photons, add a wedge about the vertical frequencies: noise whose grains lie along the horizontal. Its width
and weight are fitted to a public slice at the shoulders.

Defined in mm, so on a grid coarser than the scanner's own the noise shrinks as averaging would make it. Every slice
draws from its own generator; a slice thicker than the distance to the next shares some of its draws with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[Any]

# (f0 in cycles per mm, exponent) that fit the measured lag-1 to lag-4 correlations along x, by pixel size:
# .46 -.14 -.10 .04 at 0.314 mm; .35 -.12 -.05 -.07 at 0.355; .42 -.22 -.21 -.05 at 0.332; .66 .18 -.07 -.18 at 0.301;
# .81 .45 .11 -.08 at 0.287 (B30s).
KERNEL_SPECTRA: Final = {
    "bone": (1.01, 3.27),
    "bone-flat": (0.71, 1.5),
    "bone-sharp": (0.98, 4.19),
    "bone-smooth": (0.60, 1.94),
    "soft": (0.43, 1.62),
}
# Of .60 .20 .16 .15 along x and .09 -.32 along y, at 0.371 mm, level with the shoulders.
_WEDGE_RAD: Final = 0.35
_WEDGE_GAIN: Final = 4.3
_PENUMBRA: Final = 0.3
_LOAD_MM: Final = 9.0


@lru_cache(maxsize=32)
def noise_filter(f0_per_mm: float, power: float, pixel_mm: float, ny: int, nx: int, sy: float, sx: float) -> Array:
    """rfft2 filter that turns unit white noise on the grid into noise of SD 1 at the scanner's own pixel."""

    def amplitude(f: Array) -> Array:
        return f * np.exp(-((f / f0_per_mm) ** power))

    native = np.fft.fftfreq(128, pixel_mm)
    total = (amplitude(np.hypot(native[:, None], native)) ** 2).sum() * (native[1] - native[0]) ** 2
    fy, fx = np.fft.fftfreq(ny, sy)[:, None], np.fft.rfftfreq(nx, sx)
    averaging = np.sinc(fy * max(sy - pixel_mm, 0)) * np.sinc(fx * max(sx - pixel_mm, 0))
    return (amplitude(np.hypot(fy, fx)) * averaging / np.sqrt(total * sx * sy)).astype(np.float32)


@lru_cache(maxsize=32)
def shoulder_wedge(ny: int, nx: int, sy: float, sx: float) -> Array:
    """Power that the views through both shoulders add at full share, relative to the others', on the rfft2 grid."""
    fy, fx = np.fft.fftfreq(ny, sy)[:, None], np.fft.rfftfreq(nx, sx)
    off_vertical = np.arctan2(fx, np.abs(fy) + 1e-12)
    return (_WEDGE_GAIN * np.exp(-((off_vertical / _WEDGE_RAD) ** 2))).astype(np.float32)


@lru_cache(maxsize=64)
def slice_taps(thickness_mm: float, spacing_mm: float) -> tuple[float, ...]:
    """Weights of consecutive independent draws whose sums correlate as overlapping slices do; unit power.

    The slice profile is a box of the thickness with soft flanks. One weight where slices do not overlap.
    """
    step = thickness_mm / 64
    box = np.ones(64)
    flank = np.ones(max(1, int(64 * _PENUMBRA)))
    profile = np.convolve(box, flank)
    overlap = np.correlate(profile, profile, "full")[len(profile) - 1 :]
    overlap /= overlap[0]
    lags = np.arange(0, len(overlap) * step, spacing_mm)
    wanted = np.interp(lags, np.arange(len(overlap)) * step, overlap, right=0.0)
    wanted = wanted[wanted > 0.005]
    if len(wanted) < 2:
        return (1.0,)
    return _minimum_phase(wanted)


def _minimum_phase(autocorrelation: Array) -> tuple[float, ...]:
    """A short causal filter with (nearly) this autocorrelation, by folding the cepstrum."""
    n, count = 512, len(autocorrelation)
    symmetric = np.zeros(n)
    symmetric[:count] = autocorrelation
    symmetric[-(count - 1) :] += autocorrelation[:0:-1]
    cepstrum = np.fft.ifft(np.log(np.maximum(np.fft.fft(symmetric).real, 1e-3))).real
    cepstrum[0] /= 2
    cepstrum[n // 2 :] = 0
    taps = np.fft.ifft(np.exp(np.fft.fft(cepstrum))).real[:count]
    return tuple(float(t) for t in taps / np.sqrt((taps**2).sum()))


def white_slices(draw: Callable[[int], Array], taps: tuple[float, ...]) -> Callable[[int], Array]:
    """Unit white noise by slice number, correlated along z as the taps say. `draw` gives independent slices.

    For ascending slice numbers each independent slice is drawn once.
    """
    kept: dict[int, Array] = {}

    def of(number: int) -> Array:
        for old in [j for j in kept if not number <= j < number + len(taps)]:
            del kept[old]
        out: Array | None = None
        for ahead, tap in enumerate(taps):
            if number + ahead not in kept:
                kept[number + ahead] = draw(number + ahead)
            part = kept[number + ahead] * np.float32(tap)
            out = part if out is None else out + part
        assert out is not None
        return out

    return of


def textured(white: Array, shape: Array, wedge: Array | None, share: float) -> Array:
    """White noise [y, x] with the kernel's texture; `share` (0 to 1) of the shoulders' wedge is added in power."""
    spectrum = scipy.fft.rfft2(white)
    spectrum *= shape
    if wedge is not None and share > 0:
        spectrum *= np.sqrt(1 + np.float32(share) * wedge)
    return np.asarray(scipy.fft.irfft2(spectrum, s=white.shape))


def photon_load(plane: Array, sy: float, sx: float) -> Array:
    """How much tissue the rays near each pixel cross, about 0.45 in free air to 1 inside; float32 [y, x].

    Noise in an image is not local: the air of the trachea is as noisy as the neck about it.
    """
    ny, nx = plane.shape
    qy, qx = max(1, int(3.0 / sy)), max(1, int(3.0 / sx))
    body = (plane[::qy, ::qx] > -500).astype(np.float32)
    smooth = gaussian_filter(body, (_LOAD_MM / (sy * qy), _LOAD_MM / (sx * qx)), mode="nearest", truncate=3.0)
    return np.float32(0.45) + np.float32(0.55) * stretched(smooth, ny, nx, 1 / qy, 1 / qx)


def stretched(small: Array, ny: int, nx: int, rate_y: float, rate_x: float) -> Array:
    """A small picture at the pixels of a larger one, linear; pixel i of the larger lies at i * rate of the small."""
    out = small
    for axis, (n, rate) in enumerate(((ny, rate_y), (nx, rate_x))):
        at = np.minimum(np.arange(n, dtype=np.float32) * np.float32(rate), np.float32(small.shape[axis] - 1))
        low = at.astype(np.intp)
        high = np.minimum(low + 1, small.shape[axis] - 1)
        weight = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        a = np.take(out, low, axis=axis)
        out = a + (np.take(out, high, axis=axis) - a) * weight
    return out
