"""Training of the fracture classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from inference.models import FractureNet
from inference.preprocess import AIR_HU, CROP_SHAPE_ZYX, CROP_SPACING_MM_ZYX, LOCALISER_SPACING_MM, classifier_input
from inference.training.augment import (
    change_density,
    change_marrow,
    change_scanner,
    cut_slices,
    random_bend,
    random_frame,
    sample_window,
)
from inference.training.fit import Batch, Training, load_average
from inference.training.samples import bone_hu
from inference.training.settings import Settings

_LOOK_EVERY: Final = 800
_JITTER_MM: Final = 3.0
_CUT_SHARE: Final = 0.08


def train_classifier(settings: Settings, samples: Path, folder: Path, start: Path | None = None) -> None:
    """Train to `settings.classifier.steps` on the samples in a folder that may still be filling."""
    torch.manual_seed(settings.seeds.torch)
    fit = settings.classifier
    net = FractureNet(fit.channels)
    if start is not None:
        load_average(net, start)
    training = Training(net, fit, folder, settings.seeds.torch + 1)
    store = _Store(samples)

    def draw(rng: np.random.Generator) -> Batch:
        drawn = [_draw(store, rng, positive=rng.random() < fit.positive_share) for _ in range(fit.batch)]
        images, levels, targets, zones = zip(*drawn, strict=True)
        return torch.stack(images), torch.tensor(levels), torch.tensor(targets), torch.stack(zones)

    training.run(draw, lambda net, batch: classifier_loss(net, batch, fit.map_weight))


def classifier_loss(net: nn.Module, batch: Batch, map_weight: float) -> dict[str, torch.Tensor]:
    """Binary cross-entropy of the level, plus balanced cross-entropy and Dice of the fracture map."""
    images, levels, targets, zones = batch
    logits, maps = net(images.to(memory_format=torch.channels_last_3d), levels)
    level_loss = F.binary_cross_entropy_with_logits(logits.float(), targets * 0.97 + 0.015)
    maps = maps.float()
    weight = 1.0 + 9.0 * zones
    dense = (F.binary_cross_entropy_with_logits(maps, zones, reduction="none") * weight).mean()
    probability = torch.sigmoid(maps)
    overlap = (2 * (probability * zones).sum() + 20.0) / (probability.sum() + zones.sum() + 20.0)
    total = level_loss + map_weight * (2.0 * dense + 0.3 * (1 - overlap))
    with torch.no_grad():
        right = ((logits > 0) == (targets > 0.5)).float().mean()
    return {"loss": total, "level_loss": level_loss, "map_loss": dense, "overlap": overlap, "right": right}


def plain_crop(stored: torch.Tensor, labels: torch.Tensor, level: int) -> torch.Tensor:
    """The network's input [4, z, y, x] from the middle of a stored crop, unchanged but for coarse masks."""
    start = [(n - m) // 2 for n, m in zip(stored.shape, CROP_SHAPE_ZYX, strict=True)]
    part = tuple(slice(s, s + m) for s, m in zip(start, CROP_SHAPE_ZYX, strict=True))
    near = labels[part]
    own, other = (near == level).float(), ((near != level) & (near > 0)).float()
    return classifier_input(bone_hu(stored[part]), *_coarse_masks(own, other, None))


class _Store:
    """Crops of a folder in memory, in two lists: fractured and sound."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self._crops: tuple[list[tuple[torch.Tensor, ...]], list[tuple[torch.Tensor, ...]]] = ([], [])
        self._draws = 0

    def pick(self, rng: np.random.Generator, *, positive: bool) -> tuple[torch.Tensor, ...]:
        """(level, positive, HU steps, labels, fracture zone) of one crop, the last three uint8 [z, y, x]."""
        if self._draws % _LOOK_EVERY == 0:
            self._look()
        self._draws += 1
        crops = self._crops[int(positive)]
        return crops[int(rng.integers(len(crops)))]

    def _look(self) -> None:
        for file in sorted(self._folder.glob("*.npz")):
            if file.stem in self._seen:
                continue
            self._seen.add(file.stem)
            with np.load(file) as arrays:
                held = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            for i in range(len(held["level"])):
                crop = tuple(held[name][i] for name in ("level", "positive", "hu", "labels", "fracture"))
                self._crops[int(crop[1])].append(crop)
        if not all(self._crops):
            raise FileNotFoundError(f"{self._folder} needs crops with and without fractures; make samples first")


def _draw(store: _Store, rng: np.random.Generator, *, positive: bool) -> tuple[torch.Tensor, int, float, torch.Tensor]:
    level, target, stored, labels, zone = store.pick(rng, positive=positive)
    spread = np.array([_JITTER_MM] * 3) / CROP_SPACING_MM_ZYX
    centre = (np.array(stored.shape) - 1) / 2 + rng.normal(0, 1, 3).clip(-2, 2) * spread
    # One array carries vertebra and fracture zone through the resampling: it is the slowest step.
    frame, bend = random_frame(rng, 10.0, 0.1), random_bend(rng, CROP_SHAPE_ZYX, 1.5) if rng.random() < 0.5 else None
    hu, (code,) = sample_window(bone_hu(stored), [labels + 16 * zone], centre, frame, CROP_SHAPE_ZYX, AIR_HU, bend)
    zone, labels = (code >= 16).float(), code % 16
    own, other = (labels == level).float(), ((labels != level) & (labels > 0)).float()
    hu = change_density(hu, rng)
    if rng.random() < 0.5:
        hu = change_marrow(hu, rng)
    hu = change_scanner(hu, rng, noise_hu=40.0, thick=3.0, coarse=1.5)
    if rng.random() < _CUT_SHARE:
        before = float(zone.sum())
        hu, (own, other, zone) = cut_slices(hu, [own, other, zone], rng, AIR_HU)
        # A fracture that lies mostly outside the scan cannot be asked for.
        target = target * float(zone.sum() > 0.3 * before)
    own, other = _coarse_masks(own, other, rng)
    image = classifier_input(hu, own, other)
    return image, int(level), float(target), F.max_pool3d(zone[None, None], 2)[0, 0]


def _coarse_masks(
    own: torch.Tensor, other: torch.Tensor, rng: np.random.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks as the localiser would give them: 2.5 mm voxels and, with `rng`, a border that wanders."""
    masks = torch.stack([own, other])[:, None]
    small = [round(n * s / LOCALISER_SPACING_MM) for n, s in zip(own.shape, CROP_SPACING_MM_ZYX, strict=True)]
    coarse = F.interpolate(masks, size=small, mode="trilinear", align_corners=False)
    if rng is not None:
        coarse = coarse + _wander(small, rng)
    coarse = (coarse > 0.5).float()
    coarse[1] *= 1 - coarse[0]
    fine = F.interpolate(coarse, size=tuple(own.shape), mode="trilinear", align_corners=False)
    return fine[0, 0], fine[1, 0]


def _wander(shape: list[int], rng: np.random.Generator) -> torch.Tensor:
    """A lumpy offset to a mask's indicator: bulges, dents and an overall growth or loss."""
    lumps = torch.from_numpy(rng.standard_normal((1, 1, 6, 8, 8), dtype=np.float32)) * float(rng.uniform(0, 0.3))
    wander = F.interpolate(lumps, size=shape, mode="trilinear", align_corners=False)
    return wander + float(rng.normal(0, 0.08))
