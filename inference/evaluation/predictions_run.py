"""`evaluate predictions` from files to files: read, fit operating points on validation, measure, compare, report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.dataset.prepared import PreparedFolder
from inference.evaluation.comparison import compare, comparison_markdown
from inference.evaluation.fracture_summary import Model, Setting, model_of, summarise, summarise_baselines
from inference.evaluation.operating import Objective, OperatingPoints, Rule, fit_operating_points
from inference.evaluation.predictions import (
    Facts,
    Predictions,
    PredictionsError,
    aligned,
    read_facts,
    read_predictions,
    read_truth,
)
from inference.evaluation.report import UNKNOWN_DATA, Picture, comparison_html, report_html
from inference.evaluation.resampling import ROUNDS, SEED
from inference.evaluation.submission import Submission, make_submission, write_submission

FACTS_FILE = "facts.json"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How operating points are fitted: a predictions file for each model and the truth, never that of the test."""

    files: tuple[Path, ...]
    truth: Path
    rule: Rule
    sensitivity_goal: float
    objective: Objective
    calibrated_already: bool


def read_setting(truth: Path, facts: Path | None, *, rounds: int = ROUNDS, seed: int = SEED) -> Setting:
    """The studies to measure on: a truth file (with `facts.json` beside it, if there is one) or a prepared folder."""
    if truth.is_dir():
        return _prepared_setting(PreparedFolder(truth), rounds, seed)
    beside = facts if facts is not None else truth.with_name(FACTS_FILE)
    known: Facts = read_facts(beside) if facts is not None or beside.is_file() else {}
    return Setting(truth=read_truth(truth), facts=known, rounds=rounds, seed=seed)


def read_models(
    files: Sequence[Path], setting: Setting, validation: Validation | None, points: Sequence[OperatingPoints] = ()
) -> list[Model]:
    """A model for each predictions file, named by it; `points` in their order where they are not to be fitted."""
    names = names_of(files)
    fitted = list(points) if points else [None] * len(files)
    if validation is not None:
        truth = read_setting(validation.truth, None).truth
        _no_shared_study(truth, setting.truth)
        fitted = [_fit(aligned(truth, read_predictions(file)), truth, validation) for file in validation.files]
    models = []
    for name, file, own in zip(names, files, fitted, strict=True):
        try:
            models.append(model_of(name, setting, read_predictions(file), own))
        except PredictionsError as error:
            raise PredictionsError(f"{file}: {error}" if str(file) not in str(error) else str(error)) from None
    return models


def names_of(files: Sequence[Path]) -> tuple[str, ...]:
    """A name for each file: its stem, with its folder where two files have the same."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    names = tuple(f"{file.resolve().parent.name}-{file.stem}" for file in files)
    if len(set(names)) < len(names):
        raise PredictionsError("two predictions files have the same name and folder name; rename one")
    return names


def compare_models(setting: Setting, models: Sequence[Model], fitted_on: Predictions | None) -> dict[str, Any]:
    """`models`, `hollow` and `comparison`: every number there is, ready for JSON."""
    summaries = [summarise(setting, model) for model in models]
    hollow = summarise_baselines(setting, None if fitted_on is None else fitted_on.values)
    return {"models": summaries, "hollow": hollow, "comparison": compare(setting, models, summaries, hollow)}


def write_comparison(out: Path, numbers: Mapping[str, Any], data_note: str = UNKNOWN_DATA) -> tuple[Path, ...]:
    """`comparison.md`, `.html` and `.json` in a folder."""
    comparison = numbers["comparison"]
    texts = {
        "comparison.md": comparison_markdown(comparison),
        "comparison.html": comparison_html(comparison, data_note=data_note),
        "comparison.json": _json(comparison),
    }
    return tuple(_written(out / name, text) for name, text in texts.items())


def write_evaluation(
    out: Path,
    setting: Setting,
    models: Sequence[Model],
    numbers: Mapping[str, Any],
    *,
    pictures: Mapping[str, Picture] | None = None,
    data_note: str = UNKNOWN_DATA,
) -> tuple[list[Path], list[str]]:
    """`report.html`, `metrics.json`, the comparison, and each model's submission and operating points.

    Returns the files and the submissions' warnings.
    """
    page = report_html(
        setting,
        models,
        numbers["models"],
        numbers["hollow"],
        numbers["comparison"],
        pictures=pictures,
        data_note=data_note,
    )
    files = [_written(out / "report.html", page), _written(out / "metrics.json", _json(numbers))]
    files += write_comparison(out, numbers, data_note)
    warnings = []
    for model in models:
        submission = _submission_of(setting, model)
        files.append(out / f"{model.name}.submission.csv")
        write_submission(files[-1], submission)
        warnings += [f"{model.name}: {warning}" for warning in submission.warnings]
        if model.points is not None:
            files.append(_written(out / f"{model.name}.operating-points.json", _json(model.points.to_json())))
    return files, warnings


def _submission_of(setting: Setting, model: Model) -> Submission:
    return make_submission(Predictions(uids=setting.truth.uids, values=model.values))


def _prepared_setting(folder: PreparedFolder, rounds: int, seed: int) -> Setting:
    truth = {uid: row for uid, row in folder.truth.items() if row is not None}
    if not truth:
        raise PredictionsError(f"{folder.folder} holds no study whose truth is known")
    values = [[float(v) for v in row] for row in truth.values()]
    patients = folder.patients
    facts = {uid: {"patient": patients[uid], **folder.head(uid).facts} for uid in truth}
    return Setting(truth=Predictions(uids=tuple(truth), values=np.array(values)), facts=facts, rounds=rounds, seed=seed)


def _fit(predictions: Predictions, truth: Predictions, how: Validation) -> OperatingPoints:
    return fit_operating_points(
        truth.values,
        predictions.values,
        rule=how.rule,
        sensitivity_goal=how.sensitivity_goal,
        objective=how.objective,
        calibrate="no" if how.calibrated_already else "heads",
    )


def _no_shared_study(validation: Predictions, test: Predictions) -> None:
    shared = sorted(set(validation.uids) & set(test.uids))
    if shared:
        raise PredictionsError(
            f"{len(shared)} studies are in validation and in the test, the first {shared[0]}: operating points would "
            "be fitted on what they are measured on"
        )


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"
