"""Random changes to samples. Drawing and applying share a `numpy` generator that the caller seeds.

The generator's phantoms are not patients, so the changes are stronger than usual: density, contrast, kernel,
noise, slice thickness, field of view, posture and size all vary beyond what it draws itself.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


def random_frame(
    rng: np.random.Generator, turn_deg: float, scale: float, *, mirror: bool = True
) -> NDArray[np.float64]:
    """A 3 x 3 matrix (z, y, x): rotations up to `turn_deg`, per-axis scales within `1 +- scale`, left-right mirror."""
    angles = np.deg2rad(rng.uniform(-turn_deg, turn_deg, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    sizes = rng.uniform(1 - scale, 1 + scale) * rng.uniform(1 - scale / 2, 1 + scale / 2, 3)
    matrix = matrix * sizes[None, :]
    if mirror and rng.random() < 0.5:
        matrix[:, 2] *= -1
    return matrix


def random_bend(rng: np.random.Generator, shape: tuple[int, int, int], most_voxels: float) -> torch.Tensor:
    """A smooth displacement [*shape, 3] in voxels, SD up to `most_voxels`: vertebrae that no primitive describes."""
    knots = torch.from_numpy(rng.standard_normal((1, 3, 6, 8, 9), dtype=np.float32)) * float(
        rng.uniform(0, most_voxels)
    )
    return F.interpolate(knots, size=shape, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)


def change_marrow(hu: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Cancellous bone as uneven as a patient's: lumps of some millimetres, denser and thinner, only where bone is."""
    cells = [max(3, round(n / rng.uniform(2.0, 7.0))) for n in hu.shape]
    lumps = torch.from_numpy(rng.standard_normal((1, 1, *cells), dtype=np.float32))
    lumps = F.interpolate(lumps, size=tuple(hu.shape), mode="trilinear", align_corners=False)[0, 0]
    bone = ((hu - 120.0) / 150.0).clamp(0.0, 1.0)
    return hu + bone * lumps * float(rng.uniform(0, 150))


def sample_window(
    hu: torch.Tensor,
    labels: list[torch.Tensor],
    centre: NDArray[np.float64],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    outside: float,
    bend: torch.Tensor | None = None,
    shares: tuple[torch.Tensor, ...] = (),
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """HU (linear) and label arrays (nearest) on a window of `shape` around index `centre`, seen through `matrix`.

    `bend` [*shape, 3] (z, y, x) moves each sampling point by source voxels: see `random_bend`. `shares` are further
    arrays, sampled linearly, 0 outside; they follow the labels in the list.
    """
    half = (np.array(shape) - 1) / 2
    offset = centre - matrix @ half
    size = np.array(hu.shape, dtype=float)
    scaled, shift = matrix * (2 / size)[:, None], (2 * offset + 1) / size - 1
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    grid = sum(
        axes[k].reshape([-1 if i == k else 1 for i in range(3)] + [1]) * torch.tensor(scaled[:, k], dtype=torch.float32)
        for k in range(3)
    ) + torch.tensor(shift, dtype=torch.float32)
    if bend is not None:
        grid = grid + bend * torch.tensor(2 / size, dtype=torch.float32)
    where = grid.flip(-1)[None]
    image = F.grid_sample((hu - outside)[None, None], where, padding_mode="zeros", align_corners=False)[0, 0] + outside
    picked = [
        F.grid_sample(a[None, None].float(), where, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
        for a in labels
    ]
    picked += [
        F.grid_sample(a[None, None].float(), where, padding_mode="zeros", align_corners=False)[0, 0] for a in shares
    ]
    return image, picked


def change_scanner(
    hu: torch.Tensor, rng: np.random.Generator, *, noise_hu: float, thick: float, coarse: float
) -> torch.Tensor:
    """Another scanner: blur or sharpening, thicker slices, larger pixels, correlated noise, HU scale and offset.

    `thick` and `coarse` are the most by which slices and pixels grow.
    """
    if rng.random() < 0.4:
        hu = _blur(hu, rng.uniform(0.3, 0.9), axes=(1, 2))
    elif rng.random() < 0.25:
        hu = hu + rng.uniform(0.2, 0.8) * (hu - _blur(hu, 0.8, axes=(0, 1, 2)))
    if rng.random() < 0.45:
        hu = _coarsen(hu, rng.uniform(1.0, thick), rng.uniform(1.0, coarse))
    if rng.random() < 0.7:
        hu = hu + _noise(hu.shape, rng, noise_hu * rng.beta(1.0, 2.0))
    if rng.random() < 0.5:
        hu = (hu + 1000.0) * rng.uniform(0.94, 1.06) - 1000.0 + rng.uniform(-25, 25)
    return hu


def change_density(hu: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Denser or thinner bone, and bone of another contrast curve."""
    if rng.random() < 0.6:
        bone = (hu - 120.0).clamp(min=0.0)
        hu = hu - bone + bone * rng.uniform(0.55, 1.5)
    if rng.random() < 0.3:
        bone = ((hu - 100.0) / 1200.0).clamp(0.0, 1.5)
        hu = torch.where(hu > 100.0, 100.0 + 1200.0 * bone ** float(rng.uniform(0.75, 1.35)), hu)
    return hu


def shift_contrast(hu: torch.Tensor, rng: np.random.Generator, most_hu: float) -> torch.Tensor:
    """Another calibration or tube voltage: everything but air moves by up to `most_hu`."""
    if rng.random() < 0.35:
        tissue = ((hu + 500.0) / 300.0).clamp(0.0, 1.0)
        hu = hu + tissue * float(rng.uniform(-most_hu, most_hu))
    return hu


def cut_view(
    hu: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator, outside: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A smaller field of view: slices missing above or below, a narrower circle, blank boxes, added tubes."""
    hu, labels = hu.clone(), labels.clone()
    z, y, x = hu.shape
    for end in (0, 1):
        if rng.random() < 0.35:
            cut = int(rng.integers(1, max(2, int(z * 0.6))))
            part = slice(0, cut) if end == 0 else slice(z - cut, z)
            hu[part], labels[part] = outside, 0
    if rng.random() < 0.3:
        radius = rng.uniform(0.36, 0.7) * max(y, x)
        cy, cx = y / 2 + rng.normal(0, y * 0.06), x / 2 + rng.normal(0, x * 0.06)
        yy, xx = torch.meshgrid(torch.arange(y), torch.arange(x), indexing="ij")
        gone = (yy - cy) ** 2 + (xx - cx) ** 2 > radius**2
        hu[:, gone], labels[:, gone] = outside, 0
    if rng.random() < 0.15:
        corner = [int(rng.integers(0, n)) for n in hu.shape]
        size = [int(rng.integers(4, 14)) for _ in range(3)]
        box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        hu[box] = float(rng.choice([outside, 40.0, 2500.0]))
    if rng.random() < 0.25:
        _add_tube(hu, rng)
    return hu, labels


def cut_slices(
    hu: torch.Tensor, masks: list[torch.Tensor], rng: np.random.Generator, outside: float
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The scan ends inside the window: slices from a random one up or down are gone."""
    z = hu.shape[0]
    cut = int(rng.integers(round(z * 0.15), round(z * 0.6)))
    gone = slice(0, cut) if rng.random() < 0.5 else slice(z - cut, z)
    hu, masks = hu.clone(), [m.clone() for m in masks]
    for array, value in ((hu, outside), *((m, 0.0) for m in masks)):
        array[gone] = value
    return hu, masks


def blurred(array: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of `sigma` voxels along every axis, radius 2."""
    return _blur(array, sigma, axes=(0, 1, 2))


def _add_tube(hu: torch.Tensor, rng: np.random.Generator) -> None:
    """A thin-walled tube that winds along z: an airway tube, a line, an electrode's lead."""
    z, y, x = hu.shape
    wall, lumen = float(rng.uniform(50, 2500)), float(rng.choice([-1000.0, 20.0]))
    at = np.array([rng.uniform(0.1, 0.9) * y, rng.uniform(0.2, 0.8) * x])
    slope, radius = rng.normal(0, 0.25, 2), rng.uniform(0.7, 2.5)
    yy, xx = torch.meshgrid(torch.arange(y, dtype=torch.float32), torch.arange(x, dtype=torch.float32), indexing="ij")
    first, last = sorted(int(v) for v in rng.integers(0, z, 2))
    for k in range(first, last):
        at = at + slope
        slope = slope * 0.97 + rng.normal(0, 0.05, 2)
        away = (yy - float(at[0])) ** 2 + (xx - float(at[1])) ** 2
        hu[k] = torch.where(away < radius**2, torch.full_like(hu[k], wall), hu[k])
        hu[k] = torch.where(away < (radius * 0.6) ** 2, torch.full_like(hu[k], lumen), hu[k])


def _noise(shape: torch.Size, rng: np.random.Generator, sd: float) -> torch.Tensor:
    """Noise of SD `sd` HU whose lower part may be stronger, correlated at random."""
    noise = torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
    if rng.random() < 0.5:
        noise = _blur(noise, rng.uniform(0.4, 0.9), axes=(1, 2))
        noise = noise / noise.std()
    ramp = torch.linspace(float(rng.uniform(1.0, 2.5)), 1.0, shape[0])[:, None, None]
    return noise * ramp * float(sd)


def _coarsen(hu: torch.Tensor, thick: float, coarse: float) -> torch.Tensor:
    """Voxels `thick` times as thick and `coarse` times as wide, interpolated back."""
    size = [max(2, round(n / f)) for n, f in zip(hu.shape, (thick, coarse, coarse), strict=True)]
    low = F.interpolate(hu[None, None], size=size, mode="trilinear", align_corners=False)
    return F.interpolate(low, size=tuple(hu.shape), mode="trilinear", align_corners=False)[0, 0]


def _blur(hu: torch.Tensor, sigma: float, axes: tuple[int, ...]) -> torch.Tensor:
    """Gaussian blur of `sigma` voxels along `axes`, radius 2."""
    t = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (t / float(sigma)) ** 2)
    kernel = kernel / kernel.sum()
    out = hu[None, None]
    for axis in axes:
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 5
        pad = [0] * 6
        pad[(2 - axis) * 2] = pad[(2 - axis) * 2 + 1] = 2
        out = F.conv3d(F.pad(out, pad, mode="replicate"), kernel.reshape(shape))
    return out[0, 0]
