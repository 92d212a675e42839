"""Each fine path by itself, before the whole network learns: slices that are broken, and at least as many that are not.

Only the path is computed, so it sees twice as many broken slices a second as in whole necks, and it is asked for
each slice what the whole network later reads from it (docs/EXPERIMENTS.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from inference.experiments.losses import cell_loss
from inference.experiments.score import Batch
from inference.experiments.settings import FineTraining
from inference.experiments.studies import Study
from inference.models.fine_path import called

Sample = Callable[[Study, np.random.Generator | None], Batch]


PATHS: Final = {"fine": ("crops", "zones"), "coronal": ("coronal", "coronal_zones")}
"""The paths a network may have, and what of `VertebraCrop.sample` they read."""


def fine_slices(sample: Sample, path: str, study: Study, most: int, rng: np.random.Generator) -> Batch:
    """`images` [n, c, h, w] and `zones` [n, h / 2, w / 2] of at most `most` slices of a study whose zones are known.

    Up to half of them are broken. `path` is one of `PATHS`.
    """
    whole = sample(study, rng)
    there = whole["present"][0]
    images, zones = (whole[name][0][there].flatten(0, 1) for name in PATHS[path])
    broken = (zones.flatten(1).amax(dim=1) > 0).cpu().numpy()
    chosen = rng.permutation(np.flatnonzero(broken))[: most // 2]
    sound = rng.permutation(np.flatnonzero(~broken))[: most - len(chosen)]
    index = torch.from_numpy(np.concatenate([chosen, sound])).to(images.device)
    return {"images": images[index], "zones": zones[index]}


def fine_loss(path: nn.Module, batch: Batch, numbers: FineTraining) -> dict[str, torch.Tensor]:
    """That of cells, plus cross-entropy of what each slice is called by its highest cells."""
    logits, _ = path(batch["images"].float())
    zones = batch["zones"].float()
    cells = cell_loss(logits, zones, torch.ones_like(zones))
    slices = F.binary_cross_entropy_with_logits(called(logits), (zones.flatten(1).amax(dim=1) > 0).float())
    return {"loss": cells + numbers.slice_weight * slices, "cells": cells.detach(), "slices": slices.detach()}
