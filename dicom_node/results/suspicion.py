"""Where positive levels look suspicious, as bands on the grid of the images.

A map explains, it does not measure: its values compare with each other and with nothing else. So the bands are shares
of the map's own peak, and a positive level always has its key voxel, the peak's place in bone, in the highest. Bands
do not overlap, and the bone of another level never belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, map_coordinates

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import LEVELS, Finding
from dicom_node.results.seg import Mask
from dicom_node.results.segmentation import Labels


@dataclass(frozen=True, kw_only=True)
class Band:
    """From this share of the map's peak up to the next band's; `rgb` is its display colour."""

    name: str
    from_share: float
    to_share: float
    rgb: tuple[int, int, int]


# Pale to red, none of them near a vertebra's colour.
BANDS = (
    Band(name="low", from_share=0.25, to_share=0.5, rgb=(255, 238, 170)),
    Band(name="moderate", from_share=0.5, to_share=0.75, rgb=(255, 168, 70)),
    Band(name="high", from_share=0.75, to_share=1.0, rgb=(255, 25, 25)),
)


_CLAIMS = len(BANDS) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class SuspicionMap:
    """`values` float32 [z, y, x] in 0-1 on a grid of its own; `affine_lps` maps its (x, y, z, 1) to LPS mm."""

    values: NDArray[np.float32]
    affine_lps: NDArray[np.float64]

    def at(self, points_mm: NDArray[np.float64]) -> NDArray[np.float32]:
        """The map between its voxels at LPS mm [..., (x, y, z)]; 0 outside it."""
        to_voxels = np.linalg.inv(self.affine_lps)
        voxels = points_mm @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        places = np.moveaxis(voxels[..., ::-1], -1, 0)
        found: NDArray[np.float32] = map_coordinates(self.values, places, order=1, mode="constant")
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class SuspectedRegions:
    """`labels` on the analysed grid: label k stands for `parts[k - 1]`, a level and one of its bands."""

    labels: Labels
    parts: tuple[tuple[str, Band], ...]


def read_maps(file: Path) -> dict[str, SuspicionMap]:
    """By level. Raises EncodingInvalid where the file is not what `AnalysisResult.suspicion_path` promises."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            levels = [level for level in LEVELS if f"{level}_values" in arrays]
            maps = {
                level: SuspicionMap(values=arrays[f"{level}_values"], affine_lps=arrays[f"{level}_affine"])
                for level in levels
            }
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise EncodingInvalid(f"the suspicion maps {file.name} cannot be read: {error}") from error
    for level, found in maps.items():
        if found.values.ndim != 3 or found.affine_lps.shape != (4, 4) or not np.isfinite(found.values).all():
            raise EncodingInvalid(
                f"the suspicion map of {level} in {file.name} is {found.values.shape} with an affine"
                f" {found.affine_lps.shape}, expected finite numbers [z, y, x] and 4 x 4"
            )
    return maps


def suspected_regions(
    maps: Mapping[str, SuspicionMap], findings: Iterable[Finding], mask: Mask
) -> SuspectedRegions | None:
    """The bands of each positive level that has a map or a key voxel; None where no level has either."""
    regions = {}
    for finding in findings:
        if finding.is_positive:
            pieces = _bands(maps.get(finding.level), finding, mask)
            if pieces is not None:
                regions[finding.level] = pieces
    if not regions:
        return None
    return _numbered(regions, mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Box:
    """`bands` uint8 [z, y, x], 0 for none, k for `BANDS[k - 1]`; its first voxel is `start`."""

    start: NDArray[np.int64]
    bands: NDArray[np.uint8]

    @property
    def end(self) -> NDArray[np.int64]:
        return self.start + self.bands.shape

    @property
    def region(self) -> tuple[slice, ...]:
        return tuple(slice(int(low), int(high)) for low, high in zip(self.start, self.end, strict=True))


def _bands(found: SuspicionMap | None, finding: Finding, mask: Mask) -> _Box | None:
    key = finding.key_index_zyx
    peak = float(found.values.max(initial=0.0)) if found is not None else 0.0
    box = None
    if found is not None and peak > 0:
        box = _sampled(found, peak, LEVELS.index(finding.level) + 1, mask)
    if key is None:
        return box if box is not None and box.bands.any() else None
    single = _Box(start=np.array(key), bands=np.full((1, 1, 1), len(BANDS), dtype=np.uint8))
    return single if box is None else _with_key(box, np.array(key))


def _sampled(found: SuspicionMap, peak: float, own_label: int, mask: Mask) -> _Box | None:
    """The map between its voxels on the part of the grid that can reach the lowest band; None outside the grid."""
    # Maps voxel (x, y, z) of the analysed grid to that of the map.
    matrix: NDArray[np.float64] = np.linalg.inv(found.affine_lps) @ mask.affine_lps
    to_grid: NDArray[np.float64] = np.linalg.inv(mask.affine_lps) @ found.affine_lps
    low, high = _reach(found.values >= BANDS[0].from_share * peak, to_grid, mask.labels.shape)
    if np.any(high <= low):
        return None
    flip = slice(None, None, -1)
    offset = matrix[:3, :3] @ low[flip] + matrix[:3, 3]
    share = affine_transform(
        found.values / np.float32(peak),
        matrix[:3, :3][flip, flip],
        offset[flip],
        output_shape=tuple(high - low),
        order=1,
        mode="constant",
    )
    box = _Box(start=low, bands=np.digitize(share, [band.from_share for band in BANDS]).astype(np.uint8))
    bone = mask.labels[box.region]
    box.bands[(bone > 0) & (bone != own_label)] = 0
    return box


def _reach(
    inside: NDArray[np.bool_], to_grid: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel and end (z, y, x) on the grid of all that lies within a voxel of what is inside on the map."""
    places = np.argwhere(inside)
    first, last = places.min(axis=0) - 1, places.max(axis=0) + 1
    corners = np.array([[x, y, z, 1] for z, y, x in product(*zip(first, last, strict=True))])
    on_grid = (corners @ to_grid.T)[:, 2::-1]
    low = np.clip(np.floor(on_grid.min(axis=0)), 0, None).astype(np.int64)
    high = np.minimum(np.ceil(on_grid.max(axis=0)).astype(np.int64) + 1, shape)
    return low, high


def _with_key(box: _Box, key: NDArray[np.int64]) -> _Box:
    start, end = np.minimum(box.start, key), np.maximum(box.end, key + 1)
    bands = np.zeros(end - start, dtype=np.uint8)
    offset = box.start - start
    bands[tuple(slice(o, o + n) for o, n in zip(offset, box.bands.shape, strict=True))] = box.bands
    bands[tuple(key - start)] = len(BANDS)
    return _Box(start=start, bands=bands)


def _numbered(regions: dict[str, _Box], mask: Mask) -> SuspectedRegions:
    """One array of labels around all boxes. Where two levels claim a voxel, the higher band has it, else the first."""
    start = np.min([box.start for box in regions.values()], axis=0)
    end = np.max([box.end for box in regions.values()], axis=0)
    claims = np.zeros(end - start, dtype=np.uint8)  # _CLAIMS * (1-7 = C1-C7) + (1-3 = band)
    for level, box in regions.items():
        part = tuple(slice(int(a), int(b)) for a, b in zip(box.start - start, box.end - start, strict=True))
        wins = box.bands > claims[part] % _CLAIMS
        claims[part][wins] = _CLAIMS * (LEVELS.index(level) + 1) + box.bands[wins]
    numbers, parts = np.zeros(256, dtype=np.uint8), []
    for claim in np.flatnonzero(np.bincount(claims.reshape(-1), minlength=256)[1:]) + 1:
        parts.append((LEVELS[claim // _CLAIMS - 1], BANDS[claim % _CLAIMS - 1]))
        numbers[claim] = len(parts)
    first = (int(start[0]), int(start[1]), int(start[2]))
    labels = Labels(values=numbers[claims], start_zyx=first, affine_lps=mask.affine_lps)
    return SuspectedRegions(labels=labels, parts=tuple(parts))
