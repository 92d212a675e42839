"""`cspine-node evaluate records`, `drift-reference` and `drift`: what was validated on, and what a node sees now."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inference.evaluation.drift import Finding, Reference, Verdict


def register(app: typer.Typer) -> None:
    """Adds `records`, `drift` and `drift-reference`."""
    app.command()(records)
    app.command()(drift)
    app.command(name="drift-reference")(drift_reference)


def records(
    predictions: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Predictions of prepared studies.")],
    data: Annotated[Path, typer.Option(help="The folder of the prepared studies.")],
    out: Annotated[Path, typer.Option(help="The records, a new CSV file.")],
    bundle: Annotated[str, typer.Option(help="What predicted: a bundle's name and version.")],
) -> None:
    """A drift record of each predicted study: its scores and what its voxels are like."""
    from inference.dataset.prepared import PreparedFileUnusable, PreparedFolder
    from inference.evaluation.drift_prepared import records_of_prepared
    from inference.evaluation.drift_record import append_record
    from inference.evaluation.predictions import PredictionsError, read_predictions

    if out.exists():
        raise typer.BadParameter(f"{out} exists; name a new file", param_hint="--out")
    partial, now = out.with_name(f".{out.name}.partial"), datetime.now(UTC)
    try:
        said = read_predictions(predictions)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        for record in records_of_prepared(PreparedFolder(data), said, analysed_at=now, bundle=bundle):
            append_record(partial, record)
    except (PredictionsError, PreparedFileUnusable, FileNotFoundError) as error:
        partial.unlink(missing_ok=True)
        raise typer.BadParameter(str(error)) from None
    os.replace(partial, out)
    typer.echo(f"{out}: {len(said)} records")


def drift_reference(
    source: Annotated[Path, typer.Argument(metavar="RECORDS.csv", help="The records of the validation studies.")],
    out: Annotated[Path | None, typer.Option(help="The reference, a JSON file.")] = None,
    bundle: Annotated[str | None, typer.Option(help="The bundle that is to hold it, instead of --out.")] = None,
    made_from: Annotated[
        str | None, typer.Option(help="Which studies these are, in words. Else the file's name.")
    ] = None,
) -> None:
    """Distributions of scores and inputs from validation records, without any single study in them."""
    from inference.bundle import keep_reference
    from inference.bundle_files import BundleError
    from inference.evaluation.drift import DriftReferenceError, make_reference
    from inference.evaluation.drift_record import read_records
    from inference.evaluation.predictions import PredictionsError

    if (out is None) == (bundle is None):
        raise typer.BadParameter("name either a file or a bundle", param_hint="--out, --bundle")
    try:
        reference = make_reference(read_records(source), made_from=made_from or source.name)
        text = json.dumps(reference.to_json()) + "\n"
        if bundle is not None:
            out = keep_reference(bundle, text)
    except (PredictionsError, DriftReferenceError, BundleError) as error:
        raise typer.BadParameter(str(error)) from None
    if bundle is None:
        assert out is not None  # one of the two is given
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    typer.echo(f"{out}: {len(reference.quantities)} quantities of {reference.studies} studies")


def drift(
    reference: Annotated[
        str,
        typer.Argument(metavar="REFERENCE", help="A reference file, or a bundle that holds one."),
    ],
    observed: Annotated[Path, typer.Argument(metavar="OBSERVED.csv", help="The records of the node's studies.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only studies analysed on this day (UTC) or later.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with JSON.")] = False,
) -> None:
    """Is what the node sees now what its bundle was validated on? A verdict per quantity, and one in all."""
    from inference.evaluation.drift import DriftReferenceError, compare, overall, read_reference
    from inference.evaluation.drift_record import read_records
    from inference.evaluation.predictions import PredictionsError

    try:
        known = read_reference(_reference_file(reference).read_text(encoding="utf-8"))
        seen = read_records(observed)
        seen = seen if since is None else [r for r in seen if _analysed_at(r, observed) >= since]
    except (PredictionsError, DriftReferenceError) as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from None
    findings = compare(known, seen)
    verdict = overall(findings)
    if as_json:
        typer.echo(json.dumps(_data(known, findings, verdict, len(seen)), indent=2))
    else:
        typer.echo(_text(known, findings, verdict, len(seen)))


def _reference_file(given: str) -> Path:
    from inference.bundle import REFERENCE, bundle_folder
    from inference.bundle_files import BundleError

    if Path(given).is_file():
        return Path(given)
    try:
        return bundle_folder(given) / REFERENCE
    except BundleError:
        return Path(given)


def _analysed_at(record: dict[str, Any], path: Path) -> datetime:
    """The moment of a record in UTC, naive as the option's; BadParameter where it has none."""
    try:
        moment = datetime.fromisoformat(str(record["analysed_at"]))
    except ValueError:
        raise typer.BadParameter(
            f"{path}: analysed_at of study {record['study']} is {record['analysed_at']!r}, so --since cannot be applied"
        ) from None
    return moment.astimezone(UTC).replace(tzinfo=None)


def _data(known: Reference, findings: Sequence[Finding], verdict: Verdict, studies: int) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "reference": {"made_from": known.made_from, "studies": known.studies},
        "observed_studies": studies,
        "quantities": [asdict(finding) for finding in findings],
        "limits": _limits(),
    }


def _text(known: Reference, findings: Sequence[Finding], verdict: Verdict, studies: int) -> str:
    heads = ("quantity", "verdict", "n then", "n now", "median then", "now", "PSI", "over chance", "KS", "p", "missing")
    rows = [
        (
            f.quantity, f.verdict, f.reference_known, f.observed_known, _short(f.reference_median),
            _short(f.observed_median), _short(f.psi), _short(f.psi_excess), _short(f.ks), _short(f.ks_p),
            f"{f.reference_missing:.0%} -> {f.observed_missing:.0%}",
        )
        for f in findings
    ]  # fmt: skip
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    limits = _limits()
    return "\n".join(
        [
            f"{verdict}: {studies} studies beside {known.studies} ({known.made_from})",
            "",
            *lines,
            "",
            f"watch: PSI over chance at least {limits['watch_psi']} and p under {limits['watch_p']}; drifted: at least "
            f"{limits['drifted_psi']} and under {limits['drifted_p']}; p times the number of quantities. Missing: "
            f"{limits['watch_missing']:.0%} and {limits['drifted_missing']:.0%} apart. Under {limits['fewest']} "
            "studies nothing is said.",
        ]
    )


def _limits() -> dict[str, float]:
    from inference.evaluation import drift as d

    return {
        "fewest": d.FEWEST, "watch_psi": d.WATCH_PSI, "drifted_psi": d.DRIFTED_PSI, "watch_p": d.WATCH_P,
        "drifted_p": d.DRIFTED_P, "watch_missing": d.WATCH_MISSING, "drifted_missing": d.DRIFTED_MISSING,
    }  # fmt: skip


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
