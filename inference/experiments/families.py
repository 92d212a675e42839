"""The kinds of experiment there are: what their files may say, and which code they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from inference.experiments import sagittal_nine, slice_effnet, unet_bigru, vertebra_crop, volume_3dcnn
from inference.experiments.errors import SettingsError
from inference.experiments.score import FractureModel
from inference.experiments.settings import Experiment


@dataclass(frozen=True, kw_only=True)
class Family:
    """`network` and `input` are the dataclasses of those tables; an ensemble has none and builds nothing."""

    network: Any
    input: Any
    build: Callable[[Experiment], FractureModel] | None


FAMILIES: Final[dict[str, Family]] = {
    "slice-effnet": Family(
        network=slice_effnet.NetworkSettings, input=slice_effnet.InputSettings, build=slice_effnet.SliceEffnet
    ),
    "volume-3dcnn": Family(
        network=volume_3dcnn.NetworkSettings, input=volume_3dcnn.InputSettings, build=volume_3dcnn.Volume3dCnn
    ),
    "sagittal-9": Family(
        network=sagittal_nine.NetworkSettings, input=sagittal_nine.InputSettings, build=sagittal_nine.SagittalNine
    ),
    "unet25d-bigru": Family(
        network=unet_bigru.NetworkSettings, input=unet_bigru.InputSettings, build=unet_bigru.UNetBiGru
    ),
    "vertebra-crop": Family(
        network=vertebra_crop.NetworkSettings, input=vertebra_crop.InputSettings, build=vertebra_crop.VertebraCrop
    ),
    "ensemble": Family(network=None, input=None, build=None),
}


def build(experiment: Experiment) -> FractureModel:
    """The untrained model of an experiment; raises SettingsError for an ensemble, which has no network of its own."""
    make = FAMILIES[experiment.family].build
    if make is None:
        raise SettingsError(f"{experiment.name} is an ensemble of {', '.join(experiment.members)}: build its members")
    return make(experiment)
