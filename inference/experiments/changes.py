"""Windows of a study, and the random changes of training. Drawing a change is apart from applying it.

A change is drawn once for a study and holds for every window of it, so that the levels of one neck are seen by one
scanner in one posture. Only x may be mirrored: a neck has a left and a right that look alike, a head and a trunk that
do not. No label of the task has a side, so a mirrored study keeps its labels, and masks and boxes follow because they
are sampled with the voxels. A study is changed a little, as it was scanned, or seen by another scanner altogether
(`rescan`), never both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.dataset.prepared import HU_LOW, HU_STEP
from inference.experiments.rescan import Rescan, draw_rescan, lumpy, rescanned, unit_noise
from inference.experiments.settings import Augmentation
from inference.experiments.studies import Study
from inference.preprocess import sample_array
from inference.training.augment import random_frame

_FLESH_HU: Final = 45.0
_ZONE: Final = 16  # levels and zones are sampled in one array: level + 16 * zone


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """What one draw changes; the defaults change nothing.

    `frame` [3, 3] turns, stretches and mirrors (z, y, x in mm), about the window's centre moved by `shift_mm_zyx`.
    `rescan` shows it in another scanner, with other bone.
    """

    frame: NDArray[np.float64]
    shift_mm_zyx: NDArray[np.float64]
    gain: float = 1.0
    offset_hu: float = 0.0
    contrast: float = 1.0
    noise_hu: float = 0.0
    thick: float = 1.0
    blur: float = 0.0
    marrow_hu: float = 0.0
    lump_mm: float = 4.0
    removed: tuple[int, ...] = ()
    rescan: Rescan | None = None
    seed: int = 0

    @property
    def mirrored(self) -> bool:
        """Whether left is right."""
        return bool(self.frame[2, 2] < 0)


NO_CHANGE: Final = Change(frame=np.eye(3), shift_mm_zyx=np.zeros(3))


def draw_change(study: Study, most: Augmentation, rng: np.random.Generator | None) -> Change:
    """A change of this study within the bounds of `most`; none without a generator."""
    if rng is None:
        return NO_CHANGE
    frame = random_frame(rng, most.turn_deg, most.scale, mirror=False)
    if rng.random() < most.mirror:
        frame = frame * np.array([1.0, 1.0, -1.0])
    removed: tuple[int, ...] = ()
    if len(study.boxes) > 1 and rng.random() < most.cut_level:
        removed = (int(rng.choice(sorted(study.boxes))),)
    change = Change(
        frame=frame,
        shift_mm_zyx=rng.uniform(-1, 1, 3) * most.shift_mm,
        gain=1.0 + float(rng.uniform(-1, 1)) * most.gain,
        offset_hu=float(rng.uniform(-1, 1)) * most.offset_hu,
        contrast=float(np.exp(rng.uniform(-1, 1) * np.log1p(most.contrast))),
        noise_hu=most.noise_hu * float(rng.beta(1.0, 2.0)),
        thick=float(rng.uniform(1.0, most.thick)) if most.thick > 1 and rng.random() < 0.5 else 1.0,
        blur=float(rng.uniform(0.3, 0.8)) if rng.random() < most.blur else 0.0,
        marrow_hu=most.marrow_hu * float(rng.uniform()),
        lump_mm=float(rng.uniform(2.0, 7.0)),
        removed=removed,
        seed=int(rng.integers(2**31)),
    )
    if most.rescan <= 0 or rng.random() >= most.rescan:
        return change
    rescan = draw_rescan(most, rng)
    return dataclasses.replace(change, contrast=1.0, noise_hu=0.0, thick=1.0, blur=0.0, marrow_hu=0.0, rescan=rescan)


def targets(study: Study, change: Change) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth [8] (patient_overall, C1 ... C7) after the change, and what of it is known [8] (1 or 0).

    A removed level is not known; neither is the patient's where the only fractures that are left to see are removed.
    """
    if study.truth is None:
        return torch.zeros(8), torch.zeros(8)
    truth, known = torch.from_numpy(study.truth.copy()), torch.ones(8)
    for level in change.removed:
        known[level] = 0.0
    if truth[0] > 0 and not bool((truth[1:] * known[1:]).any()):
        known[0] = 0.0
    return truth, known


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Where to look: a box of `shape` voxels of `spacing_mm_zyx` around an index of the study's grid."""

    centre_zyx: NDArray[np.float64]
    spacing_mm_zyx: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What is seen in a window: HU, and levels and fracture zones as whole numbers; float32 [z, y, x] each."""

    hu: torch.Tensor
    levels: torch.Tensor
    zone: torch.Tensor


def look(study: Study, window: Window, change: Change, *, part: int = 0, truth: bool = False) -> View:
    """The window of the changed study; `part` numbers the windows of one study, each with noise of its own.

    `truth`: levels are the true ones, not those a model may see. Outside the grid is air (HU_LOW) without bone.
    """
    matrix, offset = _index_map(study, window, change)
    low, high = _reach(matrix, offset, window.shape_zyx, study.hu.shape)
    if np.any(high <= low):
        nothing = torch.zeros(window.shape_zyx, device=study.device)
        return View(hu=torch.full_like(nothing, HU_LOW), levels=nothing, zone=nothing.clone())
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    offset = offset - low
    chosen = study.true_levels if truth else study.levels
    hu = study.hu[box].float() * HU_STEP + HU_LOW
    code = chosen[box] + _ZONE * study.zone[box]
    seen = _nearest(code, matrix, offset, window.shape_zyx).float()
    image = _sampled(*_averaged(hu, matrix, offset, window, study), window.shape_zyx, outside=HU_LOW)
    levels, zone = seen % _ZONE, torch.div(seen, _ZONE, rounding_mode="floor")
    for level in change.removed:
        gone = levels == level
        image = torch.where(gone, torch.full_like(image, _FLESH_HU), image)
        levels, zone = levels.masked_fill(gone, 0.0), zone.masked_fill(zone == level, 0.0)
    if change.marrow_hu > 0:
        image = lumpy(image, window.spacing_mm_zyx, change.marrow_hu, change.lump_mm, change.seed, part)
    if change.rescan is not None:
        image = rescanned(image, window.spacing_mm_zyx, change.rescan, change.seed, part)
    return View(hu=_rescaled(image, change, part), levels=levels, zone=zone)


def windowed(hu: torch.Tensor, windows_hu: Sequence[Sequence[float]], dim: int = 0) -> torch.Tensor:
    """HU clipped to each window and brought to [-1, 1], the windows stacked as channels along `dim`."""
    channels = [(hu.clamp(low, high) - low) * (2.0 / (high - low)) - 1.0 for low, high in windows_hu]
    return torch.stack(channels, dim=dim)


def _index_map(study: Study, window: Window, change: Change) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Study index of a window voxel: matrix @ voxel + offset."""
    per_mm = 1.0 / study.spacing_mm_zyx
    matrix = per_mm[:, None] * change.frame * np.array(window.spacing_mm_zyx)[None, :]
    centre = window.centre_zyx + change.shift_mm_zyx * per_mm
    offset: NDArray[np.float64] = centre - matrix @ ((np.array(window.shape_zyx) - 1) / 2)
    return matrix, offset


def _reach(
    matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int, int], size: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Half-open index box of the study that a window can need."""
    ends = [(0, n - 1) for n in shape]
    corners = np.array([[k, j, i] for k in ends[0] for j in ends[1] for i in ends[2]], dtype=float)
    touched = corners @ matrix.T + offset
    room = np.abs(matrix).sum(axis=1) + 1
    low = np.clip(np.floor(touched.min(axis=0) - room), 0, size).astype(np.int64)
    high = np.clip(np.ceil(touched.max(axis=0) + room) + 1, 0, size).astype(np.int64)
    return low, high


def _averaged(
    hu: torch.Tensor, matrix: NDArray[np.float64], offset: NDArray[np.float64], window: Window, study: Study
) -> tuple[torch.Tensor, NDArray[np.float64], NDArray[np.float64]]:
    """The box averaged over blocks where the window's voxels are coarser, with matrix and offset that fit it."""
    factor = np.floor(np.array(window.spacing_mm_zyx) / study.spacing_mm_zyx + 0.25).astype(int)
    factor = np.clip(factor, 1, hu.shape)
    if factor.max() == 1:
        return hu, matrix, offset
    kernel = (int(factor[0]), int(factor[1]), int(factor[2]))
    return F.avg_pool3d(hu[None], kernel)[0], matrix / factor[:, None], (offset - (factor - 1) / 2) / factor


def _nearest(
    code: torch.Tensor, matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int, int]
) -> torch.Tensor:
    """Values of `code` (uint8 [z, y, x]) at the nearest index, 0 outside; on a CPU a third of the time of a grid."""
    if code.device.type != "cpu":
        return sampled_at_once(code.float(), matrix, offset, shape, outside=0.0, mode="nearest")
    padded = F.pad(code, (1, 1, 1, 1, 1, 1))
    m = torch.from_numpy(matrix).float()
    start = torch.from_numpy(offset).float() + 1.5  # one voxel of padding, and a half for rounding by truncation
    y, x = torch.arange(shape[1]).float()[:, None], torch.arange(shape[2]).float()[None, :]
    first = [y * m[axis, 1] + x * m[axis, 2] + start[axis] for axis in range(3)]
    out = torch.empty(shape, dtype=code.dtype)
    flat = padded.flatten()
    for z in range(shape[0]):
        index = torch.zeros(shape[1:], dtype=torch.int64)
        for axis in range(3):
            at = (first[axis] + m[axis, 0] * z).clamp_(0.0, padded.shape[axis] - 0.5)
            index.add_(at.to(torch.int64), alpha=padded.stride(axis))
        out[z] = torch.take(flat, index)
    return out


def _sampled(
    array: torch.Tensor,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    outside: float,
    mode: str = "bilinear",
) -> torch.Tensor:
    """`preprocess.sample_array` of an array [z, y, x] wherever it is; on a GPU all at once."""
    if array.device.type == "cpu":
        return sample_array(array, matrix, offset, shape, outside=outside, mode=mode)
    return sampled_at_once(array, matrix, offset, shape, outside=outside, mode=mode)


def sampled_at_once(
    array: torch.Tensor,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    outside: float,
    mode: str,
) -> torch.Tensor:
    """The same as `preprocess.sample_array`, on the array's device and without its slabs."""
    size = np.array(array.shape, dtype=float)
    # grid_sample with align_corners=False maps index i to (2 i + 1) / n - 1.
    scaled, shift = matrix * (2 / size)[:, None], (2 * offset + 1) / size - 1
    theta = torch.tensor(np.hstack([scaled, shift[:, None]]), dtype=torch.float32, device=array.device)
    axes = [torch.arange(n, dtype=torch.float32, device=array.device) for n in shape]
    z, y, x = axes[0][:, None, None, None], axes[1][None, :, None, None], axes[2][None, None, :, None]
    where = (z * theta[:, 0] + y * theta[:, 1] + x * theta[:, 2] + theta[:, 3]).flip(-1)
    source = (array - outside)[None, None]
    return F.grid_sample(source, where[None], mode=mode, padding_mode="zeros", align_corners=False)[0, 0] + outside


def _rescaled(hu: torch.Tensor, change: Change, part: int) -> torch.Tensor:
    """Another scanner and another bone density; nothing where the change has none."""
    if change.contrast != 1.0:
        bone = (hu - 120.0).clamp(min=0.0)
        hu = hu - bone + bone * change.contrast
    if change.thick > 1.0:
        hu = _resliced(_resliced(hu, max(1, round(hu.shape[0] / change.thick))), hu.shape[0])
    if change.blur > 0:
        hu = _blurred(hu, change.blur)
    if change.noise_hu > 0:
        hu = hu + unit_noise(hu, change.seed, part) * change.noise_hu
    if change.gain != 1.0 or change.offset_hu:
        hu = (hu + 1000.0) * change.gain - 1000.0 + change.offset_hu
    return hu


def _resliced(hu: torch.Tensor, count: int) -> torch.Tensor:
    """The same height in `count` slices, interpolated: a third of the time of a trilinear interpolation."""
    n = hu.shape[0]
    at = ((torch.arange(count, dtype=torch.float64) + 0.5) * n / count - 0.5).clamp(0, n - 1)
    low = at.floor().long()
    weight = (at - low).to(hu)[:, None, None]
    low = low.to(hu.device)
    return torch.lerp(hu[low], hu[(low + 1).clamp(max=n - 1)], weight)


def _blurred(hu: torch.Tensor, sigma: float) -> torch.Tensor:
    """In-plane Gaussian blur of `sigma` pixels, radius 2. Shifted sums: a fifth of the time of a convolution."""
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        n = hu.shape[axis]
        pad = (2, 2, 0, 0) if axis == 2 else (0, 0, 2, 2)
        wide = F.pad(hu[None], pad, mode="replicate")[0]
        out = wide.narrow(axis, 2, n) * float(kernel[2])
        for step in (1, 2):
            out.add_(wide.narrow(axis, 2 - step, n), alpha=float(kernel[2 - step]))
            out.add_(wide.narrow(axis, 2 + step, n), alpha=float(kernel[2 + step]))
        hu = out
    return hu
