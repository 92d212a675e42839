"""What became of which peer between two texts, in words for a history and an audit trail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from config.receivers import PeerSettings


def changes_in_words(before: Sequence[PeerSettings], after: Sequence[PeerSettings]) -> tuple[str, ...]:
    """One sentence for each peer that was added, removed or changed, in the order of the file.

    A peer under another name that is otherwise the same counts as renamed. Secrets are none: the settings hold the
    names of environment variables and files, never what is in them.
    """
    return tuple(_sentences(before, after))


def _sentences(before: Sequence[PeerSettings], after: Sequence[PeerSettings]) -> Iterator[str]:
    old = {peer.name: peer for peer in before}
    new = {peer.name: peer for peer in after}
    renamed = _renamed(old, new)
    for name, peer in old.items():
        if name in renamed:
            yield f"{name}: renamed to {renamed[name]}"
        elif name not in new:
            yield f"{name}: removed ({_place(peer)})"
    for name, peer in new.items():
        if name in old:
            differing = list(_differences(old[name], peer))
            if differing:
                yield f"{name}: {', '.join(differing)}"
        elif name not in renamed.values():
            yield f"{name}: added ({_place(peer)})"
    if not renamed and set(old) == set(new) and list(old) != list(new):
        yield "the order of the peers"


def _renamed(old: dict[str, PeerSettings], new: dict[str, PeerSettings]) -> dict[str, str]:
    gone = [peer for name, peer in old.items() if name not in new]
    come = {name: peer for name, peer in new.items() if name not in old}
    found: dict[str, str] = {}
    for peer in gone:
        for name, other in come.items():
            if name not in found.values() and peer.model_copy(update={"name": name}) == other:
                found[peer.name] = name
                break
    return found


def _differences(before: PeerSettings, after: PeerSettings) -> Iterator[str]:
    for key in type(after).model_fields:
        old, new = getattr(before, key), getattr(after, key)
        if old != new:
            yield f"{key} {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value) if value not in ("", None) else "nothing"


def _place(peer: PeerSettings) -> str:
    return f"{peer.ae_title} at {peer.host}:{peer.port}" if peer.ae_title else peer.stow_url
