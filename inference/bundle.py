"""A bundle: weights and everything needed to use them, in one folder, verified before use.

    manifest.json             format, name, version, data, preprocessing, metrics, sha256 of each file
    localiser.safetensors     float16 tensors: names the vertebrae
    place.safetensors         says where along the spine each begins and ends
    shape.safetensors         draws each of them
    reference.json            where made: the scores and inputs it was validated on (`evaluate drift-reference`)
    fractures/                the bundle of a fracture experiment, as `cspine-node train EXPERIMENT` writes it

Nothing in a bundle is executed: safetensors holds only arrays, the architecture is rebuilt from numbers in
the manifests.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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
from inference.experiments.bundle import FractureBundle, load_experiment_bundle
from inference.models import LocaliserNet, PlaceNet, ShapeNet
from inference.preprocess import PREPROCESSING, preprocessing_sha256

FORMAT_VERSION: Final = 2
BUNDLE_NAME: Final = "cspine-synthetic"
LOCALISER: Final = "localiser.safetensors"
PLACE: Final = "place.safetensors"
SHAPE: Final = "shape.safetensors"
FRACTURES: Final = "fractures"
REFERENCE: Final = "reference.json"
_WEIGHTS: Final = (LOCALISER, PLACE, SHAPE)
_SHIPPED: Final = Path(__file__).parent / "bundles"


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """Networks in evaluation mode on `device`, and the experiment that looks for fractures.

    `sha256` is the manifest's; as the manifest holds the hash of every other file it names the bundle's
    entire content.
    """

    name: str
    version: str
    sha256: str
    device: torch.device
    localiser: LocaliserNet
    place: PlaceNet
    shape: ShapeNet
    fractures: FractureBundle
    manifest: dict[str, Any]

    @property
    def localiser_sha256(self) -> str:
        """What names and draws the vertebrae, and nothing else of the bundle: its weights and their preprocessing."""
        files = self.manifest["files"]
        return canonical_sha256({name: files[name] for name in _WEIGHTS} | {"preprocessing": preprocessing_sha256()})

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of C1 ... C7, on calibrated probabilities."""
        return tuple(float(t) for t in self.fractures.points.thresholds[1:])

    @property
    def overall_threshold(self) -> float:
        """Of the patient's calibrated probability."""
        return float(self.fractures.points.thresholds[0])


def load_bundle(path_or_name: str | Path, device: str | torch.device = "cpu") -> Bundle:
    """The bundle in the folder, or the shipped bundle of that name; raises `BundleError`."""
    folder = bundle_folder(path_or_name)
    target = torch.device(device)
    manifest, nets = _localiser_nets(folder, target)
    check_files(folder, manifest, {f"{FRACTURES}/{MANIFEST}"})
    try:
        return Bundle(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            sha256=read_manifest(folder)[1],
            device=target,
            fractures=load_experiment_bundle(folder / FRACTURES, str(target)),
            manifest=manifest,
            **nets,
        )
    except KeyError as error:
        raise BundleError(f"The manifest of bundle {folder} lacks {error}; restore the bundle.") from error


def fractures_of(path_or_name: str | Path) -> Path:
    """The folder of the fracture experiment in a bundle or in a run, verified; raises `BundleError`.

    For a new bundle around it: the localiser beside it may have been made for other code.
    """
    folder = bundle_folder(path_or_name)
    inside = folder / FRACTURES
    found = inside if inside.is_dir() else folder / "bundle" if (folder / "bundle" / MANIFEST).is_file() else folder
    load_experiment_bundle(found)
    return found


def compose_bundle(
    folder: Path, *, localiser: str | Path, fractures: str | Path, version: str, created: str
) -> dict[str, Any]:
    """One bundle in `folder` with the networks that name and draw from one bundle and the fracture models of another.

    `fractures` may also be an experiment's run. What was measured of the localiser stays in the manifest, which is
    returned. Raises `BundleError` where either cannot be used.
    """
    found, source = fractures_of(fractures), bundle_folder(localiser)
    theirs, nets = _localiser_nets(source, torch.device("cpu"))
    kept = ("name", "seed", "training_data", "training", "architecture")
    metrics = {key: value for key, value in theirs.get("metrics", {}).items() if key.startswith("localiser")}
    manifest = {key: theirs[key] for key in kept if key in theirs}
    manifest |= {"version": version, "created": created, "metrics": metrics}
    save_bundle(folder, **nets, fractures=found, manifest=manifest)
    return manifest


def save_bundle(
    folder: Path,
    localiser: LocaliserNet,
    place: PlaceNet,
    shape: ShapeNet,
    fractures: Path,
    manifest: dict[str, Any],
) -> None:
    """Write weights (float16), a copy of the experiment's bundle in `fractures`, and the manifest.

    `manifest` has name, version and architecture; format, preprocessing and file hashes are filled in. The folder
    appears, or is replaced, only when it is complete.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    nets = {LOCALISER: localiser, PLACE: place, SHAPE: shape}
    for name, net in nets.items():
        tensors = {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in net.state_dict().items()}
        save_file(tensors, part / name)
        (part / name).chmod(0o644)  # safetensors makes it private; an installed node runs as another user
    shutil.copytree(fractures, part / FRACTURES)
    files = [*_WEIGHTS, *sorted(f"{FRACTURES}/{file.name}" for file in (part / FRACTURES).iterdir())]
    write_manifest(
        part,
        {
            "format_version": FORMAT_VERSION,
            **manifest,
            "preprocessing": PREPROCESSING,
            "preprocessing_sha256": preprocessing_sha256(),
            "files": {name: file_sha256(part / name) for name in files},
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def keep_reference(path_or_name: str | Path, text: str) -> Path:
    """The bundle holds `text` as its drift reference, verified like its other files; returns where it is.

    The bundle has a new hash by that. Raises `BundleError`.
    """
    folder = bundle_folder(path_or_name)
    manifest, _ = read_manifest(folder)
    file = folder / REFERENCE
    file.write_text(text, encoding="utf-8")
    manifest["files"] = {**manifest["files"], REFERENCE: file_sha256(file)}
    write_manifest(folder, manifest)
    return file


def bundle_folder(path_or_name: str | Path) -> Path:
    """The folder itself, or that of the shipped bundle of this name; raises `BundleError` where there is none."""
    given = Path(path_or_name)
    if given.is_dir():
        return given
    shipped = _SHIPPED / str(path_or_name)
    if len(given.parts) == 1 and shipped.is_dir():
        return shipped
    names = ", ".join(sorted(p.name for p in _SHIPPED.iterdir() if p.is_dir())) or "none"
    raise BundleError(f"There is no bundle at {path_or_name}; name a folder or a shipped bundle ({names}).")


def _localiser_nets(folder: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]]:
    """A bundle's manifest, and the networks that name, place and draw, verified."""
    manifest, _ = read_manifest(folder)
    check_format(folder, manifest, FORMAT_VERSION)
    check_preprocessing(folder, manifest, preprocessing_sha256())
    check_files(folder, manifest, set(_WEIGHTS))
    kinds = {"localiser": LocaliserNet, "place": PlaceNet, "shape": ShapeNet}
    try:
        nets = {name: kind(channels=tuple(manifest["architecture"][name]["channels"])) for name, kind in kinds.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"The manifest of bundle {folder} lacks or misstates {error}; restore the bundle.") from error
    return manifest, {name: _load(net, folder / f"{name}.safetensors", device) for name, net in nets.items()}


def _load(net: Any, file: Path, device: torch.device) -> Any:
    try:
        tensors = load_file(file)
        net.load_state_dict({k: v.to(torch.float32) for k, v in tensors.items()})
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{file} does not hold the weights its manifest describes: {error}") from error
    net = net.to(device).eval()
    return net.to(memory_format=torch.channels_last_3d)
