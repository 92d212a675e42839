"""`cspine-node evaluate predictions` and `compare`, and `cspine-node submission`: from files of predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inference.dataset.errors import DataSetError
from inference.dataset.prepared import PreparedFileUnusable, PreparedFolder
from inference.evaluation.operating import (
    SENSITIVITY_GOAL,
    Objective,
    OperatingPoints,
    OperatingPointsError,
    Rule,
    read_operating_points,
)
from inference.evaluation.predictions import PredictionsError
from inference.evaluation.resampling import ROUNDS

if TYPE_CHECKING:
    from inference.evaluation.report import Picture

Files = Annotated[list[Path], typer.Argument(metavar="PRED.csv", help="Predictions; the first is compared with.")]
Truth = Annotated[Path, typer.Option(help="The truth: a CSV like RSNA's train.csv, or a folder of prepared studies.")]
FactsFile = Annotated[Path | None, typer.Option("--facts", help="Facts of the studies. Else facts.json by the truth.")]
Out = Annotated[Path, typer.Option(help="A folder for the results.")]
Points = Annotated[
    list[Path] | None,
    typer.Option("--operating-points", metavar="JSON", help="Operating points, once for each model, in order."),
]
Note = Annotated[str | None, typer.Option(help="What the data are, for the head of the report.")]
Draws = Annotated[int, typer.Option(min=1, help="How often patients are drawn for the intervals.")]


def register(app: typer.Typer) -> None:
    """Adds `predictions` and `compare`."""
    app.command()(predictions)
    app.command()(compare)


submission_app = typer.Typer(add_completion=False, help="Predictions in the challenge's form.")


def predictions(
    files: Files,
    truth: Truth,
    out: Out,
    facts: FactsFile = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option(metavar="PRED.csv", help="Predictions of validation studies, once for each model, in order."),
    ] = None,
    validation_truth: Annotated[Path | None, typer.Option(help="The truth of validation, as --truth.")] = None,
    rule: Annotated[Rule, typer.Option(help="How thresholds are chosen on validation.")] = "f2",
    sensitivity: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="What the rule 'sensitive' keeps.")
    ] = SENSITIVITY_GOAL,
    objective: Annotated[
        Objective, typer.Option(help="Calibrate for honest probabilities, or for the competition's weights.")
    ] = "log_loss",
    calibrated_already: Annotated[
        bool, typer.Option("--calibrated-already", help="Fit thresholds only; leave the probabilities.")
    ] = False,
    operating_points: Points = None,
    bundle: Annotated[
        str | None, typer.Option(help="The bundle whose predictions these are (one file): its thresholds are in force.")
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the numbers into that bundle's manifest.")] = False,
    pictures: Annotated[
        Path | None, typer.Option(help="A folder of <StudyInstanceUID>.png for the worst studies.")
    ] = None,
    note: Note = None,
    draws: Draws = ROUNDS,
) -> None:
    """Every number of some models beside the truth: an HTML report, JSON, Markdown and submission files.

    Temperatures, biases and thresholds come from --validation with --validation-truth, or from --operating-points;
    with --bundle its thresholds apply to what `predict` has calibrated. With none of them, probabilities are taken as
    they are and called at 0.5.
    """
    from inference.evaluation.predictions_run import Validation, compare_models, read_models, read_setting
    from inference.evaluation.predictions_run import write_evaluation as write

    if bool(validation) != (validation_truth is not None):
        raise typer.BadParameter("--validation and --validation-truth belong together")
    if record and bundle is None:
        raise typer.BadParameter("names no bundle to write to; give --bundle", param_hint="--record")
    if bundle is not None and (validation or operating_points or len(files) != 1):
        raise typer.BadParameter(
            "goes with one file of predictions, and with no other thresholds", param_hint="--bundle"
        )
    how = None
    if validation and validation_truth is not None:
        if operating_points:
            raise typer.BadParameter("operating points are fitted on --validation or read, not both")
        how = Validation(
            files=tuple(_one_each(validation, files, "--validation")), truth=validation_truth, rule=rule,
            sensitivity_goal=sensitivity, objective=objective, calibrated_already=calibrated_already,
        )  # fmt: skip
    with _in_one_line():
        setting = read_setting(truth, facts, rounds=draws)
        points = _read_points(operating_points, files) if bundle is None else [_thresholds_of(bundle)]
        models = read_models(files, setting, how, points)
        fitted_on = None if how is None else read_setting(how.truth, None).truth
        numbers = compare_models(setting, models, fitted_on)
        prepared = _prepared_beside(truth)
        drawn = _pictures(pictures, prepared, numbers)
        told = _note(note, prepared)
        written, warnings = write(out, setting, models, numbers, pictures=drawn, data_note=told)
        if record and bundle is not None:
            from inference.evaluation.recording import FRACTURES, fracture_metrics, record_metrics

            record_metrics(bundle, FRACTURES, fracture_metrics(numbers["models"][0], told))
    _say_comparison(numbers)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{written[0]} written, and {len(written) - 1} files beside it")


def compare(
    files: Files,
    truth: Truth,
    out: Out,
    facts: FactsFile = None,
    operating_points: Points = None,
    note: Note = None,
    draws: Draws = ROUNDS,
) -> None:
    """One table of several models on the same studies, and their differences from the first on the same draws.

    `evaluate predictions` writes the operating points that it fitted beside its report.
    """
    from inference.evaluation.predictions_run import compare_models, read_models, read_setting, write_comparison

    with _in_one_line():
        setting = read_setting(truth, facts, rounds=draws)
        models = read_models(files, setting, None, _read_points(operating_points, files))
        numbers = compare_models(setting, models, None)
        written = write_comparison(out, numbers, _note(note, _prepared_beside(truth)))
    _say_comparison(numbers)
    typer.echo(", ".join(str(path) for path in written) + " written")


@submission_app.command()
def submission(
    file: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Predictions.")],
    out: Annotated[Path, typer.Option(help="The submission file.")],
    sample: Annotated[Path | None, typer.Option(help="sample_submission.csv: its rows, in its order.")] = None,
) -> None:
    """Write predictions in the challenge's form: row_id,fractured; eight rows a study."""
    from inference.evaluation.predictions import read_predictions
    from inference.evaluation.submission import make_submission, read_row_ids, write_submission

    with _in_one_line():
        made = make_submission(read_predictions(file), None if sample is None else read_row_ids(sample))
        write_submission(out, made)
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{out}: {len(made.rows)} rows")


@contextmanager
def _in_one_line() -> Iterator[None]:
    """What is wrong with a file is a usage error: one line, status 2."""
    try:
        yield
    except (PredictionsError, OperatingPointsError, DataSetError, PreparedFileUnusable) as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename or 'the system'}: {error.strerror or error}") from None


def _one_each(given: list[Path], files: list[Path], option: str) -> list[Path]:
    if len(given) != len(files):
        raise typer.BadParameter(
            f"{option} is given {len(given)} times for {len(files)} models; once for each, in order"
        )
    return given


def _read_points(given: list[Path] | None, files: list[Path]) -> list[OperatingPoints]:
    paths = _one_each(given, files, "--operating-points") if given else []
    return [read_operating_points(path.read_text(encoding="utf-8")) for path in paths]


def _thresholds_of(bundle: str) -> OperatingPoints:
    from inference.bundle import load_bundle
    from inference.bundle_files import BundleError

    try:
        return load_bundle(bundle).fractures.points.thresholds_alone()
    except BundleError as error:
        raise typer.BadParameter(str(error), param_hint="--bundle") from None


def _pictures(folder: Path | None, prepared: PreparedFolder | None, numbers: Mapping[str, Any]) -> dict[str, Picture]:
    """Each model's pictures of its worst studies: from a folder of PNGs, else drawn from prepared studies."""
    from inference.evaluation.case_picture import pictures_of_worst

    if folder is not None:
        return {model["name"]: lambda uid: _png(folder / f"{uid}.png") for model in numbers["models"]}
    if prepared is None:
        return {}
    return {model["name"]: pictures_of_worst(prepared, model["worst"]) for model in numbers["models"]}


def _png(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _prepared_beside(truth: Path) -> PreparedFolder | None:
    """The prepared studies in the folder of the truth, or in the folder that it is; None where there are none."""
    try:
        return PreparedFolder(truth if truth.is_dir() else truth.parent)
    except FileNotFoundError:
        return None


def _note(given: str | None, prepared: PreparedFolder | None) -> str:
    """What the data are: as given; else synthetic where every prepared study is a phantom."""
    from inference.evaluation.report import SYNTHETIC_DATA, UNKNOWN_DATA

    if given is not None:
        return given
    if prepared is not None and all(prepared.head(uid).source == "phantom" for uid in prepared.uids):
        return SYNTHETIC_DATA
    return UNKNOWN_DATA


def _say_comparison(numbers: Mapping[str, Any]) -> None:
    from inference.evaluation.comparison import comparison_markdown

    typer.echo(comparison_markdown(numbers["comparison"]))
