"""`cspine-node train EXPERIMENT` and `cspine-node predict`."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from inference.experiments.errors import ExperimentError
from inference.experiments.settings import Experiment, experiment_names, read_experiment

Data = Annotated[Path, typer.Option("--data", metavar="CACHE", help="A folder of `cspine-node prepare`.")]


def register(app: typer.Typer) -> None:
    """Adds one command for each experiment's file."""
    for name in experiment_names():
        experiment = read_experiment(name)
        app.command(name, help=f"{experiment.summary} ({experiment.origin}).")(_command(name))


def _command(name: str) -> Callable[..., None]:
    def train(
        data: Data,
        out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder; one in it is continued.")],
        validation: Annotated[
            Path | None, typer.Option(metavar="CACHE", help="Studies to validate on. Else one fold of --data.")
        ] = None,
        fold: Annotated[int, typer.Option(min=0, help="The fold that is validated on without --validation.")] = 0,
        tiny: Annotated[bool, typer.Option("--tiny", help="So small that it trains in seconds: a trial run.")] = False,
        short: Annotated[
            bool,
            typer.Option("--short", help="So that two cores train it in a quarter of an hour."),
        ] = False,
        steps: Annotated[int | None, typer.Option(min=1, help="Instead of the file's number of steps.")] = None,
        batch: Annotated[int | None, typer.Option(min=1, help="Instead of the file's studies a step.")] = None,
        seed: Annotated[int | None, typer.Option(min=0, help="Instead of the file's seed.")] = None,
        learning_rate: Annotated[
            float | None, typer.Option(min=1e-7, max=1.0, help="Instead of the file's learning rate.")
        ] = None,
        start_from: Annotated[
            str | None,
            typer.Option(metavar="RUN_OR_BUNDLE", help="Start from its weights: a run, a bundle, or a shipped one."),
        ] = None,
        device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
        cache_mib: Annotated[
            int | None, typer.Option(min=1, help="Studies held in memory (a GPU's own), instead of the file's number.")
        ] = None,
        members: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Where an ensemble's members are or come to be.")
        ] = None,
        settings: Annotated[Path | None, typer.Option(help="A TOML file instead of the experiment's own.")] = None,
        version: Annotated[str, typer.Option(help="Of the bundle.")] = "0.1.0",
        threads: Annotated[int | None, typer.Option(min=1, help="Threads for torch.")] = None,
    ) -> None:
        from inference.pipeline import overall_device
        from inference.training.ranks import joined

        if threads is not None:
            torch.set_num_threads(threads)

        numbers = {"steps": steps, "batch": batch, "seed": seed, "cache_mib": cache_mib, "learning_rate": learning_rate}

        def chosen(which: str | Path) -> Experiment:
            return read_experiment(which, tiny=tiny, short=short).with_training(**numbers)

        with one_line(), joined(overall_device(device)) as (ranks, place), progress(ranks.first) as tell:
            from inference.experiments import starting
            from inference.experiments.ensemble import train_ensemble
            from inference.experiments.running import Run, train_experiment

            if members is not None and not chosen(settings or name).is_ensemble:
                raise typer.BadParameter(f"{name} has no members: only an ensemble has", param_hint="--members")
            experiment = chosen(settings or name)
            if start_from is not None and experiment.is_ensemble:
                raise typer.BadParameter(
                    f"{name} has no weights of its own: start its members, then name their folder with --members",
                    param_hint="--start-from",
                )
            run = Run(
                experiment=experiment,
                start=None if start_from is None else starting.start_from(start_from, experiment),
                folder=out,
                data=data,
                validation=validation,
                fold=fold,
                version=version,
                created=datetime.date.today().isoformat(),
                device=place,
                ranks=ranks,
                tell=tell,
            )
            if run.experiment.is_ensemble:
                each = [chosen(member) for member in run.experiment.members]
                manifest = train_ensemble(run, each, members or out / "members")
            else:
                manifest = train_experiment(run)
        if manifest is not None:
            metrics = manifest["metrics"]
            typer.echo(
                f"{run.bundle}: version {version}; on {metrics['studies']} validation studies competition loss "
                f"{metrics['loss']}, AUC overall {metrics['overall_auc']}, levels {metrics['level_auc']}"
            )

    return train


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run's folder or a bundle's.")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="PRED.csv", help="The table of probabilities.")],
    slices: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write which vertebrae each slice shows.")
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Only this fold of --data.")] = None,
    rescan: Annotated[
        str, typer.Option(metavar="NAME", help="See each study as another scanner would show it; docs/EXPERIMENTS.md.")
    ] = "as-is",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for torch.")] = None,
) -> None:
    """Calibrated probabilities of a trained experiment for every prepared study."""
    if threads is not None:
        torch.set_num_threads(threads)
    with one_line(), progress(shown=True) as tell:
        from inference.dataset.prepared import PreparedFolder
        from inference.evaluation.predictions import write_predictions
        from inference.experiments.bundle import load_experiment_bundle
        from inference.experiments.predicting import predict_tables, workers_for
        from inference.experiments.rescan import by_turns
        from inference.experiments.studies import StudyStore
        from inference.pipeline import overall_device

        place = overall_device(device)
        loaded = load_experiment_bundle(bundle, place)
        folder = PreparedFolder(data)
        uids = [uid for uid in folder.uids if fold is None or folder.folds.get(uid) == fold]
        if not uids:
            raise typer.BadParameter(f"{data} has no study of fold {fold}", param_hint="--fold")
        found = predict_tables(
            loaded,
            StudyStore(folder, 500, see=by_turns([rescan], uids)),
            uids,
            slices,
            lambda done: tell(loaded.name, done, len(uids), "predicted"),
            workers_for(place),
        )
        write_predictions(out, found)
    typer.echo(f"{out}: {len(found)} studies by {loaded.name} {loaded.version} ({loaded.sha256[:12]})")


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """What the user can do something about becomes a usage error of one line."""
    from inference.bundle_files import BundleError
    from inference.dataset.prepared import PreparedFileUnusable
    from inference.evaluation.predictions import PredictionsError

    try:
        yield
    except (ExperimentError, BundleError, PreparedFileUnusable, PredictionsError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None


@contextlib.contextmanager
def progress(shown: bool) -> Iterator[Callable[[str, int, int, str], None]]:
    """A bar for each experiment on standard error; nothing where `shown` is False."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True), disable=not shown) as bar:

        def tell(name: str, done: int, of: int, text: str) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=of, text=text)
            bar.update(tasks[name], completed=done, text=text)

        yield tell
