"""Changes to the `[[peers]]` tables of a configuration's text: lines in, lines out, everything else untouched.

A TOML library keeps comments, but gives those between two tables to the upper one, so that removing or extending a
peer moves or loses words the administrator wrote for the next. Here a peer is a span of lines, and tomlkit rewrites
single lines. Whoever calls this parses the outcome and compares it with what was wanted: text that is unusual enough
to fool the line structure is then refused, never written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import tomlkit

_HEADER = re.compile(r"^\s*\[")
_PEER_HEADER = re.compile(r"^\s*\[\[\s*(peers|\"peers\"|'peers')\s*\]\]\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*=")
_EMPTY_LIST = re.compile(r"^\s*peers\s*=\s*\[\s*\]\s*(#.*)?$")

Value = str | int | bool | list[str]


def with_peer(text: str, values: Mapping[str, Value]) -> str:
    """The text with one more peer after the last one, or at the end."""
    lines = [line for line in text.splitlines() if not _EMPTY_LIST.match(line)]
    spans = _spans(lines)
    at = spans[-1][1] if spans else len(lines)
    block = ["[[peers]]", *(_line(key, value) for key, value in values.items())]
    before = lines[:at]
    while before and not before[-1].strip():
        before.pop()
    after = lines[at:]
    gap_before = [""] if before else []
    gap_after = [""] if after and after[0].strip() else []
    return _joined([*before, *gap_before, *block, *gap_after, *after])


def with_changed_peer(text: str, index: int, changes: Mapping[str, Value]) -> str:
    """The text with these keys of peer `index` set; a key that is there keeps its place and its comment."""
    lines = text.splitlines()
    start, end = _spans(lines)[index]
    for key, value in changes.items():
        at = next((n for n in range(start + 1, end) if _key_of(lines[n]) == key), None)
        if at is None:
            lines.insert(end, _line(key, value))
            end += 1
        else:
            lines[at] = _rewritten(lines[at], key, value)
    return _joined(lines)


def without_peer(text: str, index: int) -> str:
    """The text without peer `index` and without the comment lines directly above it."""
    lines = text.splitlines()
    start, end = _spans(lines)[index]
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    if end < len(lines) and not lines[end].strip():
        end += 1
    return _joined(lines[:start] + lines[end:])


def _spans(lines: list[str]) -> list[tuple[int, int]]:
    """[start, end) of each peer, from its header to its last key; what follows belongs to what comes next."""
    spans = []
    for start, line in enumerate(lines):
        if not _PEER_HEADER.match(line):
            continue
        last = start
        for n in range(start + 1, len(lines)):
            if _HEADER.match(lines[n]):
                break
            if _KEY.match(lines[n]):
                last = n
        spans.append((start, last + 1))
    return spans


def _key_of(line: str) -> str | None:
    found = _KEY.match(line)
    return found[1].strip("\"'") if found else None


def _rewritten(line: str, key: str, value: Value) -> str:
    document = tomlkit.parse(line)
    document[key] = value
    return tomlkit.dumps(document).rstrip("\n")


def _line(key: str, value: Value) -> str:
    return f"{key} = {tomlkit.item(value).as_string()}"


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
