"""Slices through one vertebra, evenly spaced over its height, each with its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.experiments.changes import Change, View, Window, look
from inference.experiments.studies import Study
from inference.preprocess import PatientGrid


@dataclass(frozen=True, kw_only=True)
class StackShape:
    """`slices` slices of `size_yx` pixels of `pixel_mm`, each with `neighbours` (odd, itself included) `near_mm` apart.

    `margin_mm` is how far the first and the last slice lie beyond the vertebra's ends.
    """

    slices: int
    neighbours: int
    size_yx: tuple[int, int]
    pixel_mm: float
    near_mm: float
    margin_mm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """`hu` [slices, neighbours, y, x]; `own` and `zone` [slices, y, x] in 0-1 are this vertebra and its fracture.

    `zone` counts a slice's neighbours too: what any of them shows. `grid` holds the slices themselves where nothing is
    turned.
    """

    hu: torch.Tensor
    own: torch.Tensor
    zone: torch.Tensor
    grid: PatientGrid

    @property
    def z_mm(self) -> NDArray[np.float64]:
        """Patient heights of the slices (LPS z)."""
        steps = np.arange(self.grid.shape_zyx[0], dtype=np.float64)
        return np.asarray(self.grid.origin_lps_mm[2] + steps * self.grid.spacing_mm_zyx[0])


def level_stack(
    study: Study, level: int, box: NDArray[np.float64], shape: StackShape, change: Change, *, truth: bool = False
) -> Stack:
    """The stack of one level (1-7) whose index box (low, high) [2, 3] on the study's grid is given."""
    height = (box[1, 0] - box[0, 0]) * study.spacing_mm_zyx[0] + 2 * shape.margin_mm
    near = shape.neighbours // 2
    count = max(shape.slices, round(height / shape.near_mm) + 1)
    window = Window(
        centre_zyx=box.mean(axis=0),
        spacing_mm_zyx=(shape.near_mm, shape.pixel_mm, shape.pixel_mm),
        shape_zyx=(count + 2 * near, *shape.size_yx),
    )
    view = look(study, window, change, part=level, truth=truth)
    middles = np.linspace(near, near + count - 1, shape.slices).round().astype(int)
    return _stacked(view, level, middles, near, _grid(study, window, near, count, shape))


def _stacked(view: View, level: int, middles: NDArray[np.int64], near: int, grid: PatientGrid) -> Stack:
    middle = torch.from_numpy(middles).to(view.hu.device)
    index = middle[:, None] + torch.arange(-near, near + 1, device=middle.device)
    own = (view.levels == level).float()[middle]
    zone = (view.zone == level).float()[index].amax(dim=1)
    return Stack(hu=view.hu[index], own=own, zone=zone, grid=grid)


def _grid(study: Study, window: Window, near: int, count: int, shape: StackShape) -> PatientGrid:
    """Where the stack lies: its slices are `(count - 1) / (slices - 1)` steps apart."""
    spacing = np.array(window.spacing_mm_zyx)
    half = (np.array(window.shape_zyx) - 1) / 2 * spacing
    first = window.centre_zyx - half / study.spacing_mm_zyx
    first[0] += near * shape.near_mm / study.spacing_mm_zyx[0]
    x, y, z = (float(v) for v in study.grid.to_lps_mm(first))
    apart = shape.near_mm * (count - 1) / max(1, shape.slices - 1)
    return PatientGrid(
        origin_lps_mm=(x, y, z),
        spacing_mm_zyx=(apart, shape.pixel_mm, shape.pixel_mm),
        shape_zyx=(shape.slices, *shape.size_yx),
    )
