"""The form of a peer, made of the descriptions of its keys: what is shown, and what came back, in pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_node.app.manage_peers import EditRefused, PeerField, Value
from dicom_node.app.peer_words import same
from dicom_node.core.account import Role
from dicom_node.web.language import say

_LABELS = {
    "name": "Name",
    "ae_title": "AE title",
    "host": "Host",
    "port": "Port",
    "may_send": "May send images",
    "receives_results": "Receives results",
    "enabled": "In use",
}
_ALWAYS_OPEN = 1


@dataclass(frozen=True, kw_only=True)
class ShownField:
    """One key in the form: `text` is what stands in its box, `chosen` which of its choices are ticked."""

    field: PeerField
    label: str
    text: str = ""
    is_set: bool = False
    chosen: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class ShownGroup:
    """Keys that go together; `is_open` where one of them says something."""

    title: str
    fields: tuple[ShownField, ...]
    is_open: bool


def label_of(name: str) -> str:
    """The key in words."""
    words = name.removesuffix("_s").replace("_", " ")
    text = _LABELS.get(name) or words[0].upper() + words[1:]
    text = re.sub(r"\b(tls|stow|ca|url|sha256|env)\b", lambda found: found[1].upper(), text, flags=re.IGNORECASE)
    return f"{text} (seconds)" if name.endswith("_s") else text.replace(" ENV", " (variable)")


def groups(
    fields: Iterable[PeerField], values: Mapping[str, Any], refused: EditRefused | None = None
) -> tuple[ShownGroup, ...]:
    """The form with these values; `refused` is shown at its key."""
    wrong = key_of(refused) if refused else ""
    by_group: dict[str, list[ShownField]] = {}
    telling: set[str] = set()
    for field in fields:
        value = values.get(field.name, field.default)
        error = str(refused) if refused and field.name == wrong else ""
        by_group.setdefault(field.group, []).append(_shown(field, value, error))
        if error or not same(value, field.default):
            telling.add(field.group)
    return tuple(
        ShownGroup(title=title, fields=tuple(shown), is_open=number < _ALWAYS_OPEN or title in telling)
        for number, (title, shown) in enumerate(by_group.items())
    )


def key_of(refused: EditRefused) -> str:
    """The peer's key that was refused, of one like `peers[2].port`."""
    return refused.key.rpartition(".")[2]


def hidden(form: Mapping[str, str], *, leaving_out: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The fields of a form to be sent once more from another page."""
    left_out = frozenset(leaving_out)
    return tuple((name, value) for name, value in form.items() if name not in left_out)


def diff_lines(diff: str) -> tuple[tuple[str, str], ...]:
    """Each line of a unified diff with its look: added, removed, place, same."""
    return tuple((_look(line), line) for line in diff.splitlines() if not line.startswith(("---", "+++")))


def detail_rows(fields: Iterable[PeerField], peer: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Group, label and value of each key that the file gives this peer."""
    return tuple((field.group, label_of(field.name), _text(peer[field.name])) for field in fields if field.name in peer)


def may_edit(role: Role | None) -> bool:
    """Whether links to forms are shown; who may send them is for the gate."""
    return role is not None and role.includes(Role.ADMIN)


def may_test(role: Role | None) -> bool:
    """Whether the button of a test is shown."""
    return role is not None and role.includes(Role.OPERATOR)


def _shown(field: PeerField, value: Value, error: str) -> ShownField:
    label = label_of(field.name)
    if field.kind == "flag":
        return ShownField(field=field, label=label, is_set=bool(value), error=error)
    if field.kind == "choices":
        words = (value,) if isinstance(value, str) else tuple(map(str, value or ()))  # type: ignore[arg-type]
        return ShownField(field=field, label=label, chosen=words, error=error)
    if field.kind == "lines":
        lines = (value,) if isinstance(value, str) else tuple(map(str, value or ()))  # type: ignore[arg-type]
        return ShownField(field=field, label=label, text="\n".join(lines), error=error)
    return ShownField(field=field, label=label, text="" if value in (None, 0) else str(value), error=error)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _look(line: str) -> str:
    return {"+": "added", "-": "removed", "@": "place"}.get(line[:1], "same")
