"""Training of the network that draws one named vertebra at 1 mm.

Its hints in training are the truth made as coarse, shifted and torn as the localiser's answers can be, not those
answers: it must draw well whatever the localiser of the day says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from inference.models import ShapeNet
from inference.preprocess import AIR_HU, shape_input
from inference.shape import SHAPE_WINDOW_ZYX
from inference.training.augment import (
    blurred,
    change_density,
    change_marrow,
    change_scanner,
    cut_slices,
    random_bend,
    random_frame,
    sample_window,
    shift_contrast,
)
from inference.training.fit import Batch, Training, load_average
from inference.training.samples import SampleStore, StoredSample, wide_hu
from inference.training.settings import Settings

# Far from the vertebra there is little to learn.
_FAR_WEIGHT: Final = 0.15
_DICE_WEIGHT: Final = 1.0
_SHIFT_MM_ZYX: Final = (2.0, 1.0, 1.0)
_BORROWED_SHARE: Final = 0.2
# Of the torn places: there the own hint is lost; in the rest it takes in a neighbour's or the skull's bone.
_LOST_SHARE: Final = 0.6
# C1 is drawn as often as two others: its arches are the thinnest bone, and the skull lies on it.
_ATLAS_WEIGHT: Final = 2.0


def train_shape(
    settings: Settings, samples: Path, folder: Path, start: Path | None = None, device: str = "cpu"
) -> None:
    """Train to `settings.shape.steps` on the samples in a folder that may still be filling."""
    torch.manual_seed(settings.seeds.torch)
    net = ShapeNet(settings.shape.channels)
    if start is not None:
        load_average(net, start)
    training = Training(net, settings.shape, folder, settings.seeds.torch + 2, device)
    store = SampleStore(samples, least_voxels=600)

    def draw(rng: np.random.Generator) -> Batch:
        drawn = [_draw(store, rng) for _ in range(settings.shape.batch)]
        return tuple(torch.stack(parts) for parts in zip(*drawn, strict=True))

    training.run(draw, shape_loss)


def shape_loss(net: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Cross-entropy and Dice against shares; `batch` is (input [b, 4, z, y, x], share [b, z, y, x] 0-1)."""
    images, share = batch
    logits = net(images.to(memory_format=torch.channels_last_3d)).float()[:, 0]
    near = F.max_pool3d(torch.maximum(share, images[:, 2])[:, None], 5, 1, 2)[:, 0] > 0.1
    weight = torch.where(near, 1.0, _FAR_WEIGHT)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, share, weight, reduction="sum") / weight.sum()
    p = torch.sigmoid(logits)
    sides = (1, 2, 3)
    dice = (2 * (p * share).sum(sides) + 50.0) / (p.sum(sides) + share.sum(sides) + 50.0)
    with torch.no_grad():
        drawn, true = p > 0.5, share > 0.5
        hard = (2 * (drawn & true).sum() + 1) / (drawn.sum() + true.sum() + 1)
    return {"loss": cross_entropy + _DICE_WEIGHT * (1 - dice.mean()), "dice": hard}


def _draw(store: SampleStore, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    sample = store.pick(rng, with_levels=True)
    weights = np.where(np.array(sample.levels) == 1, _ATLAS_WEIGHT, 1.0)
    which = int(rng.choice(len(sample.levels), p=weights / weights.sum()))
    level, centre = sample.levels[which], sample.middles_zyx[which] + rng.uniform(-1, 1, 3) * (4.0, 4.0, 4.0)
    bend = random_bend(rng, SHAPE_WINDOW_ZYX, 1.0) if rng.random() < 0.4 else None
    frame = random_frame(rng, 17.0, 0.12)
    hu, (bone, share) = sample_window(
        wide_hu(sample.hu), [sample.classes], centre, frame, SHAPE_WINDOW_ZYX, AIR_HU, bend, (sample.share,)
    )
    own, other = _own_and_other(bone, share, level)
    hinted = own, other
    if len(sample.levels) > 1 and rng.random() < _BORROWED_SHARE:
        hinted = _borrowed(sample, which, centre, frame, rng)
    if rng.random() < 0.4:
        hu = change_marrow(hu, rng)
    hu = change_density(hu, rng)
    hu = change_scanner(hu, rng, noise_hu=130.0, thick=3.0, coarse=1.6)
    hu = shift_contrast(hu, rng, 230.0)
    if rng.random() < 0.15:
        hu, (own, *rest) = cut_slices(hu, [own, *hinted], rng, AIR_HU)
        hinted = rest[0], rest[1]
    hints = coarse_hints(torch.stack(hinted), rng)
    return shape_input(hu, hints[0], hints[1]), own


def _own_and_other(bone: torch.Tensor, share: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares (0-1) of the level's bone and of any other's."""
    share = share / 255.0
    return torch.where(bone == level, share, 0.0), torch.where((bone != level) & (bone > 0), share, 0.0)


def _borrowed(
    sample: StoredSample, which: int, centre: NDArray[np.float64], frame: NDArray[np.float64], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A neighbour's shape put where the level is, as when placing has moved a column that was named one level off."""
    near = [i for i in (which - 1, which + 1) if 0 <= i < len(sample.levels)]
    other = near[int(rng.integers(len(near)))]
    there = centre + sample.middles_zyx[other] - sample.middles_zyx[which]
    # The share stands in for HU too: only labels are looked at here.
    _, (bone, share) = sample_window(
        sample.share.float(), [sample.classes], there, frame, SHAPE_WINDOW_ZYX, 0.0, None, (sample.share,)
    )
    return _own_and_other(bone, share, sample.levels[other])


def coarse_hints(shares: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Shares [2, z, y, x] (own, other) at 1 mm as a localiser at 2 mm might answer them: moved, blurred, torn."""
    low = F.avg_pool3d(shares[None], 2)[0]
    size = low.shape[1:]
    moved = torch.from_numpy(rng.normal(0, 1, 3).astype(np.float32)) * torch.tensor(_SHIFT_MM_ZYX)
    way = random_bend(rng, (size[0], size[1], size[2]), 0.8) + moved / 2.0
    low = torch.stack([_displaced(channel, way) for channel in low])
    width = float(rng.uniform(0.5, 1.6))
    low = torch.stack([blurred(blurred(channel, width), width) for channel in low])
    steep = float(rng.uniform(1.0, 4.0))
    low = torch.sigmoid((low - float(rng.uniform(0.35, 0.6))) * 4 * steep)
    low = (low - low.amin()) * float(rng.uniform(0.7, 1.0))
    for _ in range(int(rng.integers(0, 3))):
        low = _torn(low, rng)
    return F.interpolate(low[None], scale_factor=2, mode="trilinear", align_corners=False)[0].clamp(0.0, 1.0)


def _displaced(array: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    """The array [z, y, x] seen `way` [z, y, x, 3] voxels further along each axis."""
    size = torch.tensor(array.shape, dtype=torch.float32)
    axes = [torch.arange(n, dtype=torch.float32) for n in array.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) + way
    where = ((2 * index + 1) / size - 1).flip(-1)[None]
    return F.grid_sample(array[None, None], where, padding_mode="zeros", align_corners=False)[0, 0]


def _torn(low: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A ball of 4-12 mm where the own hint is lost or given to another bone, or where another's is given to it."""
    middle = torch.tensor([rng.uniform(0.2, 0.8) * n for n in low.shape[1:]], dtype=torch.float32)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in low.shape[1:]), indexing="ij")
    ball = sum((a - m) ** 2 for a, m in zip(axes, middle, strict=True)) < float(rng.uniform(2, 6)) ** 2
    kept, passed_on = float(rng.uniform(0.0, 0.6)), float(rng.random() < 0.5)
    loser, winner = (0, 1) if rng.random() < _LOST_SHARE else (1, 0)
    hints = [low[0], low[1]]
    hints[winner] = torch.where(ball, low[winner] + low[loser] * (1 - kept) * passed_on, low[winner])
    hints[loser] = torch.where(ball, low[loser] * kept, low[loser])
    return torch.stack(hints)
