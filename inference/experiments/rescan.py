"""The same neck with other bone, as another scanner would have shown it. Drawing is apart from applying.

Bone comes first, then the scanner: its kernel, its pixels, its slices, its noise. What a scanner does along an axis is
linear, so it is one matrix for each axis: the kernel's blur, then the averaging over large pixels, then the
interpolation back to the grid. Rows add up to 1, so what is even stays as it is, and nothing is moved: masks and zones,
which are never touched here, go on fitting. Noise is white noise blurred by matrices whose rows have unit length: its
SD is what was asked for, whatever its grain.

Everything is in mm: a change means the same on every grid.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.dataset.prepared import HU_LOW, HU_STEP
from inference.experiments.errors import SettingsError
from inference.experiments.settings import Augmentation
from inference.experiments.studies import Study

_SHARP_MM: Final = 0.6  # SD of the blur whose difference an edge-enhancing kernel adds
_NOT_BONE_HU: Final = 120.0
_SHEET: Final = 0.35  # half the thickness of a sheet, in SD of the lumps about it
_CURVED_HU: Final = 1200.0  # where a curve of contrast leaves bone as it is

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Rescan:
    """What is changed; the defaults change nothing.

    `density` is a factor on what bone has over soft tissue, `curve` an exponent of the same: above 1 spongy bone
    fades and dense bone stays. `texture_hu` is the SD of a texture of `lump_mm` in bone: lumps, or thin sheets between
    them as far as `ridges` says, bright (1) or dark (-1). `kernel_mm` is the SD of a blur in the plane, `overshoot` how
    much of its difference to a blurred picture is added to it. Pixels of `pixel_mm` and slices of `slice_mm` are
    averages (0: the grid's own). `noise_hu` is the SD of noise blurred by `grain_mm`.
    """

    density: float = 1.0
    curve: float = 1.0
    texture_hu: float = 0.0
    lump_mm: float = 4.0
    ridges: float = 0.0
    kernel_mm: float = 0.0
    overshoot: float = 0.0
    pixel_mm: float = 0.0
    slice_mm: float = 0.0
    noise_hu: float = 0.0
    grain_mm: float = 0.0


AS_IS: Final = Rescan()

# Necks as another hospital shows them, to validate on and to measure with.
RESCANS: Final = {
    "as-is": AS_IS,
    "soft": Rescan(kernel_mm=0.55, noise_hu=12.0, grain_mm=0.5),
    "coarse": Rescan(kernel_mm=0.4, pixel_mm=0.95, slice_mm=1.5, noise_hu=12.0, grain_mm=0.5),
    "thick": Rescan(kernel_mm=0.3, slice_mm=2.0),
    "marrow": Rescan(texture_hu=120.0, lump_mm=3.0),
    "dense": Rescan(density=1.5),
    "dense-coarse": Rescan(
        density=1.3,
        texture_hu=100.0,
        lump_mm=2.0,
        kernel_mm=0.5,
        pixel_mm=0.95,
        slice_mm=1.5,
        noise_hu=12.0,
        grain_mm=0.5,
    ),
}


def rescan_named(name: str) -> Rescan:
    """Raises SettingsError naming those there are."""
    if name not in RESCANS:
        raise SettingsError(f"there is no rescan {name}; there are {', '.join(RESCANS)}")
    return RESCANS[name]


def draw_rescan(most: Augmentation, rng: np.random.Generator) -> Rescan:
    """Other bone and another scanner within the bounds of `most`; each part of it has its own chance."""

    def perhaps(chance: float, low: float, high: float, otherwise: float) -> float:
        drawn, value = rng.random(), float(rng.uniform(low, high))
        return value if drawn < chance and high > low else otherwise

    smooth = rng.random() < 0.6
    low, high = most.density
    return Rescan(
        density=float(np.exp(perhaps(0.7, np.log(low), np.log(high), 0.0))),
        curve=float(np.exp(perhaps(0.3, -most.curve, most.curve, 0.0))),
        texture_hu=perhaps(0.7, 0.0, most.texture_hu, 0.0),
        lump_mm=float(np.exp(rng.uniform(0.0, np.log(7.0)))),
        ridges=perhaps(0.5, -1.0, 1.0, 0.0),
        kernel_mm=perhaps(1.0 if smooth else 0.0, min(0.2, most.kernel_mm), most.kernel_mm, 0.0),
        overshoot=perhaps(0.0 if smooth else 0.7, 0.0, most.overshoot, 0.0),
        pixel_mm=perhaps(0.5, min(0.6, most.pixel_mm), most.pixel_mm, 0.0),
        slice_mm=perhaps(0.5, min(0.8, most.slice_mm), most.slice_mm, 0.0),
        noise_hu=most.grain_hu * float(rng.beta(1.0, 2.0)),
        grain_mm=perhaps(0.7, 0.2, 0.8, 0.0),
    )


def rescanned(
    hu: torch.Tensor, spacing_mm_zyx: Iterable[float], rescan: Rescan, seed: int, part: int = 0
) -> torch.Tensor:
    """HU [z, y, x] after the change, float32. `seed` and `part` draw its lumps, its noise and where its pixels lie."""
    spacing = tuple(spacing_mm_zyx)
    hu = _bone(hu, rescan)
    if rescan.texture_hu > 0:
        hu = hu + rescan.texture_hu * _spongy(hu) * _texture(hu, spacing, rescan, seed, part)
    if rescan.overshoot > 0:
        soft = _along(hu, {axis: blur_matrix(hu.shape[axis], spacing[axis], _SHARP_MM) for axis in (1, 2)})
        hu = hu + rescan.overshoot * (hu - soft)
    hu = _along(hu, _optics(hu.shape, spacing, rescan, np.random.default_rng([seed, part, 2])))
    if rescan.noise_hu > 0:
        hu = hu + rescan.noise_hu * _grain(hu, spacing, rescan.grain_mm, seed, part)
    return hu


def rescanned_study(study: Study, rescan: Rescan, seed: int = 0) -> Study:
    """The study with other voxels and the same truth, levels and zones; in steps of HU as a prepared one."""
    if rescan == AS_IS:
        return study
    hu = rescanned(study.hu.float() * HU_STEP + HU_LOW, study.grid.spacing_mm_zyx, rescan, seed)
    stored = ((hu - HU_LOW) / HU_STEP).round_().clamp_(0, 255).to(torch.uint8)
    return dataclasses.replace(study, hu=stored)


def by_turns(names: Iterable[str], uids: Iterable[str]) -> Callable[[Study], Study]:
    """Shows each of the studies as the next of the named rescans does, in an order that no other list follows.

    As many studies to each name as the division allows. Raises SettingsError for a name that there is not.
    """
    rescans = [rescan_named(name) for name in names]
    shuffled = sorted(uids, key=_digest)
    turn = {uid: number % len(rescans) for number, uid in enumerate(shuffled)} if rescans else {}

    def see(study: Study) -> Study:
        return _shown_by(rescans[turn[study.uid]] if study.uid in turn else AS_IS, study)

    return see


def in_every_view(
    names: Sequence[str], predict: Callable[[Callable[[Study], Study]], NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """What `predict` says of the studies as each named rescan shows them, in the order of `names`; as they are without.

    A name that comes again counts again and is predicted once. Raises SettingsError for a name that there is not.
    """
    shown = names or ("as-is",)
    said = {name: predict(partial(_shown_by, rescan_named(name))) for name in dict.fromkeys(shown)}
    return [said[name] for name in shown]


def _shown_by(rescan: Rescan, study: Study) -> Study:
    return rescanned_study(study, rescan, seed_of(study))


def seed_of(study: Study) -> int:
    """A number that is always the same study's."""
    return int(_digest(study.uid)[:8], 16)


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()


def unit_noise(hu: torch.Tensor, seed: int, part: int) -> torch.Tensor:
    """White noise of SD 1 in the shape of `hu`; on another kind of device it is another noise."""
    if hu.device.type == "cpu":
        return torch.from_numpy(np.random.default_rng([seed, part]).standard_normal(tuple(hu.shape), dtype=np.float32))
    generator = torch.Generator(hu.device).manual_seed(seed * 1_009 + part)
    return torch.randn(hu.shape, generator=generator, device=hu.device)


def lumpy(
    hu: torch.Tensor, spacing_mm_zyx: Iterable[float], marrow_hu: float, lump_mm: float, seed: int, part: int
) -> torch.Tensor:
    """Denser and thinner lumps of `lump_mm` in bone, about half of `marrow_hu` strong; none in what is no bone."""
    return hu + _spongy(hu) * _lumps(hu, spacing_mm_zyx, lump_mm, seed, part) * marrow_hu


def _spongy(hu: torch.Tensor) -> torch.Tensor:
    """How much of a voxel is bone that may have a texture, 0 to 1."""
    return ((hu - _NOT_BONE_HU) / 150.0).clamp(0.0, 1.0)


def _lumps(hu: torch.Tensor, spacing_mm_zyx: Iterable[float], lump_mm: float, seed: int, part: int) -> torch.Tensor:
    """White noise in cells of `lump_mm`, linear between their middles: its SD is a half or more."""
    cells = [max(2, round(n * mm / lump_mm)) for n, mm in zip(hu.shape, spacing_mm_zyx, strict=True)]
    drawn = np.random.default_rng([seed, part, 1]).standard_normal((1, 1, *cells), dtype=np.float32)
    noise = torch.from_numpy(drawn).to(hu.device)
    return F.interpolate(noise, size=tuple(hu.shape), mode="trilinear", align_corners=False)[0, 0]


def _texture(hu: torch.Tensor, spacing_mm_zyx: Iterable[float], rescan: Rescan, seed: int, part: int) -> torch.Tensor:
    """Lumps, and where these change sign thin sheets; mean 0, SD 1."""
    lumps = _even(_lumps(hu, spacing_mm_zyx, rescan.lump_mm, seed, part))
    if rescan.ridges == 0.0:
        return lumps
    sheets = _even(torch.exp(-((lumps / _SHEET) ** 2)))
    return _even((1 - abs(rescan.ridges)) * lumps + rescan.ridges * sheets)


def _even(values: torch.Tensor) -> torch.Tensor:
    return (values - values.mean()) / values.std().clamp(min=1e-6)


def _bone(hu: torch.Tensor, rescan: Rescan) -> torch.Tensor:
    """Bone of another density and another curve; soft tissue as it is."""
    if rescan.density == 1.0 and rescan.curve == 1.0:
        return hu
    bone = (hu - _NOT_BONE_HU).clamp(min=0.0)
    changed = bone * rescan.density
    if rescan.curve != 1.0:
        changed = _CURVED_HU * (changed / _CURVED_HU) ** rescan.curve
    return hu - bone + changed


def _optics(
    shape: Iterable[int], spacing_mm_zyx: tuple[float, ...], rescan: Rescan, rng: np.random.Generator
) -> dict[int, Array]:
    """The matrix of each axis along which the scanner blurs or averages."""
    matrices: dict[int, Array] = {}
    for axis, (n, mm) in enumerate(zip(shape, spacing_mm_zyx, strict=True)):
        phase = float(rng.random())
        wide = rescan.slice_mm if axis == 0 else rescan.pixel_mm
        steps = [blur_matrix(n, mm, rescan.kernel_mm)] if axis and rescan.kernel_mm > 0 else []
        if wide > mm:
            steps.insert(0, averaging_matrix(n, mm, wide, phase))
        if steps:
            matrices[axis] = steps[0] if len(steps) == 1 else steps[0] @ steps[1]
    return matrices


def _grain(hu: torch.Tensor, spacing_mm_zyx: tuple[float, ...], grain_mm: float, seed: int, part: int) -> torch.Tensor:
    """Noise of SD 1 whose grains in the plane are those of a Gaussian of `grain_mm`."""
    noise = unit_noise(hu, seed, part)
    if grain_mm <= 0:
        return noise
    blurs = {axis: blur_matrix(hu.shape[axis], spacing_mm_zyx[axis], grain_mm) for axis in (1, 2)}
    return _along(noise, {axis: m / np.sqrt((m**2).sum(axis=1, keepdims=True)) for axis, m in blurs.items()})


def blur_matrix(n: int, spacing_mm: float, sd_mm: float) -> Array:
    """[n, n]: Gaussian means of an axis, each over what there is of its neighbourhood; rows add up to 1."""
    at = np.arange(n) * spacing_mm
    weights = np.exp(-0.5 * ((at[:, None] - at[None]) / max(sd_mm, 1e-3)) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def averaging_matrix(n: int, spacing_mm: float, wide_mm: float, phase: float) -> Array:
    """[n, n]: an axis seen in pixels of `wide_mm`, linear between their middles; rows add up to 1.

    The first pixel begins `phase` (0 to 1) of a pixel before the axis; one of which less than a third is there is left
    out.
    """
    low = np.arange(n) * spacing_mm
    edges = np.arange(-phase * wide_mm, n * spacing_mm + wide_mm, wide_mm)
    overlap = np.minimum(low[None] + spacing_mm, edges[1:, None]) - np.maximum(low[None], edges[:-1, None])
    overlap = overlap.clip(min=0.0)
    there = overlap.sum(axis=1) > wide_mm / 3
    if there.sum() < 2:
        return np.full((n, n), 1.0 / n, dtype=np.float32)
    means = overlap[there] / overlap[there].sum(axis=1, keepdims=True)
    middles = means @ (low + spacing_mm / 2)
    at = np.interp(low + spacing_mm / 2, middles, np.arange(len(middles)))
    first = np.minimum(at.astype(int), len(middles) - 2)
    share = (at - first)[:, None]
    return np.asarray(means[first] * (1 - share) + means[first + 1] * share, dtype=np.float32)


def _along(hu: torch.Tensor, matrices: dict[int, Array]) -> torch.Tensor:
    """Each axis multiplied by its matrix."""
    for axis, matrix in matrices.items():
        m = torch.from_numpy(matrix).to(hu.device)
        if axis == 0:
            hu = (m @ hu.flatten(1)).reshape(hu.shape)
        elif axis == 1:
            hu = m @ hu
        else:
            hu = hu @ m.T
    return hu
