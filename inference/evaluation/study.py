"""A bundle on held-out phantoms, through the whole pipeline: what the model card and the manifest report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.bundle import load_bundle
from inference.evaluation.drift_record import Record, append_record, input_facts, record_of
from inference.evaluation.metrics import (
    Interval,
    auc,
    bootstrap,
    competition_log_loss,
    dice,
    expected_calibration_error,
    sensitivity,
    specificity,
    wilson,
)
from inference.evaluation.recording import record_metrics
from inference.pipeline import Pipeline, Prediction
from inference.synthetic import Phantom, build_anatomy, default_grid, draw_spec, make_phantom
from inference.training.phantoms import coarser_grid

_log = structlog.get_logger(__name__)
_SYNTHETIC: Final = "synthetic data only"
_SEED: Final = 7
# What a level without an answer gets in the log loss: the shares of fractured studies in the public labels.
_PRIOR: Final = (0.476, 0.0723, 0.1412, 0.0362, 0.0535, 0.0802, 0.1372, 0.1947)

Array = NDArray[np.float64]
Row = dict[str, Any]


def evaluate_bundle(name: str, seeds: Iterable[int], out: Path | None, *, record: bool, threads: int) -> str:
    """Evaluate on the phantoms of `seeds`; the metrics as JSON text.

    `out` receives the metrics and, beside it, one row per phantom and the drift records of those with a cervical spine.
    `record` writes the metrics into the bundle's manifest, which gives the bundle a new hash.
    """
    pipeline = Pipeline(load_bundle(name), "cpu", threads)
    bundle = f"{pipeline.bundle.name} {pipeline.bundle.version}"
    rows = []
    for seed in seeds:
        phantom = _phantom(seed)
        prediction = pipeline.predict(phantom.volume)
        row = compare(phantom, prediction)
        if out is not None and prediction.cervical_spine_found:
            append_record(out.with_suffix(".records.csv"), _record(seed, phantom, prediction, bundle))
        _log.info("phantom_evaluated", seed=seed, found=row["found"], overall=row["overall_probability"])
        rows.append({"seed": seed, **row})
    metrics = summarise(rows)
    text = json.dumps(metrics, indent=2)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
        out.with_suffix(".rows.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if record:
        record_metrics(name, "evaluation", metrics)
    return text


def _record(seed: int, phantom: Phantom, prediction: Prediction, bundle: str) -> Record:
    volume = phantom.volume
    return record_of(
        study=f"phantom-{seed}",
        analysed_at=datetime.now(UTC),
        bundle=bundle,
        probabilities=prediction.probabilities,
        inputs=input_facts(volume.hu, volume.spacing_mm_zyx),
    )


def _phantom(seed: int) -> Phantom:
    """As the generator draws it, with pixels of at least 0.45 mm (1 mm where the neck is not the purpose)."""
    spec = draw_spec(seed)
    size = (0.5, 0.45, 0.45) if spec.coverage in ("cspine", "neck") else (1.0, 1.0, 1.0)
    return make_phantom(spec, grid=coarser_grid(default_grid(spec, build_anatomy(spec)), size))


def compare(phantom: Phantom, prediction: Prediction) -> Row:
    """Truth beside answer for one study."""
    levels = [
        _compare_level(phantom, prediction, number, truth) for number, truth in enumerate(phantom.truth["levels"], 1)
    ]
    return {
        "coverage": phantom.spec.coverage,
        "slices": int(phantom.volume.hu.shape[0]),
        "has_cervical_spine": sum(v["truth"] == "complete" for v in levels) >= 2,
        "found": prediction.cervical_spine_found,
        "fractured": bool(phantom.truth["any_fracture"]),
        "overall_probability": prediction.overall_probability,
        "overall_threshold": prediction.overall_threshold,
        "levels": levels,
        "timings_s": prediction.timings_s,
    }


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Every metric of the model card from the rows of `compare`."""
    spines = [r for r in rows if r["has_cervical_spine"]]
    others = [r for r in rows if not any(v["truth"] != "absent" for v in r["levels"])]
    complete = [v for r in spines for v in r["levels"] if v["truth"] == "complete"]
    drawn = [v for v in complete if v["dice"] is not None]
    placed = [v for v in complete if v["centre_error_mm"] is not None]
    errors = np.array([v["centre_error_mm"] for v in placed])
    return {
        "kind": _SYNTHETIC,
        "phantoms": len(rows),
        "with_cervical_spine": len(spines),
        "cervical_spine_found": _share(sum(r["found"] for r in spines), len(spines)),
        "without_cervical_spine": len(others),
        "correctly_not_applicable": _share(sum(not r["found"] for r in others), len(others)),
        "levels": {
            "complete_in_truth": len(complete),
            "assessed": _share(sum(v["status"] == "assessed" for v in complete), len(complete)),
            "named_right": _share(sum(bool(v["named_right"]) for v in complete), len(complete)),
            "centre_inside_vertebra": _share(sum(bool(v["centre_inside"]) for v in complete), len(complete)),
            "dice_mean": _mean([v["dice"] for v in drawn]),
            "centre_error_mm_median_c2_c7": _mean([float(np.median(errors))]) if len(errors) else None,
            "centre_error_mm_95_c2_c7": round(float(np.percentile(errors, 95)), 2) if len(errors) else None,
        },
        "fracture_level": _level_metrics(spines),
        "fracture_patient": _patient_metrics(spines),
        "competition_log_loss": _competition(spines),
        "seconds_per_study": _mean([sum(r["timings_s"].values()) for r in rows]),
    }


def _compare_level(phantom: Phantom, prediction: Prediction, number: int, truth: dict[str, Any]) -> Row:
    answer = prediction.levels[number - 1]
    row: Row = {
        "level": answer.level,
        "truth": truth["status"],
        "fractured": bool(truth["fractured"]),
        "kinds": [f["kind"] for f in truth["fractures"]],
        "status": answer.status,
        "probability": answer.probability,
        "threshold": answer.threshold,
        "centre_error_mm": None,
        "centre_inside": None,
        "named_right": None,
        "dice": None,
        "hit_mm": None,
    }
    if answer.key_index_zyx is None or answer.centre_lps_mm is None:
        return row
    own = phantom.labels == number
    row["named_right"] = bool(_overlap_name(phantom, prediction, number) == number)
    row["centre_inside"] = bool(own[_index(phantom, answer.centre_lps_mm)])
    if number > 1:  # the truth of C1 is the middle of its ring, where there is no bone to point at
        row["centre_error_mm"] = float(np.linalg.norm(np.subtract(answer.centre_lps_mm, truth["centre_lps_mm"])))
    row["dice"] = dice(own, prediction.mask == number)
    if row["fractured"]:
        row["hit_mm"] = _distance_mm(phantom, number, answer.key_index_zyx)
    return row


def _index(phantom: Phantom, point_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    z, y, x = np.round(phantom.volume.to_index_zyx(np.array(point_mm))).astype(int)
    return int(z), int(y), int(x)


def _overlap_name(phantom: Phantom, prediction: Prediction, number: int) -> int:
    """The true vertebra that most of the predicted level covers."""
    under = phantom.labels[prediction.mask == number]
    counts = np.bincount(under[under > 0], minlength=26)
    return int(counts.argmax()) if counts.sum() else 0


def _distance_mm(phantom: Phantom, number: int, key: tuple[int, int, int]) -> float:
    zone = np.argwhere(phantom.fracture_mask == number)
    apart = (zone - np.array(key)) * np.array(phantom.volume.spacing_mm_zyx)
    return float(np.sqrt((apart**2).sum(axis=1).min()))


def _level_metrics(spines: list[Row]) -> dict[str, Any]:
    known = [[v for v in r["levels"] if v["truth"] == "complete" and v["probability"] is not None] for r in spines]
    flat = [v for levels in known for v in levels]
    if not flat:
        return {}
    truth = np.array([v["fractured"] for v in flat], dtype=float)
    probability = np.array([v["probability"] for v in flat])
    margin = probability - np.array([v["threshold"] for v in flat])
    study = np.repeat(np.arange(len(known)), [len(levels) for levels in known])

    def resampled(rows: NDArray[np.int64]) -> float:
        index = np.concatenate([np.flatnonzero(study == s) for s in rows])
        return auc(truth[index], probability[index])

    hits = [v["hit_mm"] for v in flat if v["hit_mm"] is not None and v["probability"] >= v["threshold"]]
    return {
        "levels": len(flat),
        "fractured": int(truth.sum()),
        "auc": _interval(_safe(resampled, len(known))),
        "sensitivity": _interval(sensitivity(truth, margin, 0.0)),
        "specificity": _interval(specificity(truth, margin, 0.0)),
        "expected_calibration_error": round(expected_calibration_error(truth, probability), 4),
        "key_point_within_5_mm_of_fracture": _share(sum(h <= 5 for h in hits), len(hits)),
        "per_level": {f"C{k}": _one_level([v for v in flat if v["level"] == f"C{k}"]) for k in range(1, 8)},
        "sensitivity_by_kind": _by_kind(flat),
    }


def _one_level(levels: list[Row]) -> dict[str, Any]:
    truth = np.array([v["fractured"] for v in levels], dtype=float)
    margin = np.array([v["probability"] - v["threshold"] for v in levels])
    if not len(truth):
        return {"levels": 0}
    return {
        "levels": len(levels),
        "fractured": int(truth.sum()),
        "auc": _number(auc(truth, np.array([v["probability"] for v in levels]))),
        "sensitivity": _interval(sensitivity(truth, margin, 0.0)),
        "specificity": _interval(specificity(truth, margin, 0.0)),
    }


def _by_kind(levels: list[Row]) -> dict[str, Any]:
    """Sensitivity for vertebrae with exactly one kind of fracture."""
    single = [v for v in levels if v["fractured"] and len(v["kinds"]) == 1]
    kinds = sorted({v["kinds"][0] for v in single})
    found = {kind: [v["probability"] >= v["threshold"] for v in single if v["kinds"][0] == kind] for kind in kinds}
    return {kind: _share(sum(calls), len(calls)) for kind, calls in found.items()}


def _patient_metrics(spines: list[Row]) -> dict[str, Any]:
    known = [r for r in spines if r["overall_probability"] is not None]
    if not known:
        return {}
    truth = np.array([r["fractured"] for r in known], dtype=float)
    probability = np.array([r["overall_probability"] for r in known])
    threshold = float(known[0]["overall_threshold"])
    return {
        "patients": len(known),
        "fractured": int(truth.sum()),
        "auc": _interval(_safe(lambda rows: auc(truth[rows], probability[rows]), len(known))),
        "sensitivity": _interval(sensitivity(truth, probability, threshold)),
        "specificity": _interval(specificity(truth, probability, threshold)),
        "expected_calibration_error": round(expected_calibration_error(truth, probability), 4),
    }


def _competition(spines: list[Row]) -> dict[str, Any]:
    if not spines:
        return {}
    truth = np.array([[r["fractured"], *(v["fractured"] for v in r["levels"])] for r in spines], dtype=float)
    said = [[r["overall_probability"], *(v["probability"] for v in r["levels"])] for r in spines]
    probability = np.array([[p if p is not None else q for p, q in zip(row, _PRIOR, strict=True)] for row in said])
    loss = bootstrap(lambda rows: competition_log_loss(truth[rows], probability[rows]), len(spines), seed=_SEED)
    constant = competition_log_loss(truth, np.tile(_PRIOR, (len(spines), 1)))
    return {"loss": _interval(loss), "loss_of_constant_prior": round(constant, 4)}


def _safe(statistic: Callable[[NDArray[np.int64]], float], count: int) -> Interval:
    """Bootstrap where both classes occur, else nan."""
    if np.isnan(statistic(np.arange(count))):
        return Interval(value=float("nan"), low=float("nan"), high=float("nan"))
    return bootstrap(statistic, count, seed=_SEED)


def _share(part: int, whole: int) -> dict[str, Any]:
    return {"count": part, "of": whole, **_interval(wilson(part, whole))}


def _interval(interval: Interval) -> dict[str, Any]:
    return {"value": _number(interval.value), "ci95": [_number(interval.low), _number(interval.high)]}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
