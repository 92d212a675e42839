"""`cspine-node top`: what the node has before it, live in a terminal.

State is read from the rows, so it is there whether the node runs or not; whether it runs, and how fast its work goes,
the node is asked itself. Nothing is written.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.options import ConfigFile, load
from dicom_node.core.errors import NodeError

if TYPE_CHECKING:
    from config.settings import Settings
    from dicom_node.bootstrap import Store
    from dicom_node.cli.top_picture import Frame
    from dicom_node.cli.top_pulse import Pulse

Key = Callable[[float], str]
"""Waits so many seconds for a key; empty where none was pressed."""


def register(app: typer.Typer) -> None:
    """Adds `top`."""
    app.command()(top)


def top(
    config: ConfigFile = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    every: Annotated[float, typer.Option(min=0.5, max=3600.0, help="Seconds between pictures.")] = 2.0,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many studies, the latest first.")] = 15,
) -> None:
    """The node live: worklist, queue, deliveries by receiver, disk, rates. q ends it."""
    from rich.console import Console

    from dicom_node import bootstrap
    from dicom_node.cli.top_picture import picture

    settings = load(config).settings
    console = Console()
    with closing(bootstrap.open_store(settings)) as store:
        if once or not (console.is_terminal and sys.stdin.isatty()):
            # Piped output is for grep: as wide as it needs to be.
            wide = console if console.is_terminal else Console(width=400)
            wide.print(picture(frame(settings, store, None, limit=limit)))
            return
        with keys() as key:
            _live(console, lambda before: frame(settings, store, before, limit=limit), key, every)


def frame(settings: Settings, store: Store, before: Pulse | None, *, limit: int) -> Frame:
    """What is to be shown now. Never raises for a database or a disk that does not answer: that is shown."""
    from dicom_node.app.figures import node_figures
    from dicom_node.app.queries import list_worklist
    from dicom_node.cli.top_picture import Frame
    from dicom_node.cli.top_pulse import feel_pulse, rates

    pulse = feel_pulse(settings)
    try:
        with store.reading() as uow:
            figures, rows = node_figures(uow), list_worklist(uow, limit=limit)
    except NodeError:
        figures, rows = None, ()
    try:
        free = store.files.free_bytes()
    except NodeError:
        free = 0
    return Frame(
        at=store.clock.now(),
        ae_title=settings.node.ae_title,
        pulse=pulse,
        rates=rates(before, pulse),
        figures=figures,
        rows=rows,
        disk_free=free,
        disk_reserve=settings.node.min_free_bytes,
    )


def _live(console: object, look: Callable[[Pulse | None], Frame], key: Key, every_s: float) -> None:
    from rich.live import Live

    from dicom_node.cli.top_picture import picture

    shown = look(None)
    with Live(picture(shown), console=console, screen=True, auto_refresh=False) as live:  # type: ignore[arg-type]
        while not is_asked_to_end(key, every_s):
            shown = look(shown.pulse)
            live.update(picture(shown), refresh=True)


def is_asked_to_end(key: Key, within_s: float) -> bool:
    """Whether q is pressed within that time; other keys are ignored."""
    ends_at = time.monotonic() + within_s
    while (left_s := ends_at - time.monotonic()) > 0:
        if key(left_s) in ("q", "Q", "\x03"):
            return True
    return False


@contextmanager
def keys() -> Iterator[Key]:
    """Keys of the terminal as they are pressed; it is as it was when the block is left."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(timeout_s: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        if not ready:
            return ""
        # Not through sys.stdin, whose buffer select does not see. A terminal that is gone asks to end as well.
        return os.read(descriptor, 1).decode(errors="replace") or "q"

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
