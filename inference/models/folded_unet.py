"""MONAI's residual U-Net on a folded grid: full-resolution answers at the price of half the resolution."""

from __future__ import annotations

import torch
from torch import nn

from inference.models.blocks import depth_to_space, space_to_depth


class FoldedUNet(nn.Module):
    """Logits [b, classes, z, y, x] of an input [b, in_channels, z, y, x] whose sides are multiples of 2 to the
    power of the levels (16 for four channels).

    The U-Net itself runs on the half-resolution grid of `space_to_depth`, which is what makes it fast on a CPU; its
    last layer's logits are unfolded back to the input's grid.
    """

    def __init__(self, in_channels: int, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        from monai.networks.nets import UNet  # slow to import: only who builds a network pays for it

        self.net = UNet(
            spatial_dims=3,
            in_channels=8 * in_channels,
            out_channels=channels[0],
            channels=tuple(channels),
            strides=(2,) * (len(channels) - 1),
            num_res_units=2,
            norm=("INSTANCE", {"affine": True}),
        )
        self.head = nn.Sequential(nn.PReLU(), nn.Conv3d(channels[0], classes * 8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        folded: torch.Tensor = self.head(self.net(space_to_depth(x)))
        return depth_to_space(folded)
