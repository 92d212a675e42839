"""A residual 2D CNN for slices: one vector a slice, and features fine enough to show a place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def norm(channels: int) -> nn.BatchNorm2d:
    """Over all slices that are looked at together, in use too: then they are those of one study."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


class Block(nn.Module):
    """[n, in_channels, h, w] to [n, out_channels, h / stride, w / stride]: two 3 x 3 convolutions with a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = norm(out_channels)
        same = in_channels == out_channels and stride == 1
        # ceil_mode: as many pixels as the strided convolution leaves, of an odd side too.
        fewer = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
        widen = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.shortcut = nn.Identity() if same else nn.Sequential(fewer, widen)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SliceEncoder(nn.Module):
    """[n, in_channels, h, w] to (vectors [n, `width`], features [n, `fine`, h / 8, w / 8]).

    `channels` are those at strides 2, 4, 8, 16 ...; four or more, each a multiple of 8. Sides must be multiples of 8. A
    vector is the mean and the maximum of the deepest features.

    Norms are over all n images: with norms over each by itself the same network learnt next to nothing in the time in
    which this one finds most of a fracture's cells. In use those are one study's, and its own mean and variance take
    the place of averages kept from training: another scanner, kernel or noise then shifts no channel (test-time
    normalisation, Schneider et al. 2020, arXiv 2006.16971). An image's answer depends on those beside it.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], fine: int = 32) -> None:
        super().__init__()
        if len(channels) < 4 or any(c % 8 for c in channels):
            raise ValueError(f"channels {channels}: expected four or more multiples of 8")
        c = tuple(channels)
        self.width, self.fine = 2 * c[-1], fine
        self.stem = nn.Sequential(nn.Conv2d(in_channels, c[0], 3, 2, 1, bias=False), norm(c[0]), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(Block(c[i], c[i + 1], 2), Block(c[i + 1], c[i + 1], 1)) for i in range(len(c) - 1)
        )
        self.near = nn.Conv2d(c[2], fine, 1, bias=False)
        self.far = nn.Conv2d(c[3], fine, 1, bias=False)
        self.join = nn.Sequential(nn.Conv2d(fine, fine, 3, 1, 1, bias=False), norm(fine), nn.ReLU())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        steps = []
        for stage in self.stages:
            x = stage(x)
            steps.append(x)
        far = F.interpolate(self.far(steps[2]), size=steps[1].shape[2:], mode="nearest")
        features = self.join(self.near(steps[1]) + far)
        deep = x.float()
        return torch.cat([deep.mean(dim=(2, 3)), deep.amax(dim=(2, 3))], dim=1), features
