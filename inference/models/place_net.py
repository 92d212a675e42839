"""The network that reads a straightened spine from top to bottom: which vertebra is where, and where one ends."""

from __future__ import annotations

import torch
from torch import nn

INPUTS = 3
# Above C2; C2 ... C7; T1; below T1.
PLACES = 9


class PlaceNet(nn.Module):
    """Logits [b, 10, n] of an input [b, 3, n, 32, 24] from `preprocess.place_input`, one column a millimetre.

    The first nine say what stands there (`PLACES`), the tenth whether one vertebra gives way to the next. Each cross-
    section is boiled down to one vector, in MONAI's residual units; units of growing dilation then read up and down the
    whole neck.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        from monai.networks.blocks import Convolution, ResidualUnit  # slow to import: see `FoldedUNet`

        norm = ("INSTANCE", {"affine": True})
        across, width = channels[:-1], channels[-1]
        layers: list[nn.Module] = []
        before = INPUTS
        for count in across:
            layers.append(
                ResidualUnit(
                    spatial_dims=3, in_channels=before, out_channels=count, strides=(1, 2, 2), subunits=2, norm=norm
                )
            )
            before = count
        self.across = nn.Sequential(*layers)
        self.boil = nn.Sequential(nn.Conv3d(before, width, (1, 4, 3)), nn.PReLU())
        self.along = nn.Sequential(
            *(
                ResidualUnit(
                    spatial_dims=1,
                    in_channels=width,
                    out_channels=width,
                    kernel_size=5,
                    subunits=2,
                    dilation=dilation,
                    norm=norm,
                    dropout=0.1,
                )
                for dilation in (1, 2, 4, 8, 2)
            ),
            Convolution(spatial_dims=1, in_channels=width, out_channels=PLACES + 1, kernel_size=1, conv_only=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = self.boil(self.across(x))[..., 0, 0]
        logits: torch.Tensor = self.along(columns)
        return logits
