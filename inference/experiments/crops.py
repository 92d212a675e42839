"""Slices through one vertebra, evenly spaced over its height, each with its neighbours; coronal ones too."""

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

    `margin_mm` is how far the first and the last slice lie beyond the vertebra's ends. Besides, `coronal_slices`
    coronal ones of `coronal_rows` rows `near_mm` apart, every `coronal_every` (even) pixels about the middle, each with
    a neighbour halfway to the next before and behind; 0: none.
    """

    slices: int
    neighbours: int
    size_yx: tuple[int, int]
    pixel_mm: float
    near_mm: float
    margin_mm: float
    coronal_slices: int = 0
    coronal_rows: int = 0
    coronal_every: int = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Slices:
    """`hu` [slices, neighbours, rows, x]; `own` and `zone` [slices, rows, x] in 0-1: this vertebra and its fracture.

    `zone` counts a slice's neighbours too: what any of them shows. `grid` (z, y, x) holds the slices themselves where
    nothing is turned; the rows of coronal ones are its z.
    """

    hu: torch.Tensor
    own: torch.Tensor
    zone: torch.Tensor
    grid: PatientGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack(Slices):
    """Axial slices, and coronal ones where they were asked for."""

    coronal: Slices | None = None

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
    # As much above as below, so that the slices lie where they lie without it.
    beyond = max(0, -(-(shape.coronal_rows - count - 2 * near) // 2)) if shape.coronal_slices else 0
    first = near + beyond
    window = Window(
        centre_zyx=box.mean(axis=0),
        spacing_mm_zyx=(shape.near_mm, shape.pixel_mm, shape.pixel_mm),
        shape_zyx=(count + 2 * first, *shape.size_yx),
    )
    view = look(study, window, change, part=level, truth=truth)
    middles = np.linspace(first, first + count - 1, shape.slices).round().astype(int)
    apart = shape.near_mm * (count - 1) / max(1, shape.slices - 1)
    grid = PatientGrid(
        origin_lps_mm=_place(study, window, (first, 0, 0)),
        spacing_mm_zyx=(apart, shape.pixel_mm, shape.pixel_mm),
        shape_zyx=(shape.slices, *shape.size_yx),
    )
    return Stack(
        **vars(_slices(view, level, middles, np.arange(-near, near + 1), grid)),
        coronal=_coronal(study, window, view, level, shape) if shape.coronal_slices else None,
    )


def _coronal(study: Study, window: Window, view: View, level: int, shape: StackShape) -> Slices:
    count, rows, every = shape.coronal_slices, shape.coronal_rows, shape.coronal_every
    low, front = (view.hu.shape[0] - rows) // 2, (view.hu.shape[1] - 1 - (count - 1) * every) // 2
    grid = PatientGrid(
        origin_lps_mm=_place(study, window, (low, front, 0)),
        spacing_mm_zyx=(shape.near_mm, every * shape.pixel_mm, shape.pixel_mm),
        shape_zyx=(rows, count, shape.size_yx[1]),
    )
    upright = View(**{name: part[low : low + rows].transpose(0, 1) for name, part in vars(view).items()})
    beside = np.array([-every // 2, 0, every // 2])
    return _slices(upright, level, front + every * np.arange(count), beside, grid)


def _slices(view: View, level: int, middles: NDArray[np.int64], beside: NDArray[np.int64], grid: PatientGrid) -> Slices:
    """Those at `middles`, each with the ones `beside` it; a zone counts all from the first of those to the last."""
    middle = torch.from_numpy(middles).to(view.hu.device)[:, None]
    own = (view.levels == level).float()[middle[:, 0]]
    reach = torch.arange(int(beside[0]), int(beside[-1]) + 1, device=middle.device)
    zone = (view.zone == level).float()[middle + reach].amax(dim=1)
    return Slices(hu=view.hu[middle + torch.from_numpy(beside).to(middle)], own=own, zone=zone, grid=grid)


def _place(study: Study, window: Window, voxel_zyx: tuple[int, int, int]) -> tuple[float, float, float]:
    """Where a window's voxel lies (LPS mm)."""
    spacing = np.array(window.spacing_mm_zyx)
    from_centre = (np.array(voxel_zyx) - (np.array(window.shape_zyx) - 1) / 2) * spacing
    x, y, z = (float(v) for v in study.grid.to_lps_mm(window.centre_zyx + from_centre / study.spacing_mm_zyx))
    return x, y, z
