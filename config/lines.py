"""Where a key stands in a TOML file. The parsers keep no line numbers; an operator needs them."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")


def lines_of_keys(text: str) -> dict[str, int]:
    """Line numbers (from 1) by dotted key; members of an array of tables are `peers[0].host`.

    Reads the line structure only: in a multi-line string, lines that look like keys are found as well, which at
    worst adds keys nobody asks for. Keys inside an inline table are found by `line_of` at their parent's line.
    """
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            prefix = _dotted(header[2])
            if header[1] == "[[":
                counts[prefix] = counts.get(prefix, -1) + 1
                prefix = f"{prefix}[{counts[prefix]}]"
            found.setdefault(prefix, number)
        elif key := _KEY.match(line):
            name = _dotted(key[1])
            found.setdefault(f"{prefix}.{name}" if prefix else name, number)
    return found


def line_of(key: str, lines: dict[str, int]) -> int | None:
    """The line of `key`, or of the nearest parent that has one."""
    while key:
        if key in lines:
            return lines[key]
        shorter = key.rpartition(".")[0]
        key = shorter or (key.partition("[")[0] if "[" in key else "")
    return None


def _dotted(raw: str) -> str:
    return ".".join(next(group for group in part if group) for part in _PART.findall(raw) if any(part))
