"""sagittal-9: nine sagittal slices around the spine's midline through one 2D network; from the fourth seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from inference.dataset.prepared import HU_LOW, HU_STEP
from inference.experiments.changes import NO_CHANGE, Change, Window, draw_change, look, targets, windowed
from inference.experiments.losses import study_loss
from inference.experiments.score import Batch, StudyScore, device_of
from inference.experiments.settings import Experiment
from inference.experiments.studies import Study
from inference.models.sagittal_net import SagittalNet

_BONE_HU: Final = 250.0


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The encoder's channels; `heights` rows that the level head tells apart; width of the hidden layers."""

    channels: tuple[int, ...]
    heights: int
    hidden: int


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """`slices` sagittal slices `apart_mm` apart of `size_zy` pixels of `pixel_mm`.

    Each has `neighbours` (odd) as channels, `apart_mm` / `neighbours` from each other, so that no bone lies between.
    """

    slices: int
    neighbours: int
    apart_mm: float
    size_zy: tuple[int, int]
    pixel_mm: float
    window_hu: tuple[float, float]


class SagittalNine:
    """The family's `FractureModel`."""

    memory_format = torch.channels_last
    bfloat16_on_cpu = True

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._input: InputSettings = experiment.input
        numbers: NetworkSettings = experiment.network
        self.network: torch.nn.Module = SagittalNet(
            self._input.neighbours, numbers.channels, numbers.heights, numbers.hidden
        )

    def sample(self, study: Study, rng: np.random.Generator | None) -> Batch:
        """`images` [1, slices, neighbours, z, y], `truth` and `known` [1, 8]."""
        change = draw_change(study, self.experiment.augmentation, rng)
        truth, known = targets(study, change)
        return {"images": self._images(study, change)[None], "truth": truth[None], "known": known[None]}

    def loss(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """The study's loss alone."""
        training = self.experiment.training
        kind = training.loss if training else "competition"
        return {"loss": study_loss(kind, network(batch["images"]), batch["truth"], batch["known"])}

    def predict(self, study: Study) -> StudyScore:
        """The eight sigmoids; nothing explains them."""
        images = self._images(study, NO_CHANGE)[None].to(device_of(self.network))
        with torch.inference_mode():
            logits = self.network(images)[0]
        return StudyScore(probabilities=torch.sigmoid(logits.double()).cpu().numpy())

    def _images(self, study: Study, change: Change) -> torch.Tensor:
        numbers = self._input
        count = numbers.slices * numbers.neighbours
        window = Window(
            centre_zyx=_midline(study),
            spacing_mm_zyx=(numbers.pixel_mm, numbers.pixel_mm, numbers.apart_mm / numbers.neighbours),
            shape_zyx=(*numbers.size_zy, count),
        )
        planes = windowed(look(study, window, change).hu, [numbers.window_hu])[0]
        return planes.permute(2, 0, 1).unflatten(0, (numbers.slices, numbers.neighbours)).contiguous()


def _midline(study: Study) -> np.ndarray:
    """Index of the middle of the levels, or of all bone where no level is known."""
    if study.boxes:
        return study.middle_zyx
    bone = torch.nonzero(study.hu > round((_BONE_HU - HU_LOW) / HU_STEP))
    middle = study.middle_zyx
    if len(bone):
        middle[2] = float(bone[:, 2].float().median())
    return middle
