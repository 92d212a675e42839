"""`python -m inference.training`: samples, the trainings, the bundle, its evaluation.

`cspine-node train` mounts the same commands.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from inference.bundle import bundle_folder
from inference.evaluation.cli import app as evaluation_app
from inference.experiments.cli import predict
from inference.experiments.cli import register as register_experiments
from inference.training.run import PHANTOMS, SHAPE_PHANTOMS
from inference.training.settings import DEFAULT, read_settings

app = typer.Typer(no_args_is_help=True, help="Train the localiser or a fracture experiment, and make a bundle.")

SettingsFile = Annotated[Path, typer.Option("--settings", help="The experiment's TOML file.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads for torch.")]


@app.command()
def samples(
    kind: Annotated[str, typer.Argument(help="localiser or shape")],
    out: Annotated[Path, typer.Argument(help="Folder for the .npz files; seeds that are there are skipped.")],
    count: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 400,
    skip: Annotated[int, typer.Option(min=0, help="Leave out this many seeds at the start.")] = 0,
    stride: Annotated[int, typer.Option(min=1, help="Take each n-th seed: n processes share the work.")] = 1,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Render phantoms and keep what one network trains on."""
    from inference.training.phantoms import write_samples

    torch.set_num_threads(1)
    first = read_settings(settings).seeds.train_first
    for path, seconds in write_samples(kind, range(first + skip, first + count, stride), out):
        typer.echo(f"{path.name} {seconds:.1f} s")


@app.command()
def localiser(
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder; a run in it is continued.")],
    phantoms: Annotated[int, typer.Option(min=1, help="How many phantoms to train on.")] = PHANTOMS,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the settings' number of steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the training; the phantoms' are in the settings.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the samples are or come to be. Else RUN/samples.")
    ] = None,
    shape_phantoms: Annotated[
        int, typer.Option(min=1, help="How many phantoms to draw vertebrae on.")
    ] = SHAPE_PHANTOMS,
    shape_samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The same for drawing. Else RUN/shape-samples.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="A fresh run starts from this training's averaged weights.")
    ] = None,
    bundle: Annotated[str, typer.Option(help="The bundle or run whose fracture models the new one has.")] = "default",
    version: Annotated[str | None, typer.Option(help="Of the new bundle. Else the old one's, marked.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 2,
    threads: Threads = 2,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Train the networks that name and draw the vertebrae, from nothing to the bundle in RUN/bundle.

    Renders the phantoms that are missing, trains what is left to train, writes the bundle. Killed at any moment, the
    same command goes on where it was.
    """
    from inference.bundle_files import BundleError
    from inference.training.run import LocaliserRun, RunMismatch, train_to_bundle

    torch.set_num_threads(threads)
    chosen = read_settings(settings).with_steps(steps)
    if seed is not None:
        chosen = replace(chosen, seeds=replace(chosen.seeds, torch=seed))
    run = LocaliserRun(
        folder=out,
        samples=samples or out / "samples",
        settings=chosen,
        phantoms=phantoms,
        shape_samples=shape_samples or out / "shape-samples",
        shape_phantoms=shape_phantoms,
        base=bundle,
        version=version,
        created=datetime.date.today().isoformat(),
        device=device,
        workers=workers,
        start=start,
    )
    try:
        manifest = train_to_bundle(run, lambda done, wanted: typer.echo(f"samples {done} of {wanted}", err=True))
    except (BundleError, RunMismatch) as error:
        raise typer.BadParameter(str(error)) from None
    record = manifest["training"]["localiser"]
    typer.echo(f"{run.bundle}: version {manifest['version']}, {record['steps']} steps on {record['phantoms']} phantoms")


@app.command()
def shipped(
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder; a run in it is continued.")],
    version: Annotated[str, typer.Option(help="Of the new bundle.")],
    localiser: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="Take this bundle's localiser instead of training one.")
    ] = None,
    studies: Annotated[
        int | None, typer.Option(min=1, help="How many of the train split's phantoms. Else all.")
    ] = None,
    validation: Annotated[int | None, typer.Option(min=1, help="Phantoms of the validation split. Else all.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each fracture model, instead of its file's.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="So small that it takes minutes: a trial run.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 2,
) -> None:
    """Train the shipped bundle again from its seeds: localiser, studies, fracture models, calibration.

    Killed at any moment, the same command goes on where it was.
    """
    from inference.experiments.cli import one_line, progress
    from inference.experiments.settings import read_experiment
    from inference.pipeline import overall_device
    from inference.training.run import default_run
    from inference.training.shipped import ShippedRun, train_shipped

    experiment = read_experiment("default", tiny=tiny)
    today = datetime.date.today().isoformat()
    with one_line(), progress(shown=True) as tell:
        run = ShippedRun(
            folder=out,
            localiser=default_run(out / "localiser", created=today, device=device, workers=workers, tiny=tiny)
            if localiser is None
            else bundle_folder(localiser),
            experiment=experiment,
            members=[read_experiment(name, tiny=tiny).with_training(steps=steps) for name in experiment.members],
            version=version,
            created=today,
            device=overall_device(device),
            workers=workers,
            studies=studies or (4 if tiny else None),
            validation=validation or (4 if tiny else None),
            small=(90, 160) if tiny else None,
            tell=lambda part, done, of: tell(part, done, of, ""),
        )
        train_shipped(run)
    typer.echo(f"{run.bundle}: version {version}")


register_experiments(app)
app.command()(predict)
app.add_typer(evaluation_app, name="evaluate")
