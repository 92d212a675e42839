"""volume-3dcnn: a 3D CNN on the whole neck, slices averaged in chunks; from the third seed.

Kept: 128 x 128 pixels, sixteen chunks, channels 64-64-128-256, global mean, 512, eight sigmoids. Put right: Hounsfield
windows in place of each slice's own minimum and maximum, and nobody submits the mean of its answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from inference.experiments.changes import NO_CHANGE, Change, Window, draw_change, look, targets, windowed
from inference.experiments.losses import study_loss
from inference.experiments.score import Batch, StudyScore, device_of
from inference.experiments.settings import Experiment
from inference.experiments.studies import Study
from inference.models.volume_cnn import VolumeCNN


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Channels of the four convolutions, width of the hidden layer."""

    channels: tuple[int, ...]
    hidden: int


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """The whole prepared study as `chunks` x `size_yx` voxels; a chunk is the mean of `per_chunk` slices."""

    chunks: int
    per_chunk: int
    size_yx: tuple[int, int]
    windows_hu: tuple[tuple[float, float], ...]


class Volume3dCnn:
    """The family's `FractureModel`."""

    memory_format = torch.channels_last_3d
    # torch 2.13 on a CPU: the weights' gradient of a bfloat16 Conv3d on a few voxels is now and then not a number.
    bfloat16_on_cpu = False

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._input: InputSettings = experiment.input
        numbers: NetworkSettings = experiment.network
        self.network: torch.nn.Module = VolumeCNN(len(self._input.windows_hu), numbers.channels, numbers.hidden)

    def sample(self, study: Study, rng: np.random.Generator | None) -> Batch:
        """`images` [1, windows, chunks, h, w], `truth` and `known` [1, 8]."""
        change = draw_change(study, self.experiment.augmentation, rng)
        truth, known = targets(study, change)
        return {"images": self._image(study, change)[None], "truth": truth[None], "known": known[None]}

    def loss(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """The study's loss alone."""
        logits = network(batch["images"].contiguous(memory_format=self.memory_format))
        training = self.experiment.training
        return {
            "loss": study_loss(training.loss if training else "competition", logits, batch["truth"], batch["known"])
        }

    def predict(self, study: Study) -> StudyScore:
        """The eight sigmoids; nothing explains them."""
        image = self._image(study, NO_CHANGE)[None].to(device_of(self.network))
        with torch.inference_mode():
            logits = self.network(image.contiguous(memory_format=self.memory_format))[0]
        return StudyScore(probabilities=torch.sigmoid(logits.double()).cpu().numpy())

    def _image(self, study: Study, change: Change) -> torch.Tensor:
        numbers = self._input
        shape = (numbers.chunks * numbers.per_chunk, *numbers.size_yx)
        spacing = study.spacing_mm_zyx * np.array(study.grid.shape_zyx) / np.array(shape)
        window = Window(
            centre_zyx=(np.array(study.grid.shape_zyx) - 1) / 2,
            spacing_mm_zyx=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
            shape_zyx=shape,
        )
        image = windowed(look(study, window, change).hu, numbers.windows_hu)
        return F.avg_pool3d(image[None], (numbers.per_chunk, 1, 1))[0]
