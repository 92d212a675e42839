"""The network that names each voxel's vertebra: MONAI's residual U-Net, folded to run fast on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from inference.models.blocks import depth_to_space, space_to_depth

CLASSES = 11


class LocaliserNet(nn.Module):
    """Logits for background, C1 ... C7, T1, lower vertebrae and skull.

    Input [b, 1, z, y, x] at 2 mm with sides that are multiples of `STRIDE`; output [b, 11, z, y, x]. MONAI's `UNet`
    itself runs on the half-resolution grid of `space_to_depth`, which is what makes it fast on a CPU; its last layer's
    logits are unfolded back to the input's grid. Its deepest level sees the whole neck, as counting vertebrae needs.
    """

    STRIDE = 16

    def __init__(self, channels: tuple[int, ...] = (32, 48, 96, 128), classes: int = CLASSES) -> None:
        super().__init__()
        from monai.networks.nets import UNet  # slow to import: only who builds the network pays for it

        self.net = UNet(
            spatial_dims=3,
            in_channels=8,
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
