"""Recurrent reading of a sequence of vectors, in float32 whatever autocast says."""

from __future__ import annotations

import torch
from torch import nn


class Sequence(nn.Module):
    """A bidirectional GRU or LSTM: [n, steps, inputs] to states [n, steps, 2 x hidden]."""

    def __init__(self, kind: str, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        cells = {"gru": nn.GRU, "lstm": nn.LSTM}
        if kind not in cells:
            raise ValueError(f"recurrent kind {kind!r}: expected gru or lstm")
        self.cells = cells[kind](inputs, hidden, layers, batch_first=True, bidirectional=True)
        self.width = 2 * hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            states: torch.Tensor = self.cells(x.float())[0]
        return states
