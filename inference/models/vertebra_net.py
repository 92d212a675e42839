"""Slices of each vertebra, read in order, and the seven vertebrae read together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from inference.models.fine_path import FinePath, called
from inference.models.sequence import Sequence
from inference.models.slice_encoder import SliceEncoder
from inference.precision import has_bfloat16

_ABSENT = -10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class VertebraLogits:
    """Logits of n studies: `levels` [n, 7], `slices` [n, 7, s], `maps` [n, 7, s, h / 8, w / 8], `overall` [n].

    `fine` [n, 7, s, h / 2, w / 2] of a network with a fine path, `coronal` [n, 7, s, rows / 2, w / 2] of one with a
    coronal path. A level that is absent has -10 throughout.
    """

    levels: torch.Tensor
    slices: torch.Tensor
    maps: torch.Tensor
    overall: torch.Tensor
    fine: torch.Tensor | None = None
    coronal: torch.Tensor | None = None


class VertebraNet(nn.Module):
    """Input [n, 7, slices, channels, h, w] and which levels are there [n, 7] (bool).

    Every slice has a vector and a coarse map of what looks fractured; the map's peaks are part of what the recurrent
    head reads, so that the place and the verdict belong together. A level's logit is the mean of its `top` highest
    slice logits. The overall logit is learned from the levels' own summaries, in their order down the neck.

    With three `fine` channels there is a fine path, whose vectors are added to the slices' own, weighed with nothing at
    first: it can be `added` to a network that was trained without it, and leaves that one's answers as they were.
    So does a coronal path, with three `coronal` channels, which reads coronal slices [n, 7, slices, coronal_channels,
    rows, w] (without them: ValueError) and adds to the level's logit: what lies flat shows in one axial slice or two,
    and is a line in those.
    """

    added = ("fine.", "fine_vectors.", "coronal.", "coronal_head.")

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, ...],
        hidden: int,
        layers: int,
        top: int,
        fine: tuple[int, ...] = (),
        coronal: tuple[int, ...] = (),
        coronal_channels: int = 0,
    ) -> None:
        super().__init__()
        self.top = top
        self.encoder = SliceEncoder(in_channels, channels)
        self.map_head = nn.Conv2d(self.encoder.fine, 1, 1)
        self.sequence = Sequence("lstm", self.encoder.width + 2, hidden, layers)
        wide = self.sequence.width
        self.slice_head = nn.Sequential(nn.Linear(wide, 64), nn.LeakyReLU(0.1), nn.Dropout(0.2), nn.Linear(64, 1))
        self.neck = Sequence("gru", 2 * wide + 2, 32)
        self.overall_head = nn.Sequential(nn.Linear(2 * self.neck.width, 32), nn.LeakyReLU(0.1), nn.Linear(32, 1))
        self.fine = FinePath(in_channels, fine) if fine else None
        if self.fine is not None:
            self.fine_vectors = nn.Linear(self.fine.width, self.encoder.width, bias=False)
            nn.init.zeros_(self.fine_vectors.weight)
        self.coronal = FinePath(coronal_channels, coronal) if coronal else None
        if self.coronal is not None:
            last = nn.Linear(32, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.coronal_head = nn.Sequential(nn.Linear(self.coronal.width + 2, 32), nn.LeakyReLU(0.1), last)

    def forward(
        self, crops: torch.Tensor, present: torch.Tensor, coronal: torch.Tensor | None = None
    ) -> VertebraLogits:
        n, levels, slices = crops.shape[:3]
        there = present.flatten()
        images = crops.flatten(0, 1)[there].flatten(0, 1)
        vectors, features = self.encoder(images)
        maps = self.map_head(features).float()[:, 0]
        fine = None
        if self.fine is not None:
            fine, thin = self._thin(self.fine, images)
            vectors = vectors + self.fine_vectors(thin)
        peaks = maps.flatten(1).topk(min(8, maps[0].numel()), dim=1).values
        read = torch.cat([vectors, peaks[:, :1] / 5.0, peaks.mean(dim=1, keepdim=True) / 5.0], dim=1)
        states = self.sequence(read.unflatten(0, (-1, slices)))
        slice_logits = self.slice_head(states).float()[..., 0]
        level_logits = slice_logits.topk(min(self.top, slices), dim=1).values.mean(dim=1)
        upright = None
        if self.coronal is not None:
            if coronal is None:
                raise ValueError("a network with a coronal path reads coronal slices too")
            upright, seen = self._thin(self.coronal, coronal.flatten(0, 1)[there].flatten(0, 1))
            level_logits = level_logits + self._upright(upright, seen, coronal.shape[2])
        summary = torch.cat([states.mean(dim=1), states.amax(dim=1), level_logits[:, None]], dim=1)
        of_slices = {"slices": slice_logits, "maps": maps.unflatten(0, (-1, slices))}
        if fine is not None:
            of_slices["fine"] = fine.unflatten(0, (-1, slices))
        if upright is not None and coronal is not None:
            of_slices["coronal"] = upright.unflatten(0, (-1, coronal.shape[2]))
        return VertebraLogits(
            levels=_placed(level_logits, there, _ABSENT).unflatten(0, (n, levels)),
            overall=self._overall(_placed(summary, there, 0.0).unflatten(0, (n, levels)), present),
            **{name: _placed(part, there, _ABSENT).unflatten(0, (n, levels)) for name, part in of_slices.items()},
        )

    def _upright(self, maps: torch.Tensor, vectors: torch.Tensor, slices: int) -> torch.Tensor:
        """What the coronal slices of each level add to its logit."""
        calls = called(maps).unflatten(0, (-1, slices)).topk(min(3, slices), dim=1).values / 5.0
        highest = vectors.unflatten(0, (-1, slices)).amax(dim=1)
        added: torch.Tensor = self.coronal_head(torch.cat([highest, calls[:, :1], calls.mean(dim=1, keepdim=True)], 1))
        return added[:, 0].float()

    def _thin(self, path: FinePath, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a fine path sees: in use in bfloat16 where the hardware computes in it, in two thirds of the time."""
        kind = images.device.type
        half = has_bfloat16(images.device) if not self.training else torch.is_autocast_enabled(kind)
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            seen: tuple[torch.Tensor, torch.Tensor] = path(images)
        return seen

    def _overall(self, summaries: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([summaries, present[..., None].to(summaries.dtype)], dim=2)
        states = self.neck(tokens)
        logits: torch.Tensor = self.overall_head(torch.cat([states.mean(dim=1), states.amax(dim=1)], dim=1))
        return logits[:, 0].float()


def _placed(values: torch.Tensor, there: torch.Tensor, absent: float) -> torch.Tensor:
    """The values of what is there, in a tensor with a place for everything."""
    out = values.new_full((len(there), *values.shape[1:]), absent)
    index = torch.nonzero(there)[:, 0]
    return out.index_copy(0, index, values)
