"""Move the coarse borders between levels into the disc spaces.

The localiser counts well and measures roughly: on a scan unlike its training its borders may all sit some millimetres
too high or too low, which the eye corrects at once because discs are dark between bright endplates. So does this: it
walks down through the vertebral bodies, looks for dark gaps near each border, chooses the set of gaps that is dark,
near and evenly spaced (dynamic programming), and shifts the answer along the column to fit. Where no gap is seen
(fused levels) a border follows its neighbours. Over C2 stands the dens and no disc: a set of gaps with another gap
above its first, under C2, is a count that is one off, and the set one further up or down is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from inference.postprocess import Column, body_centre, keep_largest
from inference.preprocess import PatientGrid

Array = NDArray[np.float64]

_STEP_MM: Final = 0.5
_PROBE_MM: Final = 5.0
_NEAR_MM: Final = 9.0
_BEYOND_MM: Final = 14.0
# A disc is at least this much darker than the bone above and below it (see `_contrast`).
_LEAST_CONTRAST: Final = 0.12
# Where marrow is thin the middle of a body may be darker than a narrow disc between bright endplates. Only gaps that
# are dark beyond doubt may move the whole column by half a level and more.
_SURE_CONTRAST: Final = 0.58
_MUSCLE_HU: Final = 55.0
_PITCH_MM: Final = (10.0, 25.0)
_UNEVEN_PENALTY: Final = 0.9
_UNSEEN: Final = -0.12
# Under the axis a missing disc is rare (a block of C2 and C3), and a count that is one off is not.
_UNSEEN_UNDER_AXIS: Final = -0.7
_LEAST_LEVELS: Final = 3
_LEAST_SHIFT_MM: Final = 0.6


@dataclass(frozen=True, kw_only=True)
class _Manner:
    """How far a border may go, and what 9 mm of it cost beside the contrast gained."""

    reach_mm: float
    far_penalty: float


_BOLD: Final = _Manner(reach_mm=15.0, far_penalty=0.08)
_CAREFUL: Final = _Manner(reach_mm=9.0, far_penalty=0.6)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Walk:
    """Points [n, 3] (LPS mm) from top to bottom through the bodies, `_STEP_MM` apart, and the way down at each."""

    points: Array
    ways: Array


def snap_to_discs(
    column: Column, near: torch.Tensor, hu: torch.Tensor, grid: PatientGrid
) -> tuple[Column, torch.Tensor]:
    """The column and its probabilities [classes, z, y, x], both moved so that borders lie in disc spaces.

    `hu` [z, y, x] on `grid` covers the column. What cannot be bettered comes back as it is.
    """
    levels = [k for k in range(2, 8) if bool((column.labels == k).any())]
    if len(levels) < _LEAST_LEVELS or levels != list(range(levels[0], levels[-1] + 1)):
        return column, near
    walk = _walk(column, levels)
    borders = _borders(column, walk, levels)
    if borders is None:
        return column, near
    contrast = _contrast(_profile(hu, grid, walk))
    axis = levels[0] == 2
    chosen = _choose(borders, contrast, _BOLD, first_is_axis=axis)
    if contrast[np.round(chosen).astype(int)].mean() < _SURE_CONTRAST:
        chosen = _choose(borders, contrast, _CAREFUL, first_is_axis=axis)
    shift = chosen - borders
    if np.abs(shift).max() * _STEP_MM < _LEAST_SHIFT_MM:
        return column, near
    return _moved(column, near, walk, borders, shift * _STEP_MM)


def _walk(column: Column, levels: list[int]) -> _Walk:
    """A smooth line through the bodies of C2 and below, a little longer at both ends."""
    centres = np.array([body_centre(column, k) for k in levels])
    z = centres[:, 2]
    # Straight or gently bent: a border that sits wrongly must not bend the line.
    degree = min(2, len(levels) - 1)
    along = np.arange(z.max() + _BEYOND_MM, z.min() - _BEYOND_MM, -_STEP_MM / 2)
    inner = np.clip(along, z.min(), z.max())
    line = np.empty((len(along), 3))
    for axis in (0, 1):
        fit = np.polynomial.Polynomial.fit(z, centres[:, axis], degree)
        line[:, axis] = fit(inner) + fit.deriv()(inner) * (along - inner)
    line[:, 2] = along
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.arange(0.0, length[-1], _STEP_MM)
    points = np.stack([np.interp(at, length, line[:, axis]) for axis in range(3)], axis=1)
    ways = np.gradient(points, axis=0)
    return _Walk(points=points, ways=ways / np.linalg.norm(ways, axis=1, keepdims=True))


def _probe(walk: _Walk) -> Array:
    """Points [n, m, 3] of a disc across the line at each of its points."""
    side = np.arange(-_PROBE_MM, _PROBE_MM + 0.1, 1.25)
    u, v = (a.ravel() for a in np.meshgrid(side, side))
    keep = u**2 + v**2 <= _PROBE_MM**2
    u, v = u[keep], v[keep]
    left = np.cross(np.array([0.0, 1.0, 0.0]), walk.ways)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    back = np.cross(walk.ways, left)
    return walk.points[:, None] + left[:, None] * u[None, :, None] + back[:, None] * v[None, :, None]


def _borders(column: Column, walk: _Walk, levels: list[int]) -> Array | None:
    """Where along the line each level gives way to the next: indices [levels - 1]; None where the line misses one."""
    index = np.round(column.grid.to_index_zyx(_probe(walk))).astype(int)
    inside = np.all((index >= 0) & (index < column.labels.shape), axis=-1)
    index = np.clip(index, 0, np.array(column.labels.shape) - 1)
    seen = np.where(inside, column.labels[index[..., 0], index[..., 1], index[..., 2]], 0)
    middles = []
    for level in levels:
        share = (seen == level).mean(axis=1)
        if share.sum() < 2.0:
            return None
        middles.append((share, float((share * np.arange(len(share))).sum() / share.sum())))
    borders = []
    for (upper, top), (lower, bottom) in pairwise(middles):
        if bottom <= top:
            return None
        # The place that leaves least of the upper level below it and of the lower one above it.
        wrong = np.cumsum(lower) + (upper.sum() - np.cumsum(upper))
        between = np.arange(len(wrong))
        wrong = np.where((between >= top) & (between <= bottom), wrong, np.inf)
        borders.append(float(np.flatnonzero(wrong <= wrong.min() + 1e-6).mean()))
    return np.array(borders)


def _profile(hu: torch.Tensor, grid: PatientGrid, walk: _Walk) -> Array:
    """Mean HU of the probe along the line."""
    index = grid.to_index_zyx(_probe(walk))
    values = ndimage.map_coordinates(hu.numpy(), index.reshape(-1, 3).T, order=1, mode="nearest")
    clipped: Array = np.clip(values, -100, 900).reshape(index.shape[:2]).mean(axis=1)
    return ndimage.gaussian_filter1d(clipped, 1.0)


def _contrast(profile: Array) -> Array:
    """How much darker each place is than the bone 3-9 mm off on both sides, as a share of its excess over muscle."""
    reach = [round(mm / _STEP_MM) for mm in (3.0, 9.0)]
    above = np.array([profile[max(0, i - reach[1]) : max(1, i - reach[0])].mean() for i in range(len(profile))])
    below = np.array([profile[min(len(profile) - 1, i + reach[0]) : i + reach[1]].mean() for i in range(len(profile))])
    bone = np.minimum(above, below)
    share: Array = (bone - profile) / np.maximum(bone - _MUSCLE_HU, 60.0)
    return share


def _choose(borders: Array, contrast: Array, manner: _Manner, *, first_is_axis: bool) -> Array:
    """New border indices: the dark places that are near, deep and evenly spaced, by dynamic programming."""
    reach = round(manner.reach_mm / _STEP_MM)
    pitch = np.diff(borders)
    even = float(np.median(pitch)) if len(pitch) else 0.0
    choices: list[list[tuple[float, float]]] = []
    for border in borders:
        low, high = max(1, int(border) - reach), min(len(contrast) - 1, int(border) + reach + 1)
        places = [
            (float(i), float(contrast[i]))
            for i in range(low, high)
            if contrast[i] >= _LEAST_CONTRAST and contrast[i] >= contrast[i - 1] and contrast[i] > contrast[i + 1]
        ]
        worth = _UNSEEN_UNDER_AXIS if first_is_axis and not choices else _UNSEEN
        unseen = [(border + offset, worth) for offset in np.arange(-reach, reach + 1, 2)]
        choices.append(places + unseen)
    above = [_disc_above(place, contrast) if first_is_axis else 0.0 for place, _ in choices[0]]
    best = [
        [
            _worth(place, value, borders[0], manner.far_penalty) - extra
            for (place, value), extra in zip(choices[0], above, strict=True)
        ]
    ]
    come: list[list[int]] = []
    for k in range(1, len(borders)):
        row, steps = [], []
        for place, value in choices[k]:
            options = [
                before - _unevenness(place - last, even)
                for before, (last, _) in zip(best[-1], choices[k - 1], strict=True)
            ]
            steps.append(int(np.argmax(options)))
            row.append(max(options) + _worth(place, value, borders[k], manner.far_penalty))
        best.append(row)
        come.append(steps)
    at = int(np.argmax(best[-1]))
    chosen = [choices[-1][at][0]]
    for k in range(len(borders) - 1, 0, -1):
        at = come[k - 1][at]
        chosen.append(choices[k - 1][at][0])
    return np.array(chosen[::-1])


def _disc_above(place: float, contrast: Array) -> float:
    """How clearly a disc is seen one level above a place: over C2 stands the dens, and no disc."""
    low, high = (round(place - mm / _STEP_MM) for mm in (21.0, 11.0))
    seen = contrast[max(0, low) : max(0, high)]
    return float(np.clip(seen.max(), 0.0, 1.0)) if len(seen) else 0.0


def _worth(place: float, contrast: float, border: float, far_penalty: float) -> float:
    return min(contrast, 1.0) - far_penalty * ((place - border) * _STEP_MM / _NEAR_MM) ** 2


def _unevenness(step: float, even: float) -> float:
    mm = step * _STEP_MM
    if not _PITCH_MM[0] <= mm <= _PITCH_MM[1]:
        return 10.0
    return _UNEVEN_PENALTY * ((mm - even * _STEP_MM) / 6.0) ** 2


def _moved(
    column: Column, near: torch.Tensor, walk: _Walk, borders: Array, shift_mm: Array
) -> tuple[Column, torch.Tensor]:
    """Labels and probabilities shifted along the line: by each border's own shift, in between by what lies between."""
    grid = column.grid
    nz = grid.shape_zyx[0]
    heights = grid.to_lps_mm(np.stack([np.arange(nz), np.zeros(nz), np.zeros(nz)], axis=1))[:, 2]
    place = np.interp(-heights, -walk.points[:, 2], np.arange(len(walk.points), dtype=float))
    # A voxel shows what lay as far back along the line as its border has moved: look up by the moved borders.
    amount = np.interp(place, borders + shift_mm / _STEP_MM, shift_mm)
    way = np.stack([np.interp(place, np.arange(len(walk.ways)), walk.ways[:, a]) for a in range(3)], axis=1)
    back = -(way * amount[:, None])[:, ::-1] / np.array(grid.spacing_mm_zyx)
    axes = [torch.arange(n, dtype=torch.float32) for n in grid.shape_zyx]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    index = index + torch.from_numpy(back.astype(np.float32))[:, None, None, :]
    where = ((2 * index + 1) / torch.tensor(grid.shape_zyx, dtype=torch.float32) - 1).flip(-1)[None]
    moved = F.grid_sample(near[None], where, padding_mode="border", align_corners=False)[0]
    labels = F.grid_sample(
        torch.from_numpy(column.labels)[None, None].float(), where, mode="nearest", align_corners=False
    )[0, 0]
    return replace(column, labels=keep_largest(labels.numpy().round().astype(np.uint8))), moved
