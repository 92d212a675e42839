"""A bundle: weights and everything needed to use them, in one folder, verified before use.

    manifest.json             format, name, version, data, preprocessing, thresholds, metrics, sha256 of each file
    localiser.safetensors     float16 tensors: names the vertebrae
    place.safetensors         says where along the spine each begins and ends
    shape.safetensors         draws each of them
    classifier.safetensors

Nothing in a bundle is executed: safetensors holds only arrays, the architecture is rebuilt from numbers in
the manifest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from inference.models import FractureNet, LocaliserNet, PlaceNet, ShapeNet
from inference.preprocess import PREPROCESSING, preprocessing_sha256

FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
LOCALISER: Final = "localiser.safetensors"
PLACE: Final = "place.safetensors"
SHAPE: Final = "shape.safetensors"
CLASSIFIER: Final = "classifier.safetensors"
_WEIGHTS: Final = (LOCALISER, PLACE, SHAPE, CLASSIFIER)
_SHIPPED: Final = Path(__file__).parent / "bundles"


class BundleError(Exception):
    """The bundle cannot be used; the message says which folder, what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From logits to probabilities (Platt): level p = sigmoid(slope * logit + offset).

    The overall logit is `overall_offset` + `overall_weights` . (highest calibrated level logit, calibrated
    noisy-or logit over the assessed levels).
    """

    level_slope: float
    level_offset: float
    overall_weights: tuple[float, float]
    overall_offset: float

    def level_probability(self, logit: float) -> float:
        """The calibrated probability that a vertebra is fractured."""
        return _sigmoid(self.level_slope * logit + self.level_offset)

    def overall_probability(self, probabilities: list[float]) -> float:
        """The calibrated probability of any fracture, from the calibrated level probabilities."""
        highest, any_of = overall_features(probabilities)
        first, second = self.overall_weights
        return _sigmoid(first * highest + second * any_of + self.overall_offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """Networks in evaluation mode on `device`, with the numbers that turn their logits into findings.

    `sha256` is the manifest's; as the manifest holds the hash of every other file it names the bundle's
    entire content. `thresholds` are C1 ... C7.
    """

    name: str
    version: str
    sha256: str
    device: torch.device
    localiser: LocaliserNet
    place: PlaceNet
    shape: ShapeNet
    classifier: FractureNet
    calibration: Calibration
    thresholds: tuple[float, ...]
    overall_threshold: float
    manifest: dict[str, Any]


def load_bundle(path_or_name: str | Path, device: str | torch.device = "cpu") -> Bundle:
    """The bundle in the folder, or the shipped bundle of that name; raises `BundleError`."""
    folder = _folder(path_or_name)
    text = _read(folder, folder / MANIFEST)
    manifest = _parse(folder, text)
    _check(folder, manifest)
    target = torch.device(device)
    try:
        architecture, calibration = manifest["architecture"], manifest["calibration"]
        localiser = LocaliserNet(channels=tuple(architecture["localiser"]["channels"]))
        place = PlaceNet(channels=tuple(architecture["place"]["channels"]))
        shape = ShapeNet(channels=tuple(architecture["shape"]["channels"]))
        classifier = FractureNet(channels=tuple(architecture["classifier"]["channels"]))
        bundle = Bundle(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            sha256=hashlib.sha256(text).hexdigest(),
            device=target,
            localiser=_load(localiser, folder / LOCALISER, target),
            place=_load(place, folder / PLACE, target),
            shape=_load(shape, folder / SHAPE, target),
            classifier=_load(classifier, folder / CLASSIFIER, target),
            calibration=Calibration(
                level_slope=float(calibration["level"]["slope"]),
                level_offset=float(calibration["level"]["offset"]),
                overall_weights=(float(calibration["overall"]["highest"]), float(calibration["overall"]["noisy_or"])),
                overall_offset=float(calibration["overall"]["offset"]),
            ),
            thresholds=tuple(float(manifest["thresholds"][f"C{k}"]) for k in range(1, 8)),
            overall_threshold=float(manifest["thresholds"]["patient_overall"]),
            manifest=manifest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"The manifest of bundle {folder} lacks or misstates {error}; restore the bundle.") from error
    return bundle


def load_classifier(path_or_name: str | Path) -> tuple[FractureNet, dict[str, Any]]:
    """A bundle's classifier and its manifest, also where only the bundle's localiser was made for other code.

    For a new bundle around the same classifier. Raises `BundleError`.
    """
    folder = _folder(path_or_name)
    manifest = _parse(folder, _read(folder, folder / MANIFEST))
    check_format(folder, manifest, FORMAT_VERSION)
    check_files(folder, manifest, {LOCALISER, CLASSIFIER})
    made_for = manifest.get("preprocessing") or {}
    if any(made_for.get(part) != PREPROCESSING[part] for part in ("classifier", "antialias")):
        raise BundleError(f"The classifier of bundle {folder} was trained with another preprocessing; train it anew.")
    try:
        net = FractureNet(channels=tuple(manifest["architecture"]["classifier"]["channels"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"The manifest of bundle {folder} lacks or misstates {error}; restore the bundle.") from error
    return _load(net, folder / CLASSIFIER, torch.device("cpu")), manifest


def save_bundle(
    folder: Path,
    localiser: LocaliserNet,
    place: PlaceNet,
    shape: ShapeNet,
    classifier: FractureNet,
    manifest: dict[str, Any],
) -> None:
    """Write weights (float16) and the manifest with format, preprocessing and file hashes filled in."""
    folder.mkdir(parents=True, exist_ok=True)
    for net, name in ((localiser, LOCALISER), (place, PLACE), (shape, SHAPE), (classifier, CLASSIFIER)):
        tensors = {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in net.state_dict().items()}
        save_file(tensors, folder / name)
        (folder / name).chmod(0o644)  # safetensors makes it private; an installed node runs as another user
    complete = {
        "format_version": FORMAT_VERSION,
        **manifest,
        "preprocessing": PREPROCESSING,
        "preprocessing_sha256": preprocessing_sha256(),
        "files": {name: file_sha256(folder / name) for name in _WEIGHTS},
    }
    (folder / MANIFEST).write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")


def overall_features(probabilities: list[float]) -> tuple[float, float]:
    """(logit of the highest probability, logit of the noisy-or) of the levels."""
    p = np.clip(np.asarray(probabilities, dtype=float), 1e-6, 1 - 1e-6)
    any_of = 1.0 - float(np.prod(1.0 - p))
    return _logit(float(p.max())), _logit(min(max(any_of, 1e-6), 1 - 1e-6))


def _folder(path_or_name: str | Path) -> Path:
    given = Path(path_or_name)
    if given.is_dir():
        return given
    shipped = _SHIPPED / str(path_or_name)
    if len(given.parts) == 1 and shipped.is_dir():
        return shipped
    names = ", ".join(sorted(p.name for p in _SHIPPED.iterdir() if p.is_dir())) or "none"
    raise BundleError(f"There is no bundle at {path_or_name}; name a folder or a shipped bundle ({names}).")


def _read(folder: Path, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"Bundle {folder} lacks a readable {file.name}; restore the bundle.") from error


def _parse(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{MANIFEST} of bundle {folder} is not JSON ({error}); restore the bundle.") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{MANIFEST} of bundle {folder} is not a JSON object; restore the bundle.")
    return manifest


def _check(folder: Path, manifest: dict[str, Any]) -> None:
    check_format(folder, manifest, FORMAT_VERSION)
    check_preprocessing(folder, manifest, preprocessing_sha256())
    check_files(folder, manifest, {LOCALISER, CLASSIFIER})


def check_format(folder: Path, manifest: dict[str, Any], reads: int) -> None:
    """Raise `BundleError` where the manifest is of another format version than the one this program `reads`."""
    version = manifest.get("format_version")
    if version != reads:
        raise BundleError(
            f"Bundle {folder} has format version {version!r}; this program reads {reads}. "
            "Use a bundle made for this version."
        )


def check_preprocessing(folder: Path, manifest: dict[str, Any], ours: str) -> None:
    """Raise `BundleError` where the weights were trained with another preprocessing than the one hashed as `ours`."""
    theirs = manifest.get("preprocessing_sha256")
    if theirs != ours:
        raise BundleError(
            f"Bundle {folder} was trained with another preprocessing ({str(theirs)[:12]}) than this program's "
            f"({ours[:12]}); its answers would be wrong. Use a bundle made for this version."
        )


def check_files(folder: Path, manifest: dict[str, Any], needed: set[str]) -> None:
    """Raise `BundleError` where a `needed` file is not listed, or a listed one is missing or has changed."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not needed <= set(files):
        raise BundleError(f"{MANIFEST} of bundle {folder} does not list its files; restore the bundle.")
    for name, expected in files.items():
        file = folder / Path(str(name)).name
        if not file.is_file():
            raise BundleError(f"Bundle {folder} lacks {name}; restore the bundle.")
        if file_sha256(file) != expected:
            raise BundleError(f"{name} of bundle {folder} has changed (wrong SHA-256); restore the bundle.")


def _load(net: Any, file: Path, device: torch.device) -> Any:
    try:
        tensors = load_file(file)
        net.load_state_dict({k: v.to(torch.float32) for k, v in tensors.items()})
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{file} does not hold the weights its manifest describes: {error}") from error
    net = net.to(device).eval()
    return net.to(memory_format=torch.channels_last_3d)


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


def _logit(p: float) -> float:
    return float(np.log(p / (1.0 - p)))
