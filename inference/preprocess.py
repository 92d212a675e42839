"""From a `Volume` to the tensors the networks see; training and serving both go through here.

A bundle carries `PREPROCESSING_SHA256`: weights trained on one set of these numbers are refused by code
that holds another, because a network fed with another spacing or window answers nonsense with confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.bundle_files import canonical_sha256
from inference.volume import Volume

AIR_HU: Final = -1000.0

PREPROCESSING: Final = {
    "revision": 4,
    "localiser": {"spacing_mm": 2.0, "hu_low": -1000.0, "hu_high": 1500.0, "outside_hu": AIR_HU},
    "shape": {
        "spacing_mm": 1.0,
        "windows_hu": [[-150.0, 450.0], [0.0, 1500.0]],
        "outside_hu": AIR_HU,
        "hints": "trilinear shares of the localiser grid: this level, any other bone",
    },
    "place": {
        "spacing_mm_zyx": [1.0, 2.0, 2.0],
        "shape_yx": [32, 24],
        "windows_hu": [[-150.0, 450.0], [0.0, 1500.0]],
        "seen": "1 inside the scan, 0 outside",
    },
    "antialias": "block mean over floor(target / source spacing) voxels, then trilinear",
}


def preprocessing_sha256() -> str:
    """SHA-256 of the canonical JSON of `PREPROCESSING`."""
    return canonical_sha256(PREPROCESSING)


LOCALISER_SPACING_MM: Final = float(PREPROCESSING["localiser"]["spacing_mm"])  # type: ignore[index,call-overload]
SHAPE_SPACING_MM: Final = float(PREPROCESSING["shape"]["spacing_mm"])  # type: ignore[index,call-overload]
# Along the straightened spine, front to back, to the left.
PLACE_SPACING_MM: Final = (1.0, 2.0, 2.0)
PLACE_SHAPE_YX: Final = (32, 24)


@dataclass(frozen=True, kw_only=True)
class PatientGrid:
    """A sampling grid whose array axes run along patient axes: [z, y, x] towards superior, posterior, left.

    `origin_lps_mm` is the centre of voxel [0, 0, 0] as (x, y, z); `spacing_mm_zyx` follows the array axes.
    """

    origin_lps_mm: tuple[float, float, float]
    spacing_mm_zyx: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]

    def affine_lps(self) -> NDArray[np.float64]:
        """4 x 4, (x, y, z) voxel index to LPS mm, as in `Volume.affine_lps`."""
        affine = np.eye(4)
        affine[[0, 1, 2], [0, 1, 2]] = self.spacing_mm_zyx[::-1]
        affine[:3, 3] = self.origin_lps_mm
        return affine

    def part(self, region: tuple[slice, slice, slice]) -> PatientGrid:
        """The grid of one index box of this one."""
        x, y, z = self.to_lps_mm(np.array([s.start for s in region], dtype=float))
        shape = (region[0].stop - region[0].start, region[1].stop - region[1].start, region[2].stop - region[2].start)
        return PatientGrid(
            origin_lps_mm=(float(x), float(y), float(z)), spacing_mm_zyx=self.spacing_mm_zyx, shape_zyx=shape
        )

    def to_lps_mm(self, zyx: NDArray[Any]) -> NDArray[np.float64]:
        """Map indices [..., (z, y, x)] to LPS mm [..., (x, y, z)]."""
        index = np.asarray(zyx, dtype=np.float64)[..., ::-1]
        return index * np.array(self.spacing_mm_zyx[::-1]) + np.array(self.origin_lps_mm)

    def to_index_zyx(self, lps_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map LPS mm [..., (x, y, z)] to fractional indices [..., (z, y, x)]."""
        index = (np.asarray(lps_mm, dtype=np.float64) - self.origin_lps_mm) / self.spacing_mm_zyx[::-1]
        return index[..., ::-1]


def grid_covering(volume: Volume, spacing_mm: float) -> PatientGrid:
    """The isotropic patient-aligned grid that covers every voxel centre of `volume`."""
    z, y, x = volume.hu.shape
    corners = np.array([[k, j, i] for k in (0, z - 1) for j in (0, y - 1) for i in (0, x - 1)], dtype=float)
    lps = volume.to_lps_mm(corners)
    low, high = lps.min(axis=0), lps.max(axis=0)
    # A hair of rounding must not cost a slice where the extent is a multiple of the spacing.
    count = np.floor((high - low) / spacing_mm + 1e-6).astype(int) + 1
    slack = (high - low) - (count - 1) * spacing_mm
    origin = low + slack / 2
    return PatientGrid(
        origin_lps_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        spacing_mm_zyx=(spacing_mm,) * 3,
        shape_zyx=(int(count[2]), int(count[1]), int(count[0])),
    )


def sample_volume(volume: Volume, grid: PatientGrid) -> torch.Tensor:
    """HU of `volume` on `grid`: float32 [z, y, x], air where the grid leaves the volume.

    Only the part of the source that the grid can reach is converted to float, slab by slab, so memory
    is bounded by the result and not by the source.
    """
    matrix, offset = _index_map(volume.affine_lps, grid)
    low, high = _source_bounds(matrix, offset, grid.shape_zyx, volume.hu.shape)
    if np.any(high <= low):
        return torch.full(grid.shape_zyx, AIR_HU)
    spacing = np.array(volume.spacing_mm_zyx)
    factor = np.maximum(1, np.floor(np.array(grid.spacing_mm_zyx) / spacing + 0.25).astype(int))
    factor = np.minimum(factor, np.maximum(1, high - low))
    block = _block_mean(volume.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]], factor)
    # Voxel centre i of the block mean lies at source index low + i * factor + (factor - 1) / 2.
    offset = (offset - low - (factor - 1) / 2) / factor
    matrix = matrix / factor[:, None]
    return sample_array(block, matrix, offset, grid.shape_zyx, outside=AIR_HU)


def sample_array(
    array: torch.Tensor,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape_zyx: tuple[int, int, int],
    *,
    outside: float,
    mode: str = "bilinear",
) -> torch.Tensor:
    """Sample float32 `array` [..., z, y, x] at index `matrix @ (z, y, x) + offset` for each output voxel.

    Leading channels are kept. Points more than half a voxel outside give `outside`. Works slab by slab.
    """
    if mode == "bilinear" and np.count_nonzero(matrix) == 3 and np.all(np.diag(matrix) != 0):
        return _sample_aligned(array, np.diag(matrix), offset, shape_zyx, outside)
    source = array.reshape((1, -1, *array.shape[-3:])) - outside
    size = np.array(source.shape[2:], dtype=float)
    # grid_sample with align_corners=False maps index i to (2 i + 1) / n - 1; scale once, here.
    scaled, shift = matrix * (2 / size)[:, None], (2 * offset + 1) / size - 1
    axes = [torch.arange(n, dtype=torch.float32) for n in shape_zyx]
    columns = [torch.tensor(scaled[:, k], dtype=torch.float32) for k in range(3)]
    plane = (axes[1][:, None, None] * columns[1] + axes[2][None, :, None] * columns[2]) + torch.tensor(
        shift, dtype=torch.float32
    )
    out = torch.empty((source.shape[1], *shape_zyx), dtype=torch.float32)
    step = max(1, 2_000_000 // (shape_zyx[1] * shape_zyx[2]))
    for start in range(0, shape_zyx[0], step):
        z = axes[0][start : start + step]
        where = (plane[None] + z[:, None, None, None] * columns[0]).flip(-1)
        sampled = F.grid_sample(source, where[None], mode=mode, padding_mode="zeros", align_corners=False)
        out[:, start : start + step] = sampled[0]
    return (out + outside).reshape((*array.shape[:-3], *shape_zyx))


def _sample_aligned(
    array: torch.Tensor,
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape_zyx: tuple[int, int, int],
    outside: float,
) -> torch.Tensor:
    """`sample_array` where both grids share their axes: one axis after the other, the one that shrinks most first.

    Three passes of a one-dimensional interpolation cost a tenth of looking up eight neighbours of every voxel.
    """
    out = array
    order = sorted(range(3), key=lambda axis: shape_zyx[axis] / array.shape[axis - 3])
    for axis in order:
        dim, n = out.ndim - 3 + axis, array.shape[axis - 3]
        at = torch.arange(shape_zyx[axis], dtype=torch.float64) * float(scale[axis]) + float(offset[axis])
        low = torch.floor(at)
        shape = [-1 if d == dim else 1 for d in range(out.ndim)]
        weight = (at - low).to(torch.float32).reshape(shape)
        first, second = (_plane(out, dim, low.long() + k, n, outside) for k in (0, 1))
        out = torch.lerp(first, second, weight)
    return out


def _plane(array: torch.Tensor, dim: int, index: torch.Tensor, n: int, outside: float) -> torch.Tensor:
    """The planes `index` of an axis of length `n`, `outside` where there are none."""
    taken = array.index_select(dim, index.clamp(0, n - 1))
    gone = (index < 0) | (index >= n)
    if bool(gone.any()):
        taken = taken.index_fill(dim, torch.nonzero(gone)[:, 0], outside)
    return taken


def sample_grid(
    array: torch.Tensor, source: PatientGrid, target: PatientGrid, *, outside: float = 0.0, mode: str = "bilinear"
) -> torch.Tensor:
    """Resample `array` [..., z, y, x] from one patient grid to another."""
    matrix, offset = _index_map(source.affine_lps(), target)
    return sample_array(array, matrix, offset, target.shape_zyx, outside=outside, mode=mode)


def localiser_input(hu: torch.Tensor) -> torch.Tensor:
    """HU to about [-1, 1.5]: clipped to the localiser's window, one unit per 1000 HU."""
    return hu.clamp(-1000.0, 1500.0) / 1000.0


def shape_input(hu: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Four channels [..., 4, z, y, x]: soft-tissue and bone window in [-1, 1], this level and other bone in [0, 1]."""
    return torch.stack([*_soft_and_bone(hu), own, other], dim=-4)


def place_input(hu: torch.Tensor, seen: NDArray[np.bool_] | torch.Tensor) -> torch.Tensor:
    """Three channels [..., 3, n, y, x]: soft-tissue and bone window in [-1, 1], and 1 where the scan reaches."""
    return torch.stack([*_soft_and_bone(hu), torch.as_tensor(seen).to(hu.dtype)], dim=-4)


def _soft_and_bone(hu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (hu.clamp(-150.0, 450.0) - 150.0) / 300.0, hu.clamp(0.0, 1500.0) / 750.0 - 1.0


def _index_map(
    source_affine: NDArray[np.float64], grid: PatientGrid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset that take a grid index (z, y, x) to a source index (z, y, x)."""
    inverse = np.linalg.inv(source_affine)
    xyz = inverse @ grid.affine_lps()
    return xyz[:3, :3][::-1, ::-1].copy(), xyz[:3, 3][::-1].copy()


def _source_bounds(
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape_zyx: tuple[int, int, int],
    source_shape: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Half-open index range of the source that the grid touches, with room for anti-aliasing."""
    ends = [(0, n - 1) for n in shape_zyx]
    corners = np.array([[k, j, i] for k in ends[0] for j in ends[1] for i in ends[2]], dtype=float)
    reach = corners @ matrix.T + offset
    room = np.abs(matrix).sum(axis=1) + 2
    low = np.clip(np.floor(reach.min(axis=0) - room), 0, source_shape).astype(np.int64)
    high = np.clip(np.ceil(reach.max(axis=0) + room) + 1, 0, source_shape).astype(np.int64)
    return low, high


def _block_mean(hu: NDArray[np.int16], factor: NDArray[np.int64]) -> torch.Tensor:
    """Mean over blocks of `factor` voxels; a remainder at the far end is dropped."""
    f = [int(v) for v in factor]
    shape = [n // k for n, k in zip(hu.shape, f, strict=True)]
    out = torch.empty(shape, dtype=torch.float32)
    step = max(1, 8_000_000 // max(1, hu.shape[1] * hu.shape[2] * f[0]))
    for start in range(0, shape[0], step):
        stop = min(shape[0], start + step)
        slab = np.ascontiguousarray(hu[start * f[0] : stop * f[0], : shape[1] * f[1], : shape[2] * f[2]])
        tensor = torch.from_numpy(slab).to(torch.float32)
        out[start:stop] = F.avg_pool3d(tensor[None], (f[0], f[1], f[2]))[0] if max(f) > 1 else tensor
    return out.clamp_(min=AIR_HU)
