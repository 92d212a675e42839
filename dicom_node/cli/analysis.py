"""`cspine-node demo`, `analyse`, `phantom`: the main job without a network, and something to try it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import Progress, answer_json, program, progress_line, say, table
from dicom_node.core.errors import ConfigurationError

if TYPE_CHECKING:
    from dicom_node.demo.run import DemoResult

NOT_APPLICABLE = 3

Device = Literal["auto", "cpu", "cuda"]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command()(demo)
    app.command()(analyse)
    app.command()(phantom)


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="Folder for the study and the results.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int | None, typer.Option(help="Another seed, another neck.")] = None,
    as_json: AsJson = False,
) -> None:
    """The whole chain once: phantom CT, node, stand-in PACS, results beside the truth."""
    from dicom_node.demo.run import SEED, run_demo

    outcome = run_demo(
        out,
        seed=SEED if seed is None else seed,
        tell=(lambda _step: None) if as_json else (lambda step: say(f"- {step}")),
    )
    if as_json:
        answer_json(outcome)
    else:
        _show_demo(outcome)


def analyse(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A folder of DICOM files, nested or not."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="Folder for the results, one folder a study.")],
    config: ConfigFile = None,
    device: Annotated[Device | None, typer.Option(help="Where the model runs; else as configured.")] = None,
    as_json: AsJson = False,
) -> None:
    """The main job without a network: SR, SEG, pictures and result.json of each study in a folder.

    Exit status 0 where a study was analysed, 3 where none was applicable, 1 where one failed.
    """
    settings = load(config, {"inference.device": device}).settings
    from dicom_node import bootstrap

    with progress_line() as progress:
        results = bootstrap.analyse_folder(folder, out, settings, settings.inference.device, progress)
    if as_json:
        answer_json(results)
    else:
        for result in results:
            _show(result)
        say(f"{len(results)} studies; results in {out}" if results else f"no DICOM study in {folder}")
    raise typer.Exit(_status(results))


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for dicom/, truth.json and labels.nii.gz.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same neck.")] = 1,
    fracture: Annotated[
        list[str] | None, typer.Option(metavar="LEVEL:KIND", help="As C2:odontoid-2; may be repeated. Else drawn.")
    ] = None,
    decoy: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="What looks like a fracture; may be repeated. Else drawn.")
    ] = None,
    healthy: Annotated[bool, typer.Option("--healthy", help="No fracture at all.")] = False,
    slices: Annotated[int | None, typer.Option(min=2, help="Number of slices.")] = None,
    spacing: Annotated[float | None, typer.Option(min=0.1, max=10, help="Distance between slices, mm.")] = None,
    thickness: Annotated[
        float | None, typer.Option(min=0.1, max=10, help="What a slice averages over, mm. Else as the spacing.")
    ] = None,
    kernel: Annotated[str | None, typer.Option(help="bone or soft. Else drawn.")] = None,
    syntax: Annotated[str | None, typer.Option(metavar="NAME", help="Transfer syntax, as jpeg-ls-lossless.")] = None,
    tilt: Annotated[float | None, typer.Option(min=-30, max=30, metavar="DEG", help="Gantry tilt, degrees.")] = None,
    coverage: Annotated[
        str | None, typer.Option(help="cspine, neck, head, wholebody, chest or abdomen. Else cspine.")
    ] = None,
    matrix: Annotated[int | None, typer.Option(min=64, max=1024, help="Rows and columns.")] = None,
    header_style: Annotated[str | None, typer.Option(help="scanner, rsna or minimal. Else scanner.")] = None,
    order: Annotated[str | None, typer.Option(help="head-first or feet-first: image 1's end. Else drawn.")] = None,
    missing_slices: Annotated[int | None, typer.Option(min=0, help="Leave out so many slices.")] = None,
    duplicate_slices: Annotated[int | None, typer.Option(min=0, help="Write so many slices twice.")] = None,
    layout: Annotated[str, typer.Option(help="study, or rsna: many studies as the RSNA 2022 training set.")] = "study",
    studies: Annotated[int | None, typer.Option(min=1, help="With --layout rsna: how many, from SEED on.")] = None,
    segmented: Annotated[
        float | None, typer.Option(min=0, max=1, help="With --layout rsna: share of studies with a segmentation.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A synthetic CT study with its truth; or, with --layout rsna, a training set of them that can be resumed."""
    wishes: dict[str, Any] = {
        "fractures": () if healthy else tuple(fracture) if fracture else None,
        "decoys": tuple(decoy) if decoy else None,
        "slices": slices,
        "spacing_mm": spacing,
        "thickness_mm": thickness,
        "kernel": kernel,
        "syntax": syntax,
        "tilt_deg": tilt,
        "coverage": coverage,
        "matrix": matrix,
        "header_style": header_style,
        "order": order,
        "missing_slices": missing_slices,
        "duplicate_slices": duplicate_slices,
        "studies": studies,
        "segmented_share": segmented,
    }
    given = {key: value for key, value in wishes.items() if value is not None}
    try:
        write = _writer_of(layout, given)
        with progress_line() as progress:
            truth = write(out, seed, given, progress)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if as_json:
        answer_json(truth)
    elif layout == "rsna":
        say(f"{out}: {truth['studies']} studies, {truth['fractured']} with fractures, {truth['boxes']} boxes")
    else:
        say(f"{out}: {truth.get('slices', 'a study of')} slices, truth in {out / 'truth.json'}")


_RSNA_OPTIONS = frozenset({"slices", "matrix", "studies", "segmented_share"})
_RSNA_ONLY = frozenset({"studies", "segmented_share"})

PhantomWriter = Callable[[Path, int, dict[str, Any], Progress], dict[str, Any]]


def _writer_of(layout: str, given: dict[str, Any]) -> PhantomWriter:
    """What writes a layout. Raises ValueError for a layout that there is not, and for options that are not its."""
    if layout not in ("study", "rsna"):
        raise ValueError(f"layout {layout!r} is not one of study, rsna")
    wrong = sorted(set(given) - _RSNA_OPTIONS if layout == "rsna" else set(given) & _RSNA_ONLY)
    if wrong:
        raise ValueError(f"--layout {layout} does not go with {', '.join(wrong)}")
    return _write_rsna if layout == "rsna" else _write_study


def _write_study(out: Path, seed: int, given: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from dicom_node.demo.phantom_study import phantom_to_folder

    return phantom_to_folder(out, seed=seed, progress=progress, **given)


def _write_rsna(out: Path, seed: int, given: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from dicom_node.demo.rsna_dataset import write_rsna_dataset

    return write_rsna_dataset(out, first_seed=seed, progress=progress, **given)


def _show_demo(outcome: DemoResult) -> None:
    truth = {entry["level"]: entry for entry in outcome.truth["levels"]}
    say()
    rows = [
        (
            level["level"],
            _true_words(truth[level["level"]]),
            level["status"].replace("_", " "),
            "" if level["probability"] is None else f"{level['probability']:.2f}",
            "FRACTURE" if level["fracture"] else "no fracture" if level["fracture"] is False else "",
        )
        for level in outcome.result["levels"]
    ]
    table(("level", "truth", "status", "probability", "finding"), rows, empty="no levels")
    overall = outcome.result["patient_overall"]
    say(f"any fracture: {overall['probability']:.2f} (threshold {overall['threshold']:.2f})")
    say(f"from the last image to the stored result: {outcome.seconds_to_result:.1f} s")
    for name, path in (*((kind.value, path) for kind, path in outcome.objects), ("report", outcome.report)):
        say(f"{name:16}{path}")
    say(f"pictures {', '.join(str(picture) for picture in outcome.pictures)}")
    say(f"to see it on the pages: {program()} serve --config {outcome.configuration}")
    say(f"  prints where they are; log in as {outcome.account} with the password {outcome.password}")
    say("to send it to a PACS of your own: on the page Peers remove pacs, the stand-in, which is gone, and add yours")
    say("  with Receives results; then open the study and choose: Analyse it again")
    say("The weights are trained on synthetic CT only: these findings say nothing about patients.")


def _true_words(entry: dict[str, Any]) -> str:
    if not entry["fractured"]:
        return "no fracture"
    return "fracture: " + ", ".join(fracture["kind"] for fracture in entry["fractures"])


def _status(results: list[dict[str, Any]]) -> int:
    outcomes = {result["outcome"] for result in results}
    if "failed" in outcomes:
        return 1
    return 0 if "analysed" in outcomes else NOT_APPLICABLE


def _show(result: dict[str, Any]) -> None:
    say(f"study {result['study_instance_uid']}: {result['outcome']}")
    if result.get("reason"):
        say(f"  {result['reason']}")
    if result["outcome"] != "analysed":
        return
    overall = result["patient_overall"]
    say(f"  any fracture: {overall['probability']:.2f} ({'FRACTURE' if overall['fracture'] else 'none'})")
    table(("level", "status", "probability", "threshold", ""), map(_level_row, result["levels"]), empty="no levels")


def _level_row(level: dict[str, Any]) -> tuple[object, ...]:
    probability = level.get("probability")
    return (
        level["level"],
        level["status"].replace("_", " "),
        "" if probability is None else f"{probability:.2f}",
        f"{level['threshold']:.2f}" if level.get("threshold") is not None else "",
        "FRACTURE" if level.get("fracture") else "",
    )
