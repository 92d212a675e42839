"""What was to be reached beside what was, line by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Line:
    """`reached` is to be at least, or at most, `wanted`; both in `unit`, "x" for a ratio."""

    what: str
    wanted: float
    reached: float
    unit: str = "x"

    @property
    def bound(self) -> str:
        """In words."""
        return "at least"

    @property
    def is_reached(self) -> bool:
        """Whether it is so."""
        return self.reached >= self.wanted


@dataclass(frozen=True, kw_only=True)
class Most(Line):
    """At most."""

    @property
    def bound(self) -> str:
        """In words."""
        return "at most"

    @property
    def is_reached(self) -> bool:
        """Whether it is so."""
        return self.reached <= self.wanted


def table_of(lines: Iterable[Line]) -> Table:
    """A row for each."""
    table = Table(title="goals")
    for column in ("what", "goal", "reached", ""):
        table.add_column(column, justify="right" if column == "reached" else "left", no_wrap=True)
    for line in lines:
        goal = f"{line.bound} {line.wanted:g} {line.unit}"
        table.add_row(line.what, goal, f"{line.reached:.3g} {line.unit}", "reached" if line.is_reached else "missed")
    return table
