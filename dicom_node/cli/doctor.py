"""`cspine-node doctor`: do files, rows and deliveries agree, and what can be put right?"""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, say

RED = 1


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    app.command()(doctor)


def doctor(
    config: ConfigFile = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare its digest.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is safe; the node must not run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare files, rows and deliveries: what is missing, damaged or known to no row. Alone it changes nothing."""
    settings = load(config).settings
    from dicom_node.bootstrap.doctor import diagnose

    found = diagnose(settings, deep=deep, repair=repair)
    if as_json:
        answer_json(found)
    else:
        say(f"{found.studies} studies, {found.instances} instances, schema {found.schema}")
        for complaint in found.complaints:
            say(f"{complaint.what}: {complaint.file}: {complaint.detail}")
            say(f"  means: {complaint.means}")
            say(f"  done: {complaint.done}" if complaint.done else f"  remedy: {complaint.remedy}")
        if not found.complaints:
            say("files and rows agree")
    if not found.is_well:
        raise typer.Exit(RED)
