"""Training of the localiser."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.localise import CLASSES, WINDOW_ZYX
from inference.models import LocaliserNet
from inference.preprocess import AIR_HU, localiser_input
from inference.training.augment import change_density, change_scanner, cut_view, random_frame, sample_window
from inference.training.fit import Batch, Training, load_average
from inference.training.samples import wide_hu
from inference.training.settings import Settings

_LOOK_EVERY: Final = 400


def train_localiser(settings: Settings, samples: Path, folder: Path, start: Path | None = None) -> None:
    """Train to `settings.localiser.steps` on the samples in a folder that may still be filling."""
    torch.manual_seed(settings.seeds.torch)
    net = LocaliserNet(settings.localiser.channels)
    if start is not None:
        load_average(net, start)
    training = Training(net, settings.localiser, folder, settings.seeds.torch)
    store = _Store(samples)

    def draw(rng: np.random.Generator) -> Batch:
        pairs = [_draw(store, rng) for _ in range(settings.localiser.batch)]
        return torch.stack([p[0] for p in pairs])[:, None], torch.stack([p[1] for p in pairs])[:, None]

    training.run(draw, localiser_loss())


def localiser_loss():  # type: ignore[no-untyped-def]
    """Cross-entropy plus Dice over the labelled classes."""
    from monai.losses import DiceCELoss  # slow to import, and only training needs it

    # Nine voxels in ten are background; unweighted, the first thousand steps learn nothing but that.
    weight = torch.ones(CLASSES)
    weight[0] = 0.1
    criterion = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        weight=weight,
        lambda_ce=1.0,
        lambda_dice=0.7,
    )

    def loss(net: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        images, labels = batch
        logits = net(images.to(memory_format=torch.channels_last_3d)).float()
        total = criterion(logits, labels)
        with torch.no_grad():
            cervical = (labels > 0) & (labels < 8)
            right = (logits.argmax(dim=1, keepdim=True) == labels) & cervical
            share = right.sum() / cervical.sum().clamp(min=1)
        return {"loss": total, "cervical_recall": share}

    return loss


class _Store:
    """Samples of a folder in memory; looks for new files now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, tuple[torch.Tensor, torch.Tensor, NDArray[np.float64]]] = {}
        self._names: list[str] = []
        self._draws = 0

    def pick(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.float64]]:
        """HU steps uint8, labels uint8, and the centroids [n, 3] (z, y, x) of the cervical levels in it."""
        if self._draws % _LOOK_EVERY == 0:
            self._look()
        self._draws += 1
        return self._held[self._names[int(rng.integers(len(self._names)))]]

    def _look(self) -> None:
        for file in sorted(self._folder.glob("*.npz")):
            if file.stem not in self._held:
                with np.load(file) as arrays:
                    hu, labels = torch.from_numpy(arrays["hu"]), arrays["labels"]
                centres = [np.argwhere(labels == k).mean(axis=0) for k in range(1, 8) if (labels == k).sum() > 40]
                self._held[file.stem] = (hu, torch.from_numpy(labels), np.array(centres).reshape(-1, 3))
        self._names = sorted(self._held)
        if not self._names:
            raise FileNotFoundError(f"no samples in {self._folder}; make some with the `samples` command first")


def _draw(store: _Store, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    stored, stored_labels, centres = store.pick(rng)
    shape = np.array(stored.shape)
    if len(centres) and rng.random() < 0.85:
        centre = centres[rng.integers(len(centres))] + rng.uniform(-1, 1, 3) * (26, 12, 12)
    else:
        centre = rng.uniform(0, 1, 3) * shape
    hu, (labels,) = sample_window(
        wide_hu(stored), [stored_labels], centre, random_frame(rng, 14.0, 0.16), WINDOW_ZYX, AIR_HU
    )
    outside = hu <= AIR_HU + 1
    hu = change_density(hu, rng)
    hu = change_scanner(hu, rng, noise_hu=90.0, thick=1.8, coarse=1.2)
    hu[outside] = AIR_HU
    hu, labels = cut_view(hu, labels, rng, AIR_HU)
    return localiser_input(hu), labels.long()
