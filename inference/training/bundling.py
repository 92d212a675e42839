"""From two trainings to a bundle: calibration and thresholds on validation crops, then the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import Calibration, overall_features, save_bundle
from inference.evaluation.calibrate import best_threshold, fit_logistic, threshold_at_specificity
from inference.evaluation.metrics import auc
from inference.models import FractureNet, LocaliserNet, PlaceNet, ShapeNet
from inference.training.classifier import plain_crop
from inference.training.fit import load_average
from inference.training.settings import Settings

Array = NDArray[np.float64]

_DATA = (
    "Synthetic CT only, made by inference/synthetic: no patient data in training, calibration or thresholds. "
    "Its numbers say nothing about patients."
)
# Seven levels are called in each study: at 0.95 each, a sound neck already has a false call in every third study.
_LEVEL_SPECIFICITY = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scores:
    """One row per crop: study number, level 1-7, truth, logit."""

    study: NDArray[np.int64]
    level: NDArray[np.int64]
    truth: Array
    logit: Array


def make_bundle(
    settings: Settings,
    localiser_folder: Path,
    classifier_folder: Path,
    validation: Path,
    out: Path,
    version: str,
    created: str,
) -> dict[str, Any]:
    """Write the bundle to `out` and return its manifest."""
    localiser = load_average(LocaliserNet(settings.localiser.channels), localiser_folder)
    place = load_average(PlaceNet(settings.place.channels), localiser_folder / "place")
    shape = load_average(ShapeNet(settings.shape.channels), localiser_folder / "shape")
    classifier = load_average(FractureNet(settings.classifier.channels), classifier_folder)
    scores = _score(classifier, validation)
    calibration, thresholds, fitted = _calibrate(scores)
    manifest = {
        "name": "cspine-synthetic",
        "version": version,
        "created": created,
        "seed": settings.seeds.torch,
        "training_data": {"description": _DATA, "samples": _counts(localiser_folder, classifier_folder)},
        "architecture": {
            "localiser": {"type": "LocaliserNet", "channels": list(settings.localiser.channels)},
            "place": {"type": "PlaceNet", "channels": list(settings.place.channels)},
            "shape": {"type": "ShapeNet", "channels": list(settings.shape.channels)},
            "classifier": {"type": "FractureNet", "channels": list(settings.classifier.channels)},
        },
        "calibration": calibration,
        "thresholds": thresholds,
        "metrics": {"kind": "synthetic data only", "validation": fitted},
    }
    save_bundle(out, localiser, place, shape, classifier, manifest)  # type: ignore[arg-type]
    return manifest


def _score(classifier: torch.nn.Module, validation: Path) -> _Scores:
    """Logits of every validation crop, averaged with its mirror image as in serving."""
    classifier = classifier.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    rows: list[tuple[int, int, float, float]] = []
    for number, file in enumerate(sorted(validation.glob("*.npz"))):
        with np.load(file) as arrays:
            held = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        for i in range(len(held["level"])):
            level = int(held["level"][i])
            crop = plain_crop(held["hu"][i], held["labels"][i], level)
            with torch.inference_mode():
                logit, _ = classifier(torch.stack([crop, crop.flip(-1)]), torch.full((2,), level))
            rows.append((number, level, float(held["positive"][i]), float(logit.mean())))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return _Scores(study=columns[0], level=columns[1], truth=columns[2], logit=columns[3])


def _calibrate(scores: _Scores) -> tuple[dict[str, Any], dict[str, float], dict[str, float]]:
    weights, offset = fit_logistic(scores.logit[:, None], scores.truth)
    level = {"slope": float(weights[0]), "offset": offset}
    neutral = Calibration(level_slope=level["slope"], level_offset=offset, overall_weights=(0.5, 0.5), overall_offset=0)
    probability = np.array([neutral.level_probability(v) for v in scores.logit])
    studies = np.unique(scores.study)
    truth = np.array([scores.truth[scores.study == s].max() for s in studies])
    features = np.array([overall_features(probability[scores.study == s].tolist()) for s in studies])
    first, second = fit_logistic(features, truth)
    overall = {"highest": float(first[0]), "noisy_or": float(first[1]), "offset": second}
    patient = 1 / (1 + np.exp(-(features @ first + second)))
    thresholds = _thresholds(scores, probability)
    thresholds["patient_overall"] = round(best_threshold(truth, patient), 4)
    fitted = {
        "studies": len(studies),
        "level_crops": len(scores.truth),
        "level_auc": round(auc(scores.truth, probability), 4),
        "patient_auc": round(auc(truth, patient), 4),
    }
    return {"level": level, "overall": overall}, thresholds, fitted


def _thresholds(scores: _Scores, probability: Array) -> dict[str, float]:
    """A threshold per level at the wanted specificity, drawn halfway to the common one: a level has few crops."""
    common = threshold_at_specificity(scores.truth, probability, _LEVEL_SPECIFICITY)
    thresholds = {}
    for level in range(1, 8):
        rows = scores.level == level
        own = threshold_at_specificity(scores.truth[rows], probability[rows], _LEVEL_SPECIFICITY)
        thresholds[f"C{level}"] = round((own + common) / 2, 4)
    return thresholds


def _counts(localiser_folder: Path, classifier_folder: Path) -> dict[str, int]:
    """Training steps actually taken, from the checkpoints."""
    return {
        f"{name}_steps": int(torch.load(folder / "last.pt", weights_only=True)["step"])
        for name, folder in (("localiser", localiser_folder), ("classifier", classifier_folder))
    }
