"""What is thin: a U-Net that ends at two pixels, beside an encoder whose blocks begin at four.

A hairline is about a pixel wide, and little of it is left four pixels apart. The network without this path gave the
phantoms that it was trained on no better answers than others (docs/EXPERIMENTS.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from inference.models.slice_encoder import Block, norm

CELL = 2
"""Pixels of a fine cell."""


class FinePath(nn.Module):
    """[n, in_channels, h, w] to (logits [n, h / 2, w / 2] of what looks fractured, vectors [n, `width`]).

    Pixels are folded two by two into channels, so that the first convolution misses none. `channels` are those at one,
    two, four and eight pixels, or without the first: then nothing but that convolution sees single pixels. Those at one
    pixel add nothing at first, so a path can get them that was trained without. Sides must be multiples of 8. A vector
    holds the highest features of the slice, the features where it looks most fractured, and how fractured it looks
    there.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) not in (3, 4):
            raise ValueError(f"fine channels {channels}: expected those at (one,) two, four and eight pixels")
        fine, middle, far = channels[-3:]
        self.width = 2 * fine + 2
        self.sharp = _Sharp(in_channels, channels[0], fine) if len(channels) == 4 else None
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels * CELL**2, fine, 3, 1, 1, bias=False), norm(fine), nn.ReLU(), Block(fine, fine, 1)
        )
        self.down = nn.Sequential(Block(fine, middle, 2), Block(middle, middle, 1))
        self.deep = nn.Sequential(Block(middle, far, 2), Block(far, far, 1))
        self.rise = _Join(far, middle)
        self.show = _Join(middle, fine)
        self.head = nn.Conv2d(fine, 1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        near = self.stem(F.pixel_unshuffle(x, CELL))
        if self.sharp is not None:
            near = near + self.sharp(x)
        middle = self.down(near)
        features = self.show(self.rise(self.deep(middle), middle), near)
        logits = self.head(features).float()[:, 0]
        flat, seen = logits.flatten(1), features.flatten(2)
        there = (seen @ flat.softmax(dim=1).to(seen.dtype)[..., None])[..., 0]
        peak = flat.amax(dim=1, keepdim=True)
        vectors = [seen.amax(dim=2).float(), there.float(), peak / 5.0, called(logits)[:, None] / 5.0]
        return logits, torch.cat(vectors, dim=1)


def called(logits: torch.Tensor) -> torch.Tensor:
    """What slices [n] are called by their maps [n, y, x]: the mean of the eight highest cells."""
    flat = logits.flatten(1)
    return flat.topk(min(8, flat.shape[1]), dim=1).values.mean(dim=1)


class _Sharp(nn.Module):
    """[n, in_channels, h, w] to [n, fine, h / 2, w / 2]: three convolutions at single pixels, then folded."""

    def __init__(self, in_channels: int, channels: int, fine: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            norm(channels),
            nn.ReLU(),
            Block(channels, channels, 1),
        )
        self.fold = nn.Conv2d(channels * CELL**2, fine, 1, bias=False)
        nn.init.zeros_(self.fold.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        folded: torch.Tensor = self.fold(F.pixel_unshuffle(self.see(x), CELL))
        return folded


class _Join(nn.Module):
    """Coarse features beside the finer ones they came from."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse, fine, 1, bias=False)
        self.join = nn.Sequential(nn.Conv2d(fine, fine, 3, 1, 1, bias=False), norm(fine), nn.ReLU())

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        wide = F.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="nearest")
        joined: torch.Tensor = self.join(fine + wide)
        return joined
