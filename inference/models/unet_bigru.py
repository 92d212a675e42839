"""The fifth seed's two stages in one module: a 2.5D U-Net for the levels, a CNN with a recurrent head for fractures."""

from __future__ import annotations

import torch
from torch import nn

from inference.models.sequence import Sequence
from inference.models.slice_encoder import SliceEncoder

LEVEL_CLASSES = 9


class UNetBiGRU(nn.Module):
    """Stage one: slices [n, 3, h, w] to logits [n, 9, h, w] of background, C1-C7 and other vertebrae.

    Stage two: crops [m, slices, 3, h, w] of levels [m] (1-7) to fracture logits [m] and attention [m, slices].
    """

    def __init__(
        self, unet_channels: tuple[int, ...], channels: tuple[int, ...], hidden: int, neighbours: int = 3
    ) -> None:
        super().__init__()
        from monai.networks.nets import UNet  # slow to import: only who builds a network pays for it

        self.unet = UNet(
            spatial_dims=2,
            in_channels=neighbours,
            out_channels=LEVEL_CLASSES,
            channels=tuple(unet_channels),
            strides=(2,) * (len(unet_channels) - 1),
            num_res_units=2,
            norm=("INSTANCE", {"affine": True}),
        )
        self.encoder = SliceEncoder(neighbours, channels)
        self.sequence = Sequence("gru", self.encoder.width, hidden)
        self.attention = nn.Linear(self.sequence.width, 1)
        self.level = nn.Embedding(8, 8)
        self.head = nn.Sequential(nn.Linear(self.sequence.width + 8, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))

    def forward(
        self, slices: torch.Tensor, crops: torch.Tensor, levels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both stages at once, as training needs them: (`segment`, then the two of `classify`)."""
        return self.segment(slices), *self.classify(crops, levels)

    def segment(self, slices: torch.Tensor) -> torch.Tensor:
        """Stage one."""
        logits: torch.Tensor = self.unet(slices)
        return logits.float()

    def classify(self, crops: torch.Tensor, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stage two."""
        vectors, _ = self.encoder(crops.flatten(0, 1))
        states = self.sequence(vectors.unflatten(0, crops.shape[:2]))
        weights = torch.softmax(self.attention(states).float()[..., 0], dim=1)
        pooled = (states * weights[..., None]).sum(dim=1)
        logits = self.head(torch.cat([pooled, self.level(levels)], dim=1))[:, 0]
        return logits.float(), weights
