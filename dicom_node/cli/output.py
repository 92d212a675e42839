"""How commands answer: tables and lines for people, JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import typer

Progress = Callable[[str, float], None]
"""What is being done, and which share of it is done, 0 to 1."""


def say(text: str = "") -> None:
    """A line on standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """A line on standard error, for people only."""
    typer.echo(text, err=True)


def answer_json(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=_plain))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table on standard output, or `empty` where there are no rows. Cells starting "ok" or "RED" are coloured."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        say(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in cells:
        drawn.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    console = Console(soft_wrap=False)
    # Piped output is for grep: as wide as it needs to be.
    if not console.is_terminal:
        console = Console(width=max(console.width, drawn.__rich_measure__(console, console.options).maximum, 400))
    console.print(drawn)


def program() -> str:
    """The command as whoever called it can call it again: it need not be where the shell looks for programs."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{sys.executable} -m {called.parent.name}"
    return called.name if shutil.which(called.name) else str(called)


def when(moment: datetime | None) -> str:
    """A moment in local time to the second; empty for None."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


@contextmanager
def progress_line() -> Iterator[Progress]:
    """A progress line on standard error while the block runs; nothing at all where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda what, share: shown.update(task, description=what, completed=share)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return when(value)
    return str(value)


def _style(cell: str) -> str:
    return {"ok": "green", "RED": "bold red"}.get(cell.split(" ")[0], "")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
