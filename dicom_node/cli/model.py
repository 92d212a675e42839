"""The model side: `bundle inspect`, `train`, `predict`, `evaluate`. Nothing of it is needed to run a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli.options import AsJson
from dicom_node.cli.output import answer_json, say, table
from dicom_node.core.errors import BundleMismatch

# The training commands have their own options and help: everything after the word goes to them.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

bundle_app = typer.Typer(help="Bundles: weights and manifest of a model.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command(context_settings=_PASS_ON)(train)
    app.command(context_settings=_PASS_ON)(evaluate)
    app.command(context_settings=_PASS_ON)(submission)
    app.command(context_settings=_PASS_ON)(predict)
    app.add_typer(bundle_app, name="bundle")


def train(context: typer.Context) -> None:
    """Train an experiment, or the localiser on synthetic CT (`train --help` lists them)."""
    _training(context.args, "cspine-node train")


def evaluate(context: typer.Context) -> None:
    """Measure a bundle on phantoms, or models' predictions beside the truth (`evaluate --help` lists it all)."""
    _training(["evaluate", *context.args], "cspine-node")


def submission(context: typer.Context) -> None:
    """Write predictions as the challenge wants them: row_id,fractured (`submission --help`)."""
    from inference.evaluation.predictions_cli import submission_app

    submission_app(context.args, prog_name="cspine-node submission", standalone_mode=False)


def predict(context: typer.Context) -> None:
    """Probabilities of a trained experiment for prepared studies (`predict --help`)."""
    _training(["predict", *context.args], "cspine-node")


@bundle_app.command()
def inspect(
    bundle: Annotated[str, typer.Argument(help='"default" or a bundle folder.')] = "default", as_json: AsJson = False
) -> None:
    """Verifies a bundle and shows what it is: version, sha256, data, thresholds, metrics."""
    from inference.bundle import load_bundle
    from inference.bundle_files import BundleError
    from inference.experiments.bundle import holds_experiment, load_experiment_bundle

    try:
        path = Path(bundle)
        loaded = load_experiment_bundle(path) if holds_experiment(path) else load_bundle(bundle)
    except BundleError as error:
        raise BundleMismatch(str(error)) from None
    facts: dict[str, Any] = {"name": loaded.name, "version": loaded.version, "sha256": loaded.sha256}
    if as_json:
        answer_json(facts | {"manifest": loaded.manifest})
        return
    for key, value in facts.items():
        say(f"{key:8} {value}")
    table(("key", "value"), [(key, _short(value)) for key, value in loaded.manifest.items()], empty="an empty manifest")


@bundle_app.command()
def make(
    out: Annotated[Path, typer.Argument(help="The new bundle's folder; one that is there is replaced.")],
    fractures: Annotated[str, typer.Option(help="A fracture experiment's run, or a bundle that has one.")],
    version: Annotated[str, typer.Option(help="Of the new bundle.")],
    localiser: Annotated[str, typer.Option(help="The bundle whose localiser it has.")] = "default",
) -> None:
    """Puts a localiser and fracture models together in one bundle, which `[inference] bundle` may name."""
    from datetime import date

    from inference.bundle import compose_bundle
    from inference.bundle_files import BundleError

    try:
        made = compose_bundle(
            out, localiser=localiser, fractures=fractures, version=version, created=date.today().isoformat()
        )
    except BundleError as error:
        raise BundleMismatch(str(error)) from None
    say(f"{out}: {made['name']} {version}")


def _training(arguments: list[str], name: str) -> None:
    from inference.training.cli import app

    app(arguments, prog_name=name, standalone_mode=False)


def _short(value: Any) -> str:
    text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."
