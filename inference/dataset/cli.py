"""`cspine-node prepare`, `metadata`, `export-images`: from a data set to what training, tables and eyes need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inference.dataset.cache import Job
    from inference.dataset.rsna import Problem
    from inference.evaluation.resumable import Row

app = typer.Typer(no_args_is_help=True, help="Prepare data for training and look at it.")

Workers = Annotated[int, typer.Option(min=1, help="Processes that share the studies; each holds one at a time.")]
Part = Annotated[str, typer.Option(help="train, or test for the studies without a truth.")]
Bundle = Annotated[str, typer.Option(help="The bundle whose localiser draws the levels.")]


@app.command()
def prepare(
    out: Annotated[Path, typer.Option("--out", metavar="CACHE", help="The cache's folder; what it has is kept.")],
    source: Annotated[
        Path | None, typer.Argument(metavar="SOURCE", help="A folder in the RSNA 2022 layout. Else phantoms.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The phantoms of a fixed split: train, validation or test.")] = None,
    phantoms: Annotated[int | None, typer.Option(min=1, help="So many phantoms, of the split or of the seeds.")] = None,
    first_seed: Annotated[int | None, typer.Option(min=0, help="Of the phantoms, where no split is named.")] = None,
    fractures: Annotated[
        str | None, typer.Option(help="public (as in the labels) or enriched. Else the split's, or public.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="challenge (bone kernel, at most 1 mm) or any. Else the split's, or challenge.")
    ] = None,
    localise: Annotated[
        bool, typer.Option("--localise", help="Levels as the localiser draws them; the truth is kept beside.")
    ] = False,
    draw: Annotated[
        bool, typer.Option("--draw", help="Phantoms: levels that the truth names and the localiser draws; cheaper.")
    ] = False,
    bundle: Bundle = "default",
    part: Part = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many studies of the source.")] = None,
    keep_known_bad: Annotated[
        bool, typer.Option("--keep-known-bad", help="Also the studies that are known to be unusable.")
    ] = False,
    folds: Annotated[int, typer.Option(min=2, help="How many folds folds.csv has.")] = 5,
    workers: Workers = 2,
) -> None:
    """Crop, resample and compress studies into a cache that training reads; killed, the same command goes on."""
    if draw and (localise or source is not None):
        raise typer.BadParameter("is for phantoms, and does not go with --localise", param_hint="--draw")
    with _refusals():
        jobs, problems = _jobs(source, part, limit, keep_known_bad, split, phantoms, first_seed, fractures, protocol)
        typer.echo(_filled(out, jobs, problems, bundle if localise or draw else None, draw, folds, workers))


@app.command()
def metadata(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder in the RSNA 2022 layout.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the tables, CSV and Parquet.")],
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="A slice model's table: StudyInstanceUID, Slice or z_mm, C1-C7 of 0 to 1."),
    ] = None,
    bundle: Bundle = "default",
    no_vertebrae: Annotated[
        bool, typer.Option("--no-vertebrae", help="Leave out the levels that a model sees: no pixels are read.")
    ] = False,
    workers: Workers = 2,
) -> None:
    """Tables of all slices: raw, cleaned, with the levels of the masks, and with the levels that a model sees."""
    if predictions is not None and no_vertebrae:
        raise typer.BadParameter("does not go with --predictions", param_hint="--no-vertebrae")
    with _refusals():
        from inference.dataset.metadata import write_metadata
        from inference.dataset.rsna import open_rsna
        from inference.dataset.slice_predictors import PredictorChoice

        opened = open_rsna(data)
        for problem in opened.problems:
            typer.echo(f"study {problem.study_instance_uid}: {problem.reason}", err=True)
        by_localiser = None if predictions is not None or no_vertebrae else bundle
        choice = PredictorChoice(table=predictions, bundle=by_localiser)
        with _bar("studies", len(opened.studies)) as step:
            counts = write_metadata(opened.studies, out, choice, workers=workers, on_row=step)
    for name, count in counts.items():
        typer.echo(f"{out / name}.csv, .parquet: {count} rows")


@app.command("export-images")
def export_images(
    source: Annotated[
        Path, typer.Argument(metavar="SERIES_OR_DATA", help="A folder of DICOM files, or one in the RSNA 2022 layout.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="One folder a series; those there are kept.")],
    window: Annotated[list[str] | None, typer.Option(help="bone, soft-tissue or brain; may be repeated.")] = None,
    colour: Annotated[list[str] | None, typer.Option(help="grey, bone or inferno; may be repeated.")] = None,
    image_format: Annotated[str, typer.Option("--format", help="png or jpeg.")] = "png",
    boxes: Annotated[bool, typer.Option("--boxes", help="Draw the data set's boxes.")] = False,
    labels: Annotated[
        str | None, typer.Option(help="Draw the levels: of the segmentation, or as the localiser sees them.")
    ] = None,
    bundle: Bundle = "default",
    every: Annotated[int, typer.Option(min=1, help="Only each n-th slice.")] = 1,
    size: Annotated[
        int | None, typer.Option(min=16, max=4096, help="Pixels of the longer side. Else as it is.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Series as folders of pictures, windowed, coloured, with boxes and levels drawn where asked for."""
    with _refusals():
        from inference.dataset.export_images import Exporter, ExportOptions, export, export_cases

        options = ExportOptions(
            windows=tuple(window or ("bone",)),
            colours=tuple(colour or ("grey",)),
            format=image_format,
            boxes=boxes,
            labels=labels,
            bundle=bundle,
            every=every,
            size=size,
        )
        cases, problems = export_cases(source)
        for problem in problems:
            typer.echo(problem, err=True)
        with _bar("series", len(cases)) as step:
            written, failed = export(cases, Exporter(out=out, options=options), workers=workers, on_row=step)
    typer.echo(f"{out}: {written} pictures of {len(cases)} series" + (f", {failed} failed" if failed else ""))
    if failed == len(cases):
        raise typer.Exit(1)


def _jobs(
    source: Path | None,
    part: str,
    limit: int | None,
    keep_known_bad: bool,
    split: str | None,
    phantoms: int | None,
    first_seed: int | None,
    fractures: str | None,
    protocol: str | None,
) -> tuple[list[Job], tuple[Problem, ...]]:
    asked_phantoms = [v for v in (split, phantoms, first_seed, fractures, protocol) if v is not None]
    if (source is None) == (not asked_phantoms):
        raise typer.BadParameter("name a SOURCE folder, or phantoms with --split or --phantoms, and not both")
    if source is None:
        return _phantom_jobs(split, phantoms, first_seed, fractures, protocol), ()
    from inference.dataset.cache import DicomJob
    from inference.dataset.rsna import KNOWN_BAD, open_rsna

    if part not in ("train", "test"):
        raise typer.BadParameter(f"{part!r} is not train or test", param_hint="--part")
    data = open_rsna(source, part, exclude=() if keep_known_bad else KNOWN_BAD)  # type: ignore[arg-type]
    for problem in data.problems:
        typer.echo(f"study {problem.study_instance_uid}: {problem.reason}", err=True)
    return [DicomJob(study=study) for study in data.studies[:limit]], data.problems


def _phantom_jobs(
    split: str | None, phantoms: int | None, first_seed: int | None, fractures: str | None, protocol: str | None
) -> list[Job]:
    from inference.dataset.cache import PhantomJob
    from inference.dataset.splits import PhantomRecipe, read_splits

    recipe, seeds = PhantomRecipe(), range(first_seed or 0, (first_seed or 0) + (phantoms or 0))
    if split is not None:
        known = read_splits()
        if split not in known:
            raise typer.BadParameter(f"{split!r} is not one of {', '.join(known)}", param_hint="--split")
        if first_seed is not None:
            raise typer.BadParameter("a split has its own seeds", param_hint="--first-seed")
        recipe, seeds = known[split].recipe, known[split].seeds[:phantoms]
    elif phantoms is None:
        raise typer.BadParameter("say how many phantoms", param_hint="--phantoms")
    wishes: dict[str, Any] = {"fractures": fractures, "protocol": protocol}
    recipe = replace(recipe, **{name: value for name, value in wishes.items() if value is not None})
    return [PhantomJob(seed=seed, recipe=recipe) for seed in seeds]


def _filled(
    out: Path,
    jobs: list[Job],
    problems: tuple[Problem, ...],
    bundle: str | None,
    draw: bool,
    folds: int,
    workers: int,
) -> str:
    import torch

    from inference.bundle import load_bundle
    from inference.dataset.cache import CacheOptions, Preparer, fill

    drawer = None if bundle is None else load_bundle(bundle).localiser_sha256
    options = CacheOptions(drawn_by=drawer) if draw else CacheOptions(localised_by=drawer)
    threads = max(1, torch.get_num_threads() // workers)
    preparer = Preparer(folder=out, options=options, bundle=bundle, threads=threads)
    with _bar("studies", len(jobs)) as step:
        return str(fill(jobs, preparer, problems=problems, workers=workers, folds=folds, on_row=step))


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[Row], None]]:
    """A progress bar on standard error; yields what to call for each row that is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=total)

        def step(row: Row) -> None:
            shown.advance(task)
            for text in [row["reason"]] if row.get("reason") else row.get("notes", ()):
                shown.console.print(f"{row['key']}: {text}", markup=False, highlight=False)

        yield step


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with the data or the options becomes one line and exit status 2."""
    from concurrent.futures.process import BrokenProcessPool

    from inference.bundle_files import BundleError
    from inference.dataset.errors import DataSetError

    try:
        yield
    except (DataSetError, BundleError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    except BrokenProcessPool:
        message = "a worker was killed (out of memory?): what is done is kept; call again, with fewer --workers"
        raise typer.BadParameter(message) from None
