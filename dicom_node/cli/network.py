"""`cspine-node echo` and `send`: we as SCU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, note, progress_line, say

if TYPE_CHECKING:
    from dicom_node.dimse.sender import FileAnswer

_SHOWN = 20

PeerName = Annotated[str, typer.Argument(metavar="PEER", help="The peer's name in our configuration.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command()(echo)
    app.command()(send)


def echo(peer: PeerName, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """C-ECHO to a peer: does it answer, and to our AE title?"""
    settings = load(config).settings
    from dicom_node import bootstrap

    elapsed_ms = bootstrap.echo_peer(settings, peer)
    if as_json:
        answer_json({"peer": peer, "answered": True, "elapsed_ms": round(elapsed_ms, 1)})
    else:
        say(f"{peer} answered our C-ECHO in {elapsed_ms:.0f} ms")


def send(
    path: Annotated[Path, typer.Argument(exists=True, help="A DICOM file, or a folder with any number of them.")],
    peer: PeerName,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """C-STORE files or folders to a peer. Non-zero unless every instance was stored."""
    settings = load(config).settings
    from dicom_node import bootstrap

    with progress_line() as progress:
        report = bootstrap.send_path(settings, path, peer, progress)
    if as_json:
        answer_json(
            {
                "peer": peer,
                "stored": report.stored,
                "answers": [_answer(answer) for answer in report.answers],
                "skipped": [str(entry.path) for entry in report.skipped],
            }
        )
    else:
        say(f"{peer} stored {report.stored} of {len(report.answers)} instances; {len(report.skipped)} files skipped")
    if not report.is_complete:
        for answer in [answer for answer in report.answers if not answer.is_stored][:_SHOWN]:
            note(f"{answer.path}: {answer.why or f'status {answer.status:04X}'}")
        raise typer.Exit(1)


def _answer(answer: FileAnswer) -> dict[str, Any]:
    return {
        "file": str(answer.path),
        "sop_instance_uid": answer.sop_instance_uid,
        "stored": answer.is_stored,
        "status": answer.status,
        "why": answer.why,
    }
