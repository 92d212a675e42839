"""A 3D CNN that looks at one vertebra and says whether, and where, it is broken."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from inference.models.blocks import ResidualBlock, Up, space_to_depth


class FractureNet(nn.Module):
    """A fracture logit for the vertebra in the crop, and a logit map that shows where.

    Input [b, 4, z, y, x] from `preprocess.classifier_input`, sides multiples of 16. Returns
    (`level_logit` [b], `map_logits` [b, z/2, y/2, x/2]). The map is trained on the generator's fracture
    mask: dense supervision teaches a small network from few studies, and the map's peak is the place shown
    to the reader.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96, 128), level_embedding: int = 8) -> None:
        super().__init__()
        c = tuple(channels)
        self.level = nn.Embedding(8, level_embedding)
        self.stem = ResidualBlock(32, c[0])
        self.down = nn.ModuleList(ResidualBlock(c[i], c[i + 1], stride=2) for i in range(len(c) - 1))
        self.up = nn.ModuleList(Up(c[i + 1], c[i], c[i]) for i in reversed(range(len(c) - 1)))
        self.map_head = nn.Conv3d(c[0], 1, 1)
        self.mlp = nn.Sequential(
            nn.Linear(c[-1] * 2 + c[0] + 3 + level_embedding, 64), nn.LeakyReLU(0.01), nn.Dropout(0.2), nn.Linear(64, 1)
        )

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inside = F.avg_pool3d(x[:, 2:3], 2)
        x = self.stem(space_to_depth(x))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        deep = x
        for up in self.up:
            x = up(x, skips.pop())
        map_logits = self.map_head(x)[:, 0].float()
        features = [
            deep.float().mean(dim=(2, 3, 4)),
            deep.float().amax(dim=(2, 3, 4)),
            _attended(x.float(), map_logits, inside.float()),
            _peaks(map_logits, inside.float()),
            self.level(level).float(),
        ]
        return self.mlp(torch.cat(features, dim=1))[:, 0], map_logits


def _attended(features: torch.Tensor, map_logits: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Features averaged where the map is high within the vertebra: [b, c]."""
    weight = torch.sigmoid(map_logits)[:, None] * (inside + 0.02)
    return (features * weight).sum(dim=(2, 3, 4)) / (weight.sum(dim=(2, 3, 4)) + 1.0)


def _peaks(map_logits: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Mean of the 5, 50 and 300 highest map logits near the vertebra, divided by 5: [b, 3]."""
    near = F.max_pool3d(inside, 3, 1, 1)[:, 0]
    values = (map_logits - 8.0 * (1.0 - near)).flatten(1)
    top = values.topk(300, dim=1).values
    return torch.stack([top[:, :5].mean(1), top[:, :50].mean(1), top.mean(1)], dim=1) / 5.0
