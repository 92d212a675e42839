"""`cspine-node echo` and `send`: we as SCU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import AsJson, ConfigFile, load
from dicom_node.cli.output import answer_json, progress_line, say

PeerName = Annotated[str, typer.Argument(metavar="PEER", help="The peer's name in our configuration.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command()(echo)
    app.command()(send)


def echo(peer: PeerName, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """C-ECHO to a peer: does it answer, and to our AE title?"""
    settings = load(config).settings
    from dicom_node import bootstrap

    started = time.perf_counter()
    bootstrap.echo_peer(settings, peer)
    elapsed_ms = (time.perf_counter() - started) * 1000
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
        sent = bootstrap.send_path(settings, path, peer, progress)
    if as_json:
        answer_json({"peer": peer, "sent": sent})
    else:
        say(f"{peer} stored {sent} instances")
