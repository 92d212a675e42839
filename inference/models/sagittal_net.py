"""One 2D network for several sagittal slices of a neck."""

from __future__ import annotations

import torch
from torch import nn

from inference.models.slice_encoder import SliceEncoder


class SagittalNet(nn.Module):
    """Eight logits [n, 8] of sagittal slices [n, slices, channels, z, y].

    Each slice goes through the same encoder. The study head reads the slices' vectors; the level head reads fine
    features averaged over y and over the slices, so that it knows how high in the neck something is.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], heights: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.encoder = SliceEncoder(in_channels, channels)
        self.study = nn.Sequential(nn.Linear(2 * self.encoder.width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.rows = nn.AdaptiveAvgPool1d(heights)
        level_inputs = 2 * self.encoder.fine * heights + 2 * self.encoder.width
        self.levels = nn.Sequential(nn.Linear(level_inputs, hidden), nn.ReLU(), nn.Linear(hidden, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, slices = x.shape[:2]
        vectors, fine = self.encoder(x.flatten(0, 1))
        vectors, fine = vectors.unflatten(0, (n, slices)), fine.float().unflatten(0, (n, slices))
        whole = torch.cat([vectors.mean(dim=1), vectors.amax(dim=1)], dim=1)
        rows = torch.cat([fine.mean(dim=(1, 4)), fine.amax(dim=(1, 4))], dim=1)
        levels = self.levels(torch.cat([self.rows(rows).flatten(1), whole], dim=1))
        return torch.cat([self.study(whole), levels], dim=1).float()
