"""Find the cervical spine and name each voxel's vertebra on a 2.5 mm patient-aligned grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from inference.preprocess import (
    AIR_HU,
    LOCALISER_SPACING_MM,
    PatientGrid,
    grid_covering,
    localiser_input,
    sample_volume,
)
from inference.volume import Volume

WINDOW_ZYX: Final = (96, 64, 64)
CERVICAL: Final = slice(1, 8)
CLASSES: Final = 10

# A volume larger than this is searched first with few windows, then looked at closely where the neck is.
_CLOSE_LOOK_ZYX: Final = (128, 88, 88)
_SEARCH_STRIDE_ZYX: Final = (64, 44, 44)
_CLOSE_STRIDE_ZYX: Final = (48, 32, 32)
_BONE_HU: Final = 150.0
_LEAST_BONE: Final = 0.002
_LEAST_CERVICAL_MM3: Final = 1500.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """Class probabilities float32 [10, z, y, x] (background, C1 ... C7, T1, lower) on `grid`."""

    grid: PatientGrid
    probabilities: torch.Tensor


def localise(
    volume: Volume,
    net: nn.Module,
    device: torch.device,
    progress: Callable[[float], None] | None = None,
) -> Localisation | None:
    """Probabilities around the cervical spine, or None where the search finds nothing like one.

    Memory is bounded by the 2.5 mm grid of the volume plus one close look of about 128 x 88 x 88 voxels.
    `progress` receives the share done, 0 to 1.
    """
    report = progress or (lambda _: None)
    grid = grid_covering(volume, LOCALISER_SPACING_MM)
    hu = sample_volume(volume, grid)
    report(0.1)
    region = tuple(slice(0, n) for n in grid.shape_zyx)
    if any(n > most for n, most in zip(grid.shape_zyx, _CLOSE_LOOK_ZYX, strict=True)):
        found = _search(hu, net, device, lambda f: report(0.1 + 0.5 * f))
        if found is None:
            return None
        region = found
    close = hu[region]
    probabilities = _windowed(close, net, device, _CLOSE_STRIDE_ZYX, lambda f: report(0.6 + 0.4 * f))
    first = np.array([s.start for s in region], dtype=float)
    x, y, z = grid.to_lps_mm(first)
    place = PatientGrid(
        origin_lps_mm=(float(x), float(y), float(z)),
        spacing_mm_zyx=grid.spacing_mm_zyx,
        shape_zyx=(close.shape[0], close.shape[1], close.shape[2]),
    )
    return Localisation(grid=place, probabilities=probabilities)


def _search(
    hu: torch.Tensor, net: nn.Module, device: torch.device, report: Callable[[float], None]
) -> tuple[slice, ...] | None:
    """The index region around the most massive cervical candidate, or None."""
    cervical = np.zeros(hu.shape, dtype=np.float16)
    places = list(_places(hu.shape, _SEARCH_STRIDE_ZYX))
    for done, place in enumerate(places):
        window, inner = _cut(hu, place)
        if float((window > _BONE_HU).float().mean()) >= _LEAST_BONE:
            share = _infer(window, net, device)[CERVICAL].sum(dim=0).numpy().astype(np.float16)
            target = tuple(slice(p, p + n) for p, n in zip(place, inner, strict=True))
            cervical[target] = np.maximum(cervical[target], share[: inner[0], : inner[1], : inner[2]])
        report((done + 1) / len(places))
    parts, count = ndimage.label(ndimage.binary_dilation(cervical > 0.5, iterations=2))
    if count == 0:
        return None
    mass = ndimage.sum_labels(cervical > 0.5, parts, index=np.arange(1, count + 1))
    if mass.max() * LOCALISER_SPACING_MM**3 < _LEAST_CERVICAL_MM3:
        return None
    spot = np.argwhere((parts == int(mass.argmax()) + 1) & (cervical > 0.5))
    low, high = np.percentile(spot, [2, 98], axis=0)
    return _around((low + high) / 2, hu.shape)


def _around(centre: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[slice, ...]:
    region = []
    for middle, n, most in zip(centre, shape, _CLOSE_LOOK_ZYX, strict=True):
        size = min(n, most)
        start = int(np.clip(round(float(middle) - size / 2), 0, n - size))
        region.append(slice(start, start + size))
    return tuple(region)


def _windowed(
    hu: torch.Tensor,
    net: nn.Module,
    device: torch.device,
    stride_zyx: tuple[int, int, int],
    report: Callable[[float], None],
) -> torch.Tensor:
    """Window probabilities blended with a weight that falls towards each window's border."""
    total = torch.zeros((CLASSES, *hu.shape))
    weights = torch.full(hu.shape, 1e-6)
    weight = _blend_weight()
    places = list(_places(tuple(hu.shape), stride_zyx))
    for done, place in enumerate(places):
        window, inner = _cut(hu, place)
        probabilities = _infer(window, net, device)
        cut = tuple(slice(0, n) for n in inner)
        target = tuple(slice(p, p + n) for p, n in zip(place, inner, strict=True))
        total[(slice(None), *target)] += (probabilities * weight)[(slice(None), *cut)]
        weights[target] += weight[cut]
        report((done + 1) / len(places))
    return total / weights


def _infer(window: torch.Tensor, net: nn.Module, device: torch.device) -> torch.Tensor:
    with torch.inference_mode():
        logits = net(localiser_input(window)[None, None].to(device))
        return torch.softmax(logits[0].float(), dim=0).cpu()


def _places(shape: tuple[int, ...], stride_zyx: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Window starts that cover `shape`, evenly spread, at most `stride` apart."""
    axes = []
    for n, size, stride in zip(shape, WINDOW_ZYX, stride_zyx, strict=True):
        room = max(0, n - size)
        steps = -(-room // stride)
        axes.append([round(room * i / steps) for i in range(steps + 1)] if steps else [0])
    for z in axes[0]:
        for y in axes[1]:
            for x in axes[2]:
                yield z, y, x


def _cut(hu: torch.Tensor, place: tuple[int, int, int]) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """The window at `place`, padded with air to full size, and how much of it is inside the volume."""
    z, y, x = place
    part = hu[z : z + WINDOW_ZYX[0], y : y + WINDOW_ZYX[1], x : x + WINDOW_ZYX[2]]
    inner = (part.shape[0], part.shape[1], part.shape[2])
    if inner == WINDOW_ZYX:
        return part, inner
    window = torch.full(WINDOW_ZYX, AIR_HU)
    window[: inner[0], : inner[1], : inner[2]] = part
    return window, inner


def _blend_weight() -> torch.Tensor:
    ramps = []
    for size in WINDOW_ZYX:
        t = (torch.arange(size) + 0.5) / size * 2 - 1
        ramps.append(torch.exp(-0.5 * (t / 0.55) ** 2))
    return ramps[0][:, None, None] * ramps[1][None, :, None] * ramps[2][None, None, :]
