"""From the localiser's coarse answer to each vertebra's own shape, at 1 mm.

Naming needs the whole neck and little detail, drawing needs detail and one vertebra: two networks do one each. The
second sees a box around one level with where the first put it, and answers how much of each voxel is that level's bone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from inference.postprocess import Column, keep_largest
from inference.preprocess import AIR_HU, SHAPE_SPACING_MM, PatientGrid, sample_grid, shape_input

# Holds the widest C1, the deepest C7 and the tallest C2 of large people, turned by 15 degrees.
SHAPE_WINDOW_ZYX: Final = (64, 80, 96)
_LAST_CERVICAL: Final = 8
_HALF: Final = 0.5
# A shape this much smaller than the coarse piece is a failure of the second network: the coarse one stands.
_LEAST_SHARE: Final = 0.35

Draw = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """How much of each voxel of `grid` is the level's bone: float32 [z, y, x], 0-1."""

    grid: PatientGrid
    share: torch.Tensor


def draw_shapes(
    column: Column, near: torch.Tensor, hu: torch.Tensor, fine: PatientGrid, draw: Draw
) -> dict[int, Shape]:
    """A shape for each level of the column.

    `near` [classes, z, y, x] are the localiser's probabilities on the column's grid, `hu` [z, y, x] lies on `fine`,
    which is `finer` of it. `draw` takes the network's input [4, *SHAPE_WINDOW_ZYX] and returns shares of that size.
    """
    any_bone = near[1:].sum(dim=0)
    shapes = {}
    for level in column.levels:
        own = soft_piece(column, level, near)
        hints = sample_grid(torch.stack([own, (any_bone - own).clamp(min=0.0)]), column.grid, fine)
        box = _window(column, level, fine)
        inside, part = _inside(box, fine.shape_zyx)
        batch = shape_input(torch.full(SHAPE_WINDOW_ZYX, AIR_HU), *torch.zeros((2, *SHAPE_WINDOW_ZYX)))
        batch[(slice(None), *part)] = shape_input(hu[inside], hints[0][inside], hints[1][inside])
        share = draw(batch)[part]
        if float((share > _HALF).sum()) < _LEAST_SHARE * float((hints[0][inside] > _HALF).sum()):
            share = hints[0][inside]
        shapes[level] = Shape(grid=fine.part(inside), share=share)
    return shapes


def coarse_shapes(column: Column, near: torch.Tensor | None = None) -> dict[int, Shape]:
    """Shapes as coarse as the column itself: of its labels, or of the localiser's probabilities on its grid."""
    return {
        level: Shape(
            grid=column.grid,
            share=torch.from_numpy((column.labels == level).astype(np.float32))
            if near is None
            else soft_piece(column, level, near),
        )
        for level in column.levels
    }


def reshaped(column: Column, shapes: dict[int, Shape]) -> Column:
    """The column with the shapes' voxels in place of its own, one connected piece per level."""
    if all(shape.grid == column.grid for shape in shapes.values()):
        return column
    grid = finer(column.grid)
    strongest = torch.full(grid.shape_zyx, _HALF)
    labels = torch.zeros(grid.shape_zyx, dtype=torch.uint8)
    for level, shape in shapes.items():
        where = _place(shape.grid, grid)
        more = shape.share > strongest[where]
        strongest[where] = torch.where(more, shape.share, strongest[where])
        labels[where] = torch.where(more, torch.tensor(level, dtype=torch.uint8), labels[where])
    return replace(column, grid=grid, labels=keep_largest(labels.numpy()))


def on_column(probabilities: torch.Tensor, grid: PatientGrid, part: PatientGrid) -> torch.Tensor:
    """The probabilities on the column's part of their grid, which shares its voxels."""
    return probabilities[(slice(None), *_place(part, grid))]


def soft_piece(column: Column, level: int, near: torch.Tensor) -> torch.Tensor:
    """How much of each coarse voxel is the level's: all that is cervical inside its piece, its own class around it.

    Inside the piece the network may waver between two names; what the piece is called was decided for all of it.
    """
    own = torch.from_numpy(column.labels == level)
    free = torch.from_numpy(column.labels == 0)
    rim = near[column.named_by.get(level, level)] * free
    return torch.where(own, near[1:_LAST_CERVICAL].sum(dim=0), rim)


def finer(grid: PatientGrid) -> PatientGrid:
    """The 1 mm grid that fills the voxels of a coarser one."""
    coarse = np.array(grid.spacing_mm_zyx)
    nz, ny, nx = np.ceil(np.array(grid.shape_zyx) * coarse / SHAPE_SPACING_MM - 1e-6).astype(int).tolist()
    x, y, z = np.array(grid.origin_lps_mm) + (SHAPE_SPACING_MM - coarse[::-1]) / 2
    return PatientGrid(
        origin_lps_mm=(float(x), float(y), float(z)), spacing_mm_zyx=(SHAPE_SPACING_MM,) * 3, shape_zyx=(nz, ny, nx)
    )


def _window(column: Column, level: int, fine: PatientGrid) -> tuple[slice, ...]:
    """The window about the level's extent, as indices of the fine grid; it may reach beyond it."""
    low, high = np.percentile(column.voxels(level), [2, 98], axis=0)
    middle = fine.to_index_zyx(column.grid.to_lps_mm((low + high) / 2))
    starts = np.round(middle - (np.array(SHAPE_WINDOW_ZYX) - 1) / 2).astype(int)
    return tuple(slice(int(s), int(s) + n) for s, n in zip(starts, SHAPE_WINDOW_ZYX, strict=True))


def _inside(
    box: tuple[slice, ...], shape: tuple[int, int, int]
) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
    """The part of the box that the grid has, as indices of the grid and of the box."""
    grid_part, box_part = [], []
    for side, n in zip(box, shape, strict=True):
        start, stop = max(0, side.start), min(n, side.stop)
        grid_part.append(slice(start, stop))
        box_part.append(slice(start - side.start, stop - side.start))
    return (grid_part[0], grid_part[1], grid_part[2]), (box_part[0], box_part[1], box_part[2])


def _place(part: PatientGrid, whole: PatientGrid) -> tuple[slice, slice, slice]:
    z, y, x = (round(float(i)) for i in whole.to_index_zyx(np.array(part.origin_lps_mm)))
    nz, ny, nx = part.shape_zyx
    return slice(z, z + nz), slice(y, y + ny), slice(x, x + nx)
