"""A trained experiment in one folder: weights, settings, calibration and operating points, verified before use.

    manifest.json           format, name, version, members, preprocessing, operating points, metrics, sha256 of files
    <member>.safetensors    one file for each network

Same manners as `inference.bundle`, which holds one of these: nothing in it is executed, the architecture is rebuilt
from numbers, a file that has changed or a preprocessing that this program does not have is refused. A single experiment
is its own only member.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from inference.bundle_files import (
    MANIFEST,
    BundleError,
    canonical_sha256,
    check_files,
    check_format,
    check_preprocessing,
    file_sha256,
    read_manifest,
    write_manifest,
)
from inference.dataset.prepared import HU_LOW, HU_STEP, SPACING_MM_ZYX, PreparedStudy
from inference.evaluation.operating import OperatingPoints, OperatingPointsError, logit, sigmoid
from inference.experiments.errors import SettingsError
from inference.experiments.families import build
from inference.experiments.score import FractureModel, StudyScore, device_of
from inference.experiments.settings import Experiment, experiment_from
from inference.experiments.studies import Study, study_of

FORMAT: Final = "cspine-experiment"
FORMAT_VERSION: Final = 1

# What every family shares on the way from a prepared study to a network's input. Raise the revision with the code.
PREPROCESSING: Final = {
    "revision": 1,
    "hu_low": HU_LOW,
    "hu_step": HU_STEP,
    "prepared_mm_zyx": list(SPACING_MM_ZYX),
    "outside_hu": HU_LOW,
    "sampling": "block mean over floor(window / study spacing + 0.25), then linear; levels nearest",
    "windows": "clipped, to [-1, 1]",
    "level_box": "without the outermost 0.5 % of voxels at each end of each axis",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One network of a bundle. `overall_weight` and `level_weight` are its shares in the two kinds of answers.

    `points` calibrate its own probabilities before they are averaged; None takes them as they are.
    """

    model: FractureModel
    overall_weight: float = 1.0
    level_weight: float = 1.0
    points: OperatingPoints | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FractureBundle:
    """A loaded bundle: its members in evaluation mode, and what turns their answers into one."""

    name: str
    version: str
    sha256: str
    members: tuple[Member, ...]
    points: OperatingPoints
    manifest: dict[str, Any]

    def move_to(self, device: torch.device) -> None:
        """The networks work on `device` from now on."""
        for member in self.members:
            member.model.network.to(device)

    def predict(self, study: PreparedStudy | Study) -> StudyScore:
        """The calibrated answer; slices and maps come from the first member that gives them.

        `points.thresholds` apply to its probabilities. Raises DataError where the study lacks what a member needs.
        """
        given = study_of(study) if isinstance(study, PreparedStudy) else study
        given = given.to(device_of(self.members[0].model.network))
        scores = [member.model.predict(given) for member in self.members]
        raw = blended(self.members, [score.probabilities for score in scores])
        return StudyScore(
            probabilities=self.points.calibrated(raw),
            slices=next((s.slices for s in scores if s.slices), {}),
            maps=next((s.maps for s in scores if s.maps), {}),
            presence=next((s.presence for s in scores if s.presence is not None), None),
            presence_z_mm=next((s.presence_z_mm for s in scores if s.presence_z_mm is not None), None),
        )


def blended(members: Sequence[Member], probabilities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The members' probabilities [..., 8], each calibrated by its own points, as one: means of logits by weight."""
    total = np.zeros_like(probabilities[0])
    for member, values in zip(members, probabilities, strict=True):
        own = values if member.points is None else member.points.calibrated(values)
        total = total + logit(own) * np.array([member.overall_weight] + [member.level_weight] * 7)
    return np.asarray(sigmoid(total))


def preprocessing_of(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """The shared numbers and each member's own input."""
    return {**PREPROCESSING, "inputs": {e.name: e.as_json()["input"] for e in experiments}}


def rounded(network: nn.Module) -> nn.Module:
    """The network with its weights as a bundle keeps them, so that what is measured is what is shipped.

    Matrices and kernels are float16; norms, biases and running statistics stay float32.
    """
    network.load_state_dict({k: _as_stored(v).to(v.dtype) for k, v in network.state_dict().items()})
    return network


def save_bundle(folder: Path, members: Sequence[Member], points: OperatingPoints, facts: dict[str, Any]) -> None:
    """Write a bundle; the folder appears, or is replaced, only when it is complete.

    `facts` must have `name` and `version` and may have anything else that is JSON.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    listed = []
    for member in members:
        name = f"{member.model.experiment.name}.safetensors"
        tensors = {k: _as_stored(v).contiguous() for k, v in member.model.network.state_dict().items()}
        save_file(tensors, part / name)
        (part / name).chmod(0o644)  # safetensors makes it private; an installed node runs as another user
        listed.append(
            {
                "experiment": member.model.experiment.as_json(),
                "weights": name,
                "overall_weight": member.overall_weight,
                "level_weight": member.level_weight,
                "points": None if member.points is None else member.points.to_json(),
            }
        )
    preprocessing = preprocessing_of([member.model.experiment for member in members])
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "members": listed,
        "operating_points": points.to_json(),
        "preprocessing": preprocessing,
        "preprocessing_sha256": canonical_sha256(preprocessing),
        "files": {entry["weights"]: file_sha256(part / str(entry["weights"])) for entry in listed},
    }
    write_manifest(part, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def holds_experiment(path: Path) -> bool:
    """Whether a folder is an experiment's bundle or run, and not a bundle of `inference.bundle`."""
    try:
        _manifest(_folder(path))
    except BundleError:
        return False
    return True


def load_experiment_bundle(path: Path, device: str = "cpu") -> FractureBundle:
    """The bundle in a folder, or in a run's folder. Raises BundleError with the reason."""
    folder = _folder(path)
    manifest, sha256 = _manifest(folder)
    _check(folder, manifest)
    try:
        members = tuple(_member(folder, entry, device) for entry in manifest["members"])
        return FractureBundle(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            sha256=sha256,
            members=members,
            points=OperatingPoints.from_json(manifest["operating_points"]),
            manifest=manifest,
        )
    except (KeyError, TypeError, ValueError, SettingsError, OperatingPointsError) as error:
        raise BundleError(f"The manifest of bundle {folder} lacks or misstates {error}; restore the bundle.") from error


def _folder(path: Path) -> Path:
    return path / "bundle" if (path / "bundle" / MANIFEST).is_file() else path


def _as_stored(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu()
    return value.to(torch.float16) if value.is_floating_point() and value.ndim > 1 else value


def _manifest(folder: Path) -> tuple[dict[str, Any], str]:
    manifest, sha256 = read_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise BundleError(f"{folder} is no bundle of a fracture experiment.")
    return manifest, sha256


def _check(folder: Path, manifest: dict[str, Any]) -> None:
    check_format(folder, manifest, FORMAT_VERSION)
    entries = manifest.get("members")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise BundleError(f"{MANIFEST} of bundle {folder} lists no members; restore the bundle.")
    inputs = {str(e.get("experiment", {}).get("name")): e.get("experiment", {}).get("input") for e in entries}
    check_preprocessing(folder, manifest, canonical_sha256({**PREPROCESSING, "inputs": inputs}))
    check_files(folder, manifest, {str(e.get("weights")) for e in entries})


def _member(folder: Path, entry: dict[str, Any], device: str) -> Member:
    model = build(experiment_from(entry["experiment"], str(folder / MANIFEST)))
    file = folder / Path(str(entry["weights"])).name
    try:
        own = model.network.state_dict()
        tensors = {k: v.to(own[k].dtype) if k in own else v for k, v in load_file(file).items()}
        model.network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{file} does not hold the weights its manifest describes: {error}") from error
    model.network = ready(model, device)
    points = entry["points"]
    return Member(
        model=model,
        overall_weight=float(entry["overall_weight"]),
        level_weight=float(entry["level_weight"]),
        points=None if points is None else OperatingPoints.from_json(points),
    )


def ready(model: FractureModel, device: str) -> nn.Module:
    """The model's network on a device, in evaluation mode."""
    network: nn.Module = model.network.to(device, memory_format=model.memory_format).eval()  # type: ignore[call-overload]
    return network
