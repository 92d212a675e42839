"""Data for the models: `prepare`, `metadata`, `export-images`. Nothing of it is needed to run a node."""

from __future__ import annotations

import typer

# Their options and help are the inference side's: everything after the word goes there.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command(context_settings=_PASS_ON)(prepare)
    app.command(context_settings=_PASS_ON)(metadata)
    app.command("export-images", context_settings=_PASS_ON)(export_images)


def prepare(context: typer.Context) -> None:
    """Crop and compress studies, or phantoms, into a cache for training (`prepare --help`)."""
    _dataset("prepare", context.args)


def metadata(context: typer.Context) -> None:
    """Tables of the slices of a data set, as CSV and Parquet (`metadata --help`)."""
    _dataset("metadata", context.args)


def export_images(context: typer.Context) -> None:
    """Series as folders of PNG or JPEG, with boxes and levels on request (`export-images --help`)."""
    _dataset("export-images", context.args)


def _dataset(command: str, arguments: list[str]) -> None:
    from inference.dataset.cli import app

    app([command, *arguments], prog_name="cspine-node", standalone_mode=False)
