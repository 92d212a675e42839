"""The overlays of the study page's viewer, on the grid of its CT: the labels of both SEGs, and the curve by slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.app.viewing import (
    SUSPICION,
    VERTEBRAE,
    LevelPlace,
    Point,
    ViewerGrid,
    Viewing,
    read_grid,
    write_viewing,
    write_volume,
)
from dicom_node.core.finding import LEVELS, AnalysisResult, Finding
from dicom_node.results import codes
from dicom_node.results.seg import Mask
from dicom_node.results.segmentation import Labels
from dicom_node.results.sources import SourceSeries
from dicom_node.results.suspicion import BANDS, SuspectedRegions, SuspicionMap


def write_overlays(
    folder: Path,
    result: AnalysisResult,
    mask: Mask,
    regions: SuspectedRegions | None,
    maps: Mapping[str, SuspicionMap],
    sources: SourceSeries,
) -> None:
    """The folder that the analysis has begun is complete.

    Raises OSError, and ValueError, KeyError or TypeError where the analysis left something else than agreed.
    """
    grid = read_grid(folder)
    _check_fit(grid, mask)
    whole = Labels(values=mask.labels, start_zyx=(0, 0, 0), affine_lps=mask.affine_lps)
    _write(folder / VERTEBRAE, grid, on_grid(grid, whole))
    if regions is not None:
        bands = np.array([0, *(BANDS.index(band) + 1 for _, band in regions.parts)], dtype=np.uint8)
        _write(folder / SUSPICION, grid, bands[on_grid(grid, regions.labels)])
    write_viewing(
        folder,
        Viewing(
            grid=grid,
            levels=_places(result.findings, mask, sources),
            curve=suspicion_by_slice(maps, result.findings, mask),
            axis_mm_lps=_axis(mask),
            level_colours={level: codes.COLOURS[level].rgb for level in LEVELS},
            band_colours={band.name: band.rgb for band in BANDS},
            has_suspicion=regions is not None,
        ),
    )


def on_grid(grid: ViewerGrid, labels: Labels) -> NDArray[np.uint8]:
    """The label at the middle of each block, [z, y, x] of `grid`; 0 outside the labels' box."""
    picked = np.zeros(grid.shape_zyx, dtype=np.uint8)
    inside, wanted = [], []
    axes = zip(grid.start_zyx, grid.step_zyx, grid.shape_zyx, labels.start_zyx, labels.values.shape, strict=True)
    for start, step, count, first, size in axes:
        places = start + np.arange(count) * step + step // 2 - first
        known = (places >= 0) & (places < size)
        inside.append(np.flatnonzero(known))
        wanted.append(places[known])
    picked[np.ix_(*inside)] = labels.values[np.ix_(*wanted)]
    return picked


def suspicion_by_slice(maps: Mapping[str, SuspicionMap], findings: Iterable[Finding], mask: Mask) -> tuple[float, ...]:
    """For each slice the highest product of a level's probability and its map there, as a share of the map's peak."""
    curve = np.zeros(mask.labels.shape[0], dtype=np.float64)
    for finding in findings:
        found = maps.get(finding.level)
        if found is None or finding.probability is None:
            continue
        peak = float(found.values.max(initial=0.0))
        if peak <= 0:
            continue
        slices = _slices_of(found, mask)
        inside = (slices >= 0) & (slices < len(curve))
        own = np.zeros_like(curve)
        np.maximum.at(own, slices[inside], finding.probability / peak * found.values.reshape(-1)[inside])
        curve = np.maximum(curve, _without_gaps(own))
    return tuple(round(float(value), 4) for value in curve)


def _slices_of(found: SuspicionMap, mask: Mask) -> NDArray[np.int64]:
    """The slice that each voxel of the map lies on, in the map's order."""
    to_grid = np.linalg.inv(mask.affine_lps) @ found.affine_lps
    z, y, x = (np.arange(count) for count in found.values.shape)
    places = to_grid[2, 0] * x + to_grid[2, 1] * y[:, None] + to_grid[2, 2] * z[:, None, None] + to_grid[2, 3]
    return np.rint(places).astype(np.int64).reshape(-1)


def _without_gaps(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slices finer than the map's voxels get what lies between their neighbours."""
    known = np.flatnonzero(curve)
    if not known.size:
        return curve
    filled = curve.copy()
    middle = np.arange(known[0], known[-1] + 1)
    filled[middle] = np.interp(middle, known, curve[known])
    return filled


def _places(findings: Iterable[Finding], mask: Mask, sources: SourceSeries) -> tuple[LevelPlace, ...]:
    places = []
    for finding in findings:
        if finding.key_index_zyx is not None:
            z, y, x = finding.key_index_zyx
            point = _point(mask.affine_lps @ (x, y, z, 1))
            number = sources.frames[z].image_number if z < len(sources.frames) else None
            places.append(LevelPlace(level=finding.level, point_mm_lps=point, slice_index=z, image_number=number))
        elif finding.location_mm_lps is not None:
            places.append(LevelPlace(level=finding.level, point_mm_lps=finding.location_mm_lps, slice_index=None))
    return tuple(places)


def _axis(mask: Mask) -> tuple[Point, Point]:
    """The middle of the vertebrae's columns and rows, on the first and on the last slice."""
    flat: NDArray[np.bool_] = np.asarray(mask.labels.any(axis=0))
    y, x = (float(places.mean()) for places in flat.nonzero())
    last = mask.labels.shape[0] - 1
    return _point(mask.affine_lps @ (x, y, 0, 1)), _point(mask.affine_lps @ (x, y, last, 1))


def _write(file: Path, grid: ViewerGrid, labels: NDArray[np.uint8]) -> None:
    write_volume(file, grid, (plane.tobytes() for plane in labels))


def _check_fit(grid: ViewerGrid, mask: Mask) -> None:
    ends: list[int] = [a + n * d for a, n, d in zip(grid.start_zyx, grid.shape_zyx, grid.step_zyx, strict=True)]
    if any(end > size for end, size in zip(ends, mask.labels.shape, strict=True)):
        raise ValueError(f"the viewer's grid ends at {ends}, the analysed one at {mask.labels.shape}")


def _point(values: NDArray[np.float64]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])
