"""slice-effnet: EfficientNet on axial slices; which vertebrae a slice shows, and which of them are broken in it.

From the first and second seed, with what was wrong there put right: fourteen sigmoids and not a softmax, and a slice is
called fractured only where its vertebra is in it, or where the fracture itself is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.experiments.changes import NO_CHANGE, Change, View, Window, draw_change, look, windowed
from inference.experiments.losses import known_bce, noisy_or
from inference.experiments.score import Batch, SliceScores, StudyScore, device_of
from inference.experiments.settings import Experiment
from inference.experiments.studies import Study
from inference.models.efficientnet import efficientnet

_PRESENT_MM2: Final = 20.0
_FRACTURED_MM2: Final = 1.5
_AT_A_TIME: Final = 24


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """EfficientNet's width and depth beside B0's, and how many of its seven blocks."""

    width: float
    depth: float
    blocks: int


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Axial slices of `size_yx` pixels of `pixel_mm`, each with its two neighbours `near_mm` away as channels.

    Training draws `slices` of a study, this share of them where a fracture is known. An answer takes a slice every
    `step_mm`, and the mean of the `top` highest makes a level's.
    """

    size_yx: tuple[int, int]
    pixel_mm: float
    near_mm: float
    window_hu: tuple[float, float]
    slices: int
    fractured_share: float
    step_mm: float
    top: int
    fracture_weight: float


class SliceEffnet:
    """The family's `FractureModel`."""

    memory_format = torch.channels_last
    bfloat16_on_cpu = True

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._input: InputSettings = experiment.input
        numbers: NetworkSettings = experiment.network
        self.network: torch.nn.Module = efficientnet(
            3, 14, width=numbers.width, depth=numbers.depth, blocks=numbers.blocks
        )

    def sample(self, study: Study, rng: np.random.Generator | None) -> Batch:
        """`images` [k, 3, h, w]; `present`, `fractured` and what is known of them [k, 7] each."""
        change = draw_change(study, self.experiment.augmentation, rng)
        heights = _heights(study, self._input, rng)
        views = [self._view(study, z, change, part=i) for i, z in enumerate(heights)]
        present = torch.stack([_share(v.levels[1], self._input.pixel_mm, _PRESENT_MM2) for v in views])
        fractured, known = _fractures(study, change, views, present, self._input.pixel_mm)
        known_present = torch.ones_like(present) * float(bool(study.true_levels.any()))
        for level in change.removed:
            known[:, level - 1] = 0.0
        return {
            "images": torch.stack([_image(v, self._input) for v in views]),
            "present": present,
            "known_present": known_present,
            "fractured": fractured,
            "known": known,
        }

    def loss(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Cross-entropy of presence and of fracture; the competition's loss counts a fracture twice."""
        logits = network(batch["images"].contiguous(memory_format=self.memory_format)).float()
        training = self.experiment.training
        twice = 2.0 if training is not None and training.loss == "competition" else 1.0
        present = known_bce(logits[:, :7], batch["present"], batch["known_present"])
        fractured = known_bce(logits[:, 7:], batch["fractured"], batch["known"], twice)
        total = present + self._input.fracture_weight * fractured
        return {"loss": total, "present": present.detach(), "fractured": fractured.detach()}

    def predict(self, study: Study) -> StudyScore:
        """The mean of the highest slices of each level; the patient's is the noisy-or of the levels."""
        present, fractured, z_mm = self.slice_probabilities(study)
        scores = present * fractured
        top = min(self._input.top, len(scores))
        levels = np.sort(scores, axis=0)[-top:].mean(axis=0)
        overall = float(noisy_or(torch.from_numpy(levels)))
        return StudyScore(
            probabilities=np.array([overall, *levels]),
            slices={k: SliceScores(z_mm=z_mm, values=scores[:, k - 1]) for k in range(1, 8)},
            presence=present,
            presence_z_mm=z_mm,
        )

    def slice_probabilities(self, study: Study) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Presence [n, 7], fracture [n, 7] and heights [n] in mm (LPS z) of slices, the lowest first."""
        step = self._input.step_mm / study.spacing_mm_zyx[0]
        heights = np.arange(0.0, study.grid.shape_zyx[0], step)
        device, found = device_of(self.network), []
        for start in range(0, len(heights), _AT_A_TIME):
            views = [self._view(study, z, NO_CHANGE) for z in heights[start : start + _AT_A_TIME]]
            images = torch.stack([_image(v, self._input) for v in views]).to(device)
            with torch.inference_mode():
                found.append(torch.sigmoid(self.network(images.contiguous(memory_format=self.memory_format)).float()))
        both = torch.cat(found).double().cpu().numpy()
        z_mm = study.grid.origin_lps_mm[2] + heights * study.spacing_mm_zyx[0]
        return both[:, :7], both[:, 7:], z_mm

    def _view(self, study: Study, height: float, change: Change, part: int = 0) -> View:
        # The grid's own middle: this model needs no levels, so it must not profit from them either.
        y, x = ((n - 1) / 2 for n in study.grid.shape_zyx[1:])
        window = Window(
            centre_zyx=np.array([height, y, x]),
            spacing_mm_zyx=(self._input.near_mm, self._input.pixel_mm, self._input.pixel_mm),
            shape_zyx=(3, *self._input.size_yx),
        )
        return look(study, window, change, part=part, truth=True)


def _image(view: View, numbers: InputSettings) -> torch.Tensor:
    return windowed(view.hu, [numbers.window_hu])[0]


def _heights(study: Study, numbers: InputSettings, rng: np.random.Generator | None) -> list[float]:
    """Indices of the slices to train on: evenly spread without a generator."""
    last = study.grid.shape_zyx[0] - 1
    if rng is None:
        return [float(z) for z in np.linspace(0, last, numbers.slices + 2)[1:-1]]
    broken = torch.nonzero(study.zone.flatten(1).any(dim=1))[:, 0].cpu().numpy()
    chosen = []
    for _ in range(numbers.slices):
        if len(broken) and rng.random() < numbers.fractured_share:
            chosen.append(float(broken[rng.integers(len(broken))]))
        else:
            chosen.append(float(rng.uniform(0, last)))
    return chosen


def _share(codes: torch.Tensor, pixel_mm: float, enough_mm2: float) -> torch.Tensor:
    """Which of the codes 1-7 cover at least so much: [7] of 0 and 1."""
    counts = torch.bincount(codes.flatten().long(), minlength=8)[1:8]
    return (counts * pixel_mm**2 >= enough_mm2).float()


def _fractures(
    study: Study, change: Change, views: list[View], present: torch.Tensor, pixel_mm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fracture targets [k, 7] and what of them is known: the zone where there is one, else truth x presence."""
    if study.zone_known:
        zones = torch.stack([_share(v.zone[1], pixel_mm, _FRACTURED_MM2) for v in views])
        return zones, torch.ones_like(zones)
    if study.truth is None:
        return torch.zeros_like(present), torch.zeros_like(present)
    truth = torch.from_numpy(study.truth[1:]).to(present.device)
    # Without levels nobody knows in which slices a fractured level lies: only the sound levels are known.
    where_known = torch.ones_like(truth) if bool(study.true_levels.any()) else 1.0 - truth
    return present * truth, where_known.expand_as(present).clone()
