"""What every fracture model answers, and what it must be able to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.experiments.settings import Experiment
from inference.experiments.studies import Study
from inference.suspicion import SuspicionMap

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceScores:
    """A level's fracture score slice by slice: `values` [n] in 0-1 at the patient heights `z_mm` [n] (LPS z)."""

    z_mm: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyScore:
    """A model's answer for a study.

    `probabilities` float64 [8]: patient_overall, C1 ... C7. `slices` and `maps` explain the levels 1-7 that they hold;
    empty where the model cannot. `presence` [n, 7] with `presence_z_mm` [n] says which levels a slice shows.
    """

    probabilities: NDArray[np.float64]
    slices: dict[int, SliceScores] = field(default_factory=dict)
    maps: dict[int, SuspicionMap] = field(default_factory=dict)
    presence: NDArray[np.float64] | None = None
    presence_z_mm: NDArray[np.float64] | None = None


class FractureModel(Protocol):
    """One family's network with the way its inputs are made, it is trained and its answer is read.

    `bfloat16_on_cpu` says whether its training may use bfloat16 there.
    """

    experiment: Experiment
    network: nn.Module
    memory_format: torch.memory_format
    bfloat16_on_cpu: bool

    def sample(self, study: Study, rng: np.random.Generator | None) -> Batch:
        """Inputs and targets of one study, changed at random with a generator.

        Each tensor's first axis counts samples; those of several studies are concatenated. May be called by several
        threads at a time. Raises DataError where the study lacks what the model needs.
        """
        ...

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`loss` to minimise and parts to report, of a batch on the network's device.

        `network` is `self.network`, or what stands in for it where several processes train.
        """
        ...

    def predict(self, study: Study) -> StudyScore:
        """The answer for a study, before calibration; on the device where the network is, in evaluation mode."""
        ...


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def collate(samples: list[Batch]) -> Batch:
    """The samples of several studies as one batch."""
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}
