"""Building blocks shared by the two networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions with instance norm and a shortcut; the first may stride by 2 and widen."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.InstanceNorm3d(out_channels, affine=True)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.InstanceNorm3d(out_channels, affine=True)
        same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, stride, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + self.shortcut(x), 0.01)


class Up(nn.Module):
    """Trilinear doubling, concatenation with the skip, one convolution."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv3d(in_channels, out_channels, 1, bias=False)
        self.conv = nn.Conv3d(out_channels + skip_channels, out_channels, 3, 1, 1, bias=False)
        self.norm = nn.InstanceNorm3d(out_channels, affine=True)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(self.reduce(x), size=skip.shape[2:], mode="nearest")
        return F.leaky_relu(self.norm(self.conv(torch.cat([x, skip], dim=1))), 0.01)


def space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """[b, c, z, y, x] to [b, 8 c, z/2, y/2, x/2]: full-resolution detail at an eighth of the cost."""
    b, c, z, y, w = x.shape
    x = x.reshape(b, c, z // 2, 2, y // 2, 2, w // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, z // 2, y // 2, w // 2)


def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `space_to_depth`."""
    b, c, z, y, w = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, z, y, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, z * 2, y * 2, w * 2)
