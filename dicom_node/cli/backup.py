"""`cspine-node backup` and `restore`: everything the node must not lose, in one file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, note, say
from dicom_node.core.errors import ConfigurationError

if TYPE_CHECKING:
    from config.settings import Settings

INCOMPLETE = 1


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command()(backup)
    app.command()(restore)


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new file, or a folder to put one into.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy database, images, results and configuration into one archive, while the node runs or not."""
    loaded = load(config)
    from storage.backup import back_up

    if target.is_dir():
        target = target / f"cspine-node-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    report = back_up(
        _sqlite_file(loaded.settings), loaded.settings.node.data_dir, target.absolute(), configuration=loaded.path
    )
    if as_json:
        answer_json(report)
    else:
        say(f"{report.archive}: {report.files} files, {report.size_bytes} bytes")
    for name in report.missing:
        note(f"missing: {name}; a row names it and it is not there: see `cspine-node doctor`")
    if report.missing:
        raise typer.Exit(INCOMPLETE)


def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` has written.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Unpack a backup into the configured, empty data folder; every file is compared with its digest first."""
    settings = load(config).settings
    from storage import restore as archives

    _sqlite_file(settings)
    report = archives.restore(archive, settings.node.data_dir)
    if as_json:
        answer_json(report)
    else:
        say(f"{report.data_dir}: {report.files} files as of {report.created_at}")
    for name in report.missing:
        note(f"missing: {name}; it was missing when the backup was made")


def _sqlite_file(settings: Settings) -> Path:
    from storage.database import SQLITE_FILE, sqlite_path

    path = sqlite_path(settings.database.url, data_dir=settings.node.data_dir)
    if path is None or path != (settings.node.data_dir / SQLITE_FILE).resolve():
        raise ConfigurationError(
            f"database.url names a database outside of data_dir: back it up with its own tools (pg_dump) first, then"
            f" copy {settings.node.data_dir} with the node stopped, or after it while it runs",
            key="database.url",
        )
    return path
