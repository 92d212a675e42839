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
        x = self.features[0](x)
        # One channel has no order: without this the rest would run in the slower, contiguous layout.
        x = x.contiguous(memory_format=torch.channels_last_3d)
        for layer in list(self.features)[1:]:
            x = layer(x)
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3, 4)))
        return logits
