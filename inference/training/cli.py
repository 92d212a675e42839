"""`python -m inference.training`: samples, the two trainings, the bundle, its evaluation.

`cspine-node train` mounts the same commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from inference.evaluation.cli import app as evaluation_app
from inference.training.settings import DEFAULT, read_settings

app = typer.Typer(
    no_args_is_help=True, help="Train the localiser and the classifier on synthetic CT and make a bundle."
)

SettingsFile = Annotated[Path, typer.Option("--settings", help="The experiment's TOML file.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads for torch.")]


@app.command()
def samples(
    kind: Annotated[str, typer.Argument(help="localiser, classifier or validation")],
    out: Annotated[Path, typer.Argument(help="Folder for the .npz files; seeds that are there are skipped.")],
    count: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 400,
    skip: Annotated[int, typer.Option(min=0, help="Leave out this many seeds at the start.")] = 0,
    stride: Annotated[int, typer.Option(min=1, help="Take each n-th seed: n processes share the work.")] = 1,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Render phantoms and keep what one network trains on."""
    from inference.training.phantoms import write_samples

    torch.set_num_threads(1)
    seeds = read_settings(settings).seeds
    first = seeds.validate_first if kind == "validation" else seeds.train_first
    for path, seconds in write_samples(kind, range(first + skip, first + count, stride), out):
        typer.echo(f"{path.name} {seconds:.1f} s")


@app.command()
def localiser(
    samples: Annotated[Path, typer.Argument(help="Folder of localiser samples.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint and losses.csv; resumes what it finds.")],
    steps: Annotated[int | None, typer.Option(help="Instead of the settings' number of steps.")] = None,
    start: Annotated[Path | None, typer.Option(help="Start from this training's averaged weights.")] = None,
    threads: Threads = 2,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Train the network that names the vertebrae."""
    from inference.training.localiser import train_localiser

    torch.set_num_threads(threads)
    train_localiser(read_settings(settings).with_steps(steps), samples, out, start)


@app.command()
def classifier(
    samples: Annotated[Path, typer.Argument(help="Folder of classifier samples.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint and losses.csv; resumes what it finds.")],
    steps: Annotated[int | None, typer.Option(help="Instead of the settings' number of steps.")] = None,
    start: Annotated[Path | None, typer.Option(help="Start from this training's averaged weights.")] = None,
    threads: Threads = 2,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Train the network that looks for a fracture in one vertebra."""
    from inference.training.classifier import train_classifier

    torch.set_num_threads(threads)
    train_classifier(read_settings(settings).with_steps(steps), samples, out, start)


@app.command()
def bundle(
    localiser: Annotated[Path, typer.Argument(help="Folder of the localiser's training.")],
    classifier: Annotated[Path, typer.Argument(help="Folder of the classifier's training.")],
    validation: Annotated[Path, typer.Argument(help="Folder of validation samples, for calibration and thresholds.")],
    out: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    version: Annotated[str, typer.Option(help="The bundle's version.")],
    created: Annotated[str, typer.Option(help="Date of the bundle, YYYY-MM-DD.")],
    settings: SettingsFile = DEFAULT,
) -> None:
    """Calibrate on validation samples, choose thresholds, write the bundle."""
    from inference.training.bundling import make_bundle

    manifest = make_bundle(read_settings(settings), localiser, classifier, validation, out, version, created)
    typer.echo(f"{out}: version {version}, thresholds {manifest['thresholds']}")


app.add_typer(evaluation_app, name="evaluate")
