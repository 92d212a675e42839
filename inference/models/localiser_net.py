"""A residual 3D U-Net that names each voxel's vertebra."""

from __future__ import annotations

import torch
from torch import nn

from inference.models.blocks import ResidualBlock, Up, depth_to_space, space_to_depth


class LocaliserNet(nn.Module):
    """Logits for background, C1 ... C7, T1 and lower vertebrae.

    Input [b, 1, z, y, x] at 2.5 mm with sides that are multiples of 16; output [b, 10, z, y, x]. The U-Net
    itself runs on the half-resolution grid of `space_to_depth`, which is what makes it fast on a CPU; the
    last layer unfolds its logits back to the input's grid. Its deepest level sees the entire window, as
    counting vertebrae needs.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 48, 96, 128), classes: int = 10) -> None:
        super().__init__()
        c = tuple(channels)
        self.stem = ResidualBlock(8, c[0])
        self.down = nn.ModuleList(
            nn.Sequential(ResidualBlock(c[i], c[i + 1], stride=2), ResidualBlock(c[i + 1], c[i + 1]))
            for i in range(len(c) - 1)
        )
        self.up = nn.ModuleList(Up(c[i + 1], c[i], c[i]) for i in reversed(range(len(c) - 1)))
        self.head = nn.Conv3d(c[0], classes * 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(space_to_depth(x))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up in self.up:
            x = up(x, skips.pop())
        return depth_to_space(self.head(x))
