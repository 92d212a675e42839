"""`cspine-node evaluate`: a bundle's whole pipeline, or its localiser, on held-out phantoms and the real series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from inference.evaluation import drift_cli, predictions_cli
from inference.training.settings import DEFAULT, read_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Measure bundles on held-out phantoms and a marked real series, files of predictions beside the truth, drift.",
)
predictions_cli.register(app)
drift_cli.register(app)

SettingsFile = Annotated[Path, typer.Option("--settings", help="The experiment's TOML file.")]
Record = Annotated[bool, typer.Option("--record", help="Write the numbers into the bundle's manifest.")]


@app.command()
def pipeline(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder or the name of a shipped one.")] = "default",
    count: Annotated[int, typer.Option(min=1, help="How many held-out phantoms.")] = 40,
    out: Annotated[
        Path | None, typer.Option(help="A JSON file for the numbers, one row per phantom beside it.")
    ] = None,
    record: Record = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads for torch.")] = 2,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Run held-out phantoms through the whole pipeline and print the metrics with their intervals."""
    from inference.evaluation.study import evaluate_bundle

    first = read_settings(settings).seeds.evaluate_first
    text = evaluate_bundle(bundle, range(first, first + count), out, record=record, threads=threads)
    typer.echo(text)


@app.command()
def localiser(
    bundle: Annotated[str, typer.Option(help="A bundle's folder or the name of a shipped one.")] = "default",
    phantoms: Annotated[int, typer.Option(min=0, help="Held-out phantoms with a cervical spine.")] = 300,
    without: Annotated[int, typer.Option(min=0, help="Held-out phantoms without one.")] = 100,
    first_seed: Annotated[int | None, typer.Option(help="Instead of the settings' first held-out seed.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the studies.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda, for the network.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--json", help="A file for the numbers.")] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Finished studies are kept here and a second call goes on. Default: beside --json."),
    ] = None,
    real: Annotated[
        Path | None, typer.Option(help="The folder of the FullHead series: its marks and variants are measured too.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="A PNG of the answer on the --real series.")] = None,
    record: Record = False,
    settings: SettingsFile = DEFAULT,
) -> None:
    """Names, places, masks and statuses of C1 to C7 beside the truth, with intervals and the targets."""
    if picture is not None and real is None:
        raise typer.BadParameter(
            "shows the answer on the real series: give its folder with --real", param_hint="--picture"
        )
    if phantoms == without == 0 and real is None:
        raise typer.BadParameter("nothing to measure: ask for phantoms or name a --real folder")
    first = read_settings(settings).seeds.evaluate_first if first_seed is None else first_seed
    kept = work or (out.with_suffix(".rows.jsonl") if out is not None else None)
    metrics: dict[str, Any] = {}
    if phantoms + without:
        metrics |= _on_phantoms(bundle, first, phantoms, without, workers, device, kept)
    if real is not None:
        metrics["real"] = _on_real(bundle, real, device, picture)
    _keep(metrics, out, bundle if record else None)


@app.command()
def sound(
    series: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of one series known to have no fracture.")],
    bundle: Annotated[str, typer.Option(help="A bundle's folder or the name of a shipped one.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option("--json", help="A file for the numbers.")] = None,
    record: Record = False,
) -> None:
    """False alarms on a sound series: as it is, mirrored, turned by 5 degrees each way, with added noise."""
    from inference.bundle import load_bundle
    from inference.errors import ReadingError
    from inference.evaluation.real_series import read_volume
    from inference.evaluation.sound_series import evaluate_sound, sound_text
    from inference.pipeline import Pipeline, overall_device

    try:
        volume = read_volume(series)
    except (ReadingError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    place = overall_device(device)
    rows = list(evaluate_sound(volume, Pipeline(load_bundle(bundle, place), place)))
    typer.echo(sound_text(rows))
    _keep({"sound_series": rows}, out, None)
    if record:
        from inference.evaluation.recording import record_metrics

        record_metrics(bundle, "sound_series", {"rows": rows})


def _on_phantoms(
    bundle: str, first: int, phantoms: int, without: int, workers: int, device: str, work: Path | None
) -> dict[str, Any]:
    from inference.evaluation.localiser_run import evaluate_localiser
    from inference.evaluation.localiser_text import phantoms_text
    from inference.evaluation.resumable import OtherRun

    columns = (TextColumn("phantoms"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("phantoms", total=phantoms + without)
        try:
            metrics = evaluate_localiser(
                bundle,
                first_seed=first,
                phantoms=phantoms,
                without=without,
                workers=workers,
                work=work,
                on_row=lambda _: bar.advance(task),
                device=device,
            )
        except OtherRun as error:
            raise typer.BadParameter(str(error), param_hint="--work") from None
    typer.echo(phantoms_text(metrics))
    return metrics


def _on_real(bundle: str, folder: Path, device: str, picture: Path | None) -> dict[str, Any]:
    from inference.errors import ReadingError
    from inference.evaluation.localiser_run import bundle_localiser
    from inference.evaluation.localiser_text import real_text
    from inference.evaluation.marks import read_marks
    from inference.evaluation.picture import write_picture
    from inference.evaluation.real_series import evaluate_real, read_volume, summary

    try:
        volume = read_volume(folder)
    except (ReadingError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--real") from None
    marks, found = read_marks(), bundle_localiser(bundle, device, torch.get_num_threads())
    rows = list(evaluate_real(volume, marks, found))
    metrics = summary(rows, marks)
    typer.echo("\n" + real_text(metrics))
    if picture is not None:
        spine = found.locate(volume)
        write_picture(picture, volume, marks, spine)
        typer.echo(f"\n{picture} written")
    return metrics


def _keep(metrics: dict[str, Any], out: Path | None, record_in: str | None) -> None:
    from inference.evaluation.recording import record_metrics

    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    if record_in is not None:
        phantoms = {key: value for key, value in metrics.items() if key != "real"}
        for key, numbers in (("localiser", phantoms), ("localiser_on_real_series", metrics.get("real"))):
            if numbers:
                record_metrics(record_in, key, numbers)
