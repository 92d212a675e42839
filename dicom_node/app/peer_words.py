"""A peer's keys as words: of a form, of a command line. Pure.

What a word cannot be is said with the key; whether a value is right is for the check of the whole file to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dicom_node.app.manage_peers import EditRefused, PeerField, Value

_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def field_named(fields: Iterable[PeerField], name: str) -> PeerField:
    """The key's description. Raises EditRefused where there is none of that name."""
    known = tuple(fields)
    for field in known:
        if field.name == name:
            return field
    has = ", ".join(field.name for field in known)
    raise EditRefused(f"{name}: unknown key; a peer has {has}", key=name)


def value_of(field: PeerField, words: str) -> Value:
    """The value that somebody wrote. Nothing at all is None for what has its default elsewhere, and 0 for a port.

    Lists are separated by commas or ends of lines. Raises EditRefused.
    """
    text = words.strip()
    if field.kind in ("lines", "choices"):
        return [part for part in (part.strip() for part in re.split(r"[,\n]", text)) if part]
    if field.kind == "flag":
        return _flag(field, text.lower())
    if field.kind in ("whole", "number"):
        return _number(field, text)
    return words if field.name == "ae_title" else text


def form_values(fields: Iterable[PeerField], form: Mapping[str, str]) -> dict[str, Value]:
    """Every key of a form of ours; flags and choices have boxes, there or not. Raises EditRefused."""
    values: dict[str, Value] = {}
    for field in fields:
        if field.kind == "flag":
            values[field.name] = field.name in form
        elif field.kind == "choices":
            values[field.name] = [choice for choice in field.choices if f"{field.name}.{choice}" in form]
        else:
            values[field.name] = value_of(field, form.get(field.name, ""))
    return values


def without_defaults(fields: Iterable[PeerField], values: Mapping[str, Value]) -> dict[str, Value]:
    """What a new peer's table needs to say: the rest has its default."""
    by_name = {field.name: field for field in fields}
    kept = {}
    for name, value in values.items():
        field = by_name[name]
        if field.is_required or not same(value, field.default):
            kept[name] = value
    return kept


def differing(fields: Iterable[PeerField], present: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Value]:
    """What is to be changed so that `present` (the keys as written) has these values; None takes a key out."""
    by_name = {field.name: field for field in fields}
    changes: dict[str, Value] = {}
    for name, value in values.items():
        field = by_name[name]
        if not same(value, present.get(name, field.default)):
            changes[name] = None if same(value, field.default) and value in (None, "", []) else value
    return changes


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same: a tuple and a list, one word and a list of one."""
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return list(value)
    return [] if value is None else value


def _flag(field: PeerField, word: str) -> bool:
    if word not in _YES | _NO:
        raise EditRefused(f"{field.name} is true or false, not {word!r}", key=field.name, value=word)
    return word in _YES


def _number(field: PeerField, text: str) -> int | float | None:
    if not text:
        return 0 if field.default == 0 else None
    try:
        return int(text) if field.kind == "whole" else float(text)
    except ValueError:
        kind = "a whole number" if field.kind == "whole" else "a number"
        raise EditRefused(f"{field.name} is {kind}, not {text!r}", key=field.name, value=text) from None
