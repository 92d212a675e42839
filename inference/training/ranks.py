"""Several processes that train one network together, as torchrun starts them; alone without it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import nn

# The others wait while rank 0 renders, reads or writes.
_PATIENCE: Final = datetime.timedelta(hours=2)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of `world` processes this is; `local` is its number on its machine, and so its GPU."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def shared(self, net: nn.Module) -> nn.Module:
        """`net` as it is called in training: alone itself, else in a wrapper that averages gradients."""
        if self.world == 1:
            return net
        device = next(net.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(net, device_ids=ids)

    def share_of(self, items: tuple[str, ...]) -> tuple[str, ...]:
        """This process's part of a list; the parts of all are the list."""
        return items[self.rank :: self.world]

    def gathered(self, own: dict[str, Any]) -> dict[str, Any]:
        """The dicts of all processes as one, the same in each of them."""
        if self.world == 1:
            return own
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, own)
        return {key: value for part in parts for key, value in part.items()}


ALONE: Final = Ranks()


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str]]:
    """The ranks that torchrun's environment names, connected (NCCL on CUDA, else Gloo), and this one's device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE, device
        return
    ranks = Ranks(rank=int(os.environ["RANK"]), world=world, local=int(os.environ.get("LOCAL_RANK", "0")))
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{ranks.local}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield ranks, device
    finally:
        dist.destroy_process_group()
