"""What both trainings share: schedule, averaged weights, checkpoints that resume, a CSV of losses."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
import torch
from torch import nn

from inference.training.settings import Fit

_log = structlog.get_logger(__name__)
_REPORT_EVERY: Final = 25
_SAVE_EVERY: Final = 200

Batch = Any
Loss = Callable[[nn.Module, Batch], dict[str, torch.Tensor]]


class Training:
    """One network's training, resumable from `folder/last.pt`.

    Runs in bfloat16 autocast with channels-last memory: about three times as fast as float32 on a CPU with
    AVX-512 BF16. `average` holds the exponential moving average that ships. `device` is cpu or cuda.
    """

    def __init__(self, net: nn.Module, fit: Fit, folder: Path, seed: int, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._fit = fit
        self._folder = folder
        self._seed = seed
        self.net = net.to(self._device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        self._optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, betas=(0.9, 0.98)
        )
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, draw: Callable[[np.random.Generator], Batch], loss: Loss, until: int | None = None) -> None:
        """Train to the last step, or stop and save after step `until`.

        `draw` makes the batch of a step from that step's own generator, so a resumed training sees what an
        uninterrupted one would.
        """
        self.net.train()
        begin = time.monotonic()
        sums: dict[str, float] = {}
        for batch in self._batches(draw, self._fit.steps if until is None else until):
            rate = self._rate()
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self._device.type, torch.bfloat16):
                parts = loss(self.net, _moved(batch, self._device))
            self._optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
            self._optimizer.step()
            self._follow()
            self.step += 1
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / _REPORT_EVERY
            if self.step % _REPORT_EVERY == 0:
                self._report({**sums, "rate": rate, "seconds": time.monotonic() - begin})
                sums = {}
            if self.step % _SAVE_EVERY == 0:
                self._save()
        self._save()

    def _batches(self, draw: Callable[[np.random.Generator], Batch], until: int) -> Iterator[Batch]:
        """Batches of the steps before `until`; the next one is made while the network works on this one."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = [pool.submit(draw, self._generator(self.step + i)) for i in range(2)]
            for step in range(self.step, until):
                batch = ahead.pop(0).result()
                ahead.append(pool.submit(draw, self._generator(step + 2)))
                yield batch

    def _generator(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, step])

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / self._fit.warm_up_steps)
        done = min(1.0, self.step / self._fit.steps)
        return self._fit.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))

    def _follow(self) -> None:
        # A short run-in keeps the random start out of the average.
        decay = min(self._fit.average_decay, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _report(self, row: dict[str, float]) -> None:
        row = {"step": self.step, **{k: round(v, 5) for k, v in row.items()}}
        file = self._folder / "losses.csv"
        fresh = not file.exists()
        with file.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        _log.info("training_step", **row)

    def _save(self) -> None:
        part = self._folder / "last.part"
        state = {
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, part)
        os.replace(part, self._folder / "last.pt")

    def _resume(self) -> None:
        file = self._folder / "last.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True, map_location=self._device)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        _log.info("training_resumed", step=self.step)


def _moved(batch: Batch, device: torch.device) -> Batch:
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    return tuple(part.to(device) for part in batch)


def load_average(net: nn.Module, folder: Path) -> nn.Module:
    """`net` with the averaged weights of the last checkpoint in `folder`."""
    net.load_state_dict(torch.load(folder / "last.pt", weights_only=True, map_location="cpu")["average"])
    return net.eval()
