"""Training of the localiser."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch

from inference.models import LocaliserNet
from inference.models.localiser_net import CLASSES
from inference.preprocess import AIR_HU, localiser_input
from inference.training.augment import (
    change_density,
    change_marrow,
    change_scanner,
    cut_view,
    random_bend,
    random_frame,
    sample_window,
    shift_contrast,
)
from inference.training.fit import Batch, Training, load_average
from inference.training.samples import SampleStore, wide_hu
from inference.training.settings import Settings

# Nine voxels in ten are background; unweighted, the first thousand steps learn nothing but that. A weight counts for
# the whole voxel, its bone's share and the rest: otherwise the edge would move outwards.
_CLASS_WEIGHTS: Final = (0.05, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.06)
_DICE_WEIGHT: Final = 0.7
_SMOOTH: Final = 50.0
# About 620,000 voxels each. The network answers for whole necks of any shape in one pass: one shape would be learnt.
_WINDOWS_ZYX: Final = ((96, 80, 80), (128, 80, 64), (64, 96, 96), (144, 64, 64), (80, 80, 96), (112, 64, 80))


def train_localiser(
    settings: Settings, samples: Path, folder: Path, start: Path | None = None, device: str = "cpu"
) -> None:
    """Train to `settings.localiser.steps` on the samples in a folder that may still be filling."""
    torch.manual_seed(settings.seeds.torch)
    net = LocaliserNet(settings.localiser.channels)
    if start is not None:
        load_average(net, start)
    training = Training(net, settings.localiser, folder, settings.seeds.torch, device)
    store = SampleStore(samples, least_voxels=80)

    def draw(rng: np.random.Generator) -> Batch:
        shape = _WINDOWS_ZYX[int(rng.integers(len(_WINDOWS_ZYX)))]
        drawn = [_draw(store, rng, shape) for _ in range(settings.localiser.batch)]
        return tuple(torch.stack(parts)[:, None] for parts in zip(*drawn, strict=True))

    training.run(draw, localiser_loss)


def localiser_loss(net: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Cross-entropy plus Dice against soft targets: a voxel's bone has its share of it, background has the rest.

    `batch`: input float32, class int64 and share float32 (0-1), each [b, 1, z, y, x]. Written out because a target
    has only two classes in any voxel: making one of eleven channels takes longer than the network.
    """
    images, classes, share = batch
    logits = net(images.to(memory_format=torch.channels_last_3d)).float()
    log_p = torch.log_softmax(logits, dim=1)
    share = torch.where(classes > 0, share, torch.ones_like(share))
    own = log_p.gather(1, classes)
    weights = torch.tensor(_CLASS_WEIGHTS, device=logits.device)
    weight = weights[classes]
    cross_entropy = -(weight * (share * own + (1 - share) * log_p[:, :1])).sum() / weight.sum()
    p = log_p.exp()
    amount = torch.zeros(CLASSES, device=logits.device).index_add(0, classes.flatten(), share.flatten())
    common = torch.zeros(CLASSES, device=logits.device).index_add(
        0, classes.flatten(), (own.exp().clamp(max=1.0) * share).flatten()
    )
    dice = (2 * common + _SMOOTH) / (amount + p.sum(dim=(0, 2, 3, 4)) + _SMOOTH)
    bone = slice(1, None)
    cervical = (classes > 0) & (classes < 8) & (share > 0.5)
    right = (logits.argmax(dim=1, keepdim=True) == classes) & cervical
    return {
        "loss": cross_entropy + _DICE_WEIGHT * (1 - dice[bone].mean()),
        "cross_entropy": cross_entropy.detach(),
        "cervical_recall": right.sum() / cervical.sum().clamp(min=1),
    }


def _draw(
    store: SampleStore, rng: np.random.Generator, shape: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Input, classes (int64) and shares (0-1) of one window [z, y, x]."""
    sample = store.pick(rng)
    if len(sample.middles_zyx) and rng.random() < 0.85:
        centre = sample.middles_zyx[rng.integers(len(sample.middles_zyx))] + rng.uniform(-1, 1, 3) * (32, 14, 14)
    else:
        centre = rng.uniform(0, 1, 3) * np.array(sample.hu.shape)
    bend = random_bend(rng, shape, 0.8) if rng.random() < 0.4 else None
    hu, (classes, share) = sample_window(
        wide_hu(sample.hu),
        [sample.classes],
        centre,
        random_frame(rng, 17.0, 0.16),
        shape,
        AIR_HU,
        bend,
        (sample.share,),
    )
    outside = hu <= AIR_HU + 1
    if rng.random() < 0.3:
        hu = change_marrow(hu, rng)
    hu = change_density(hu, rng)
    hu = change_scanner(hu, rng, noise_hu=75.0, thick=1.8, coarse=1.4)
    hu = shift_contrast(hu, rng, 230.0)
    hu[outside] = AIR_HU
    hu, classes = cut_view(hu, classes, rng, AIR_HU)
    return localiser_input(hu), classes.long(), share / 255.0
