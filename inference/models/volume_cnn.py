"""The plain 3D CNN of the third seed."""

from __future__ import annotations

import torch
from torch import nn


class VolumeCNN(nn.Module):
    """Eight logits [n, 8] of a whole neck [n, in_channels, z, y, x]; sides multiples of 2 to the number of channels."""

    def __init__(self, in_channels: int, channels: tuple[int, ...] = (64, 64, 128, 256), hidden: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv3d(before, after, 3, 1, 1), nn.ReLU(), nn.MaxPool3d(2), nn.BatchNorm3d(after)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(channels[-1], hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(x).mean(dim=(2, 3, 4)))
        return logits
