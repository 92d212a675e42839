"""Changes to the `[[peers]]` tables of a configuration's text: lines in, lines out, everything else untouched.

A TOML library keeps comments, but gives those between two tables to the upper one, so that removing or extending a
peer moves or loses words the administrator wrote for the next. Here a peer is a span of lines, and tomlkit rewrites
single values. Whoever calls this parses the outcome and compares it with what was wanted: text that is unusual enough
to fool the line structure is then refused, never written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

import tomlkit

_HEADER = re.compile(r"^\s*\[")
_PEER_HEADER = re.compile(r"^\s*\[\[\s*(peers|\"peers\"|'peers')\s*\]\]\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*=")
_EMPTY_LIST = re.compile(r"^\s*peers\s*=\s*\[\s*\]\s*(#.*)?$")
_COMMENT = re.compile(r"""^(?:[^"'#]|"(?:\\.|[^"\\])*"|'[^']*')*(#.*)$""")

Value = str | int | float | bool | list[str] | None
"""What a key is set to; None takes the key out."""


class OddShape(ValueError):
    """The peers are written in a way that this module does not know."""


def with_peer(text: str, values: Mapping[str, Value]) -> str:
    """The text with one more peer after the last one, or at the end."""
    lines = [line for line in _lines(text) if not _EMPTY_LIST.match(line)]
    spans = _spans(lines)
    at = spans[-1][1] if spans else len(lines)
    block = ["[[peers]]", *(_line(key, value) for key, value in values.items() if value is not None)]
    before = lines[:at]
    while before and not before[-1].strip():
        before.pop()
    after = lines[at:]
    gap_before = [""] if before else []
    gap_after = [""] if after and after[0].strip() else []
    return _joined([*before, *gap_before, *block, *gap_after, *after])


def with_changed_peer(text: str, index: int, changes: Mapping[str, Value]) -> str:
    """The text with these keys of peer `index` set; a key that is there keeps its place and its comments.

    Raises OddShape where there is no such table.
    """
    lines = _lines(text)
    start, end = _span(lines, index)
    for key, value in changes.items():
        at, behind = _place(lines, start, end, key)
        before = len(lines)
        if at is not None:
            lines[at:behind] = [] if value is None else _rewritten(lines[at:behind], key, value)
        elif value is not None:
            lines.insert(end, _line(key, value))
        end += len(lines) - before
    return _joined(lines)


def without_peer(text: str, index: int) -> str:
    """The text without peer `index` and without the comment lines directly above it. Raises OddShape."""
    lines = _lines(text)
    start, end = _span(lines, index)
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    if end < len(lines) and not lines[end].strip():
        end += 1
    return _joined(lines[:start] + lines[end:])


def _span(lines: list[str], index: int) -> tuple[int, int]:
    spans = _spans(lines)
    if index >= len(spans):
        raise OddShape("the peers are not written as [[peers]] tables")
    return spans[index]


def _spans(lines: list[str]) -> list[tuple[int, int]]:
    """[start, end) of each peer, from its header to its last value; what follows belongs to what comes next."""
    return [(start, _end(lines, start)) for start, line in enumerate(lines) if _PEER_HEADER.match(line)]


def _end(lines: list[str], start: int) -> int:
    return max((behind for _, _, behind in _values(lines, start, len(lines))), default=start + 1)


def _values(lines: list[str], start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Key and [first, behind) line of each value of the table that begins at `start`."""
    n = start + 1
    while n < end and not _HEADER.match(lines[n]):
        found = _KEY.match(lines[n])
        behind = _behind(lines, n) if found else n + 1
        if found:
            yield found[1].strip("\"'"), n, behind
        n = behind


def _place(lines: list[str], start: int, end: int, key: str) -> tuple[int | None, int]:
    return next(((first, behind) for name, first, behind in _values(lines, start, end) if name == key), (None, end))


def _behind(lines: list[str], start: int) -> int:
    """The line behind the value that begins here: a list may go over several."""
    for end in range(start + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
        return end
    return start + 1


def _rewritten(old: list[str], key: str, value: Value) -> list[str]:
    """The value anew. A list over several lines becomes one line, with its comments above it."""
    if len(old) > 1:
        comments = [found[1] for line in old if (found := _COMMENT.match(line))]
        return [*comments, _line(key, value)]
    document = tomlkit.parse(old[0])
    document[key] = value
    return [tomlkit.dumps(document).rstrip("\n")]


def _line(key: str, value: Value) -> str:
    return f"{key} = {tomlkit.item(value).as_string()}"


def _lines(text: str) -> list[str]:
    # Not splitlines: a comment may hold characters that only Python takes for the end of a line.
    return text.removesuffix("\n").split("\n")


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
