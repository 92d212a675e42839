"""Fracture logits and suspicion points for each vertebra of a column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from inference.postprocess import Column, extent_centre_mm
from inference.preprocess import PatientGrid, classifier_input, crop_grid, sample_grid, sample_volume
from inference.suspicion import SuspicionMap
from inference.volume import Volume


@dataclass(frozen=True, kw_only=True)
class LevelScore:
    """`logit` before calibration; `suspicion` is 0 outside the level."""

    logit: float
    suspicion: SuspicionMap


def crop_level(volume: Volume, column: Column, level: int) -> tuple[torch.Tensor, PatientGrid]:
    """The classifier's input [4, z, y, x] for one level and the grid it lies on."""
    grid = crop_grid(extent_centre_mm(column, level))
    hu = sample_volume(volume, grid)
    own = torch.from_numpy((column.labels == level).astype(np.float32))
    other = torch.from_numpy(((column.labels != level) & (column.labels > 0)).astype(np.float32))
    masks = sample_grid(torch.stack([own, other]), column.grid, grid)
    return classifier_input(hu, masks[0], masks[1]), grid


def classify(
    volume: Volume,
    column: Column,
    levels: list[int],
    net: nn.Module,
    device: torch.device,
    progress: Callable[[float], None] | None = None,
) -> dict[int, LevelScore]:
    """A score for each of `levels` (1-7): the mean over the crop and its left-right mirror image."""
    scores = {}
    for done, level in enumerate(levels):
        crop, grid = crop_level(volume, column, level)
        scores[level] = _score(crop, grid, level, net, device)
        if progress is not None:
            progress((done + 1) / len(levels))
    return scores


def _score(crop: torch.Tensor, grid: PatientGrid, level: int, net: nn.Module, device: torch.device) -> LevelScore:
    batch = torch.stack([crop, crop.flip(-1)]).to(device)
    with torch.inference_mode():
        logit, suspicion = net(batch, torch.full((2,), level, device=device))
    both = (suspicion[0] + suspicion[1].flip(-1)).float().cpu() / 2
    inside = torch.nn.functional.avg_pool3d(crop[None, 2:3], 2)[0, 0] > 0.2
    if bool(inside.any()):
        both = torch.where(inside, both, torch.full_like(both, -1e4))
    # A voxel of the half-resolution map covers two of the crop: its centre lies half a voxel further on.
    x, y, z = grid.to_lps_mm(np.full(3, 0.5))
    half = PatientGrid(
        origin_lps_mm=(float(x), float(y), float(z)),
        spacing_mm_zyx=(2 * grid.spacing_mm_zyx[0], 2 * grid.spacing_mm_zyx[1], 2 * grid.spacing_mm_zyx[2]),
        shape_zyx=(both.shape[0], both.shape[1], both.shape[2]),
    )
    suspicion = SuspicionMap(values=torch.sigmoid(both).numpy(), grid=half)
    return LevelScore(logit=float(logit.float().mean()), suspicion=suspicion)
