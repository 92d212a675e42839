"""What can be done to the peers of a file: one more, other keys of one, one less, an earlier version of the whole.

An edit is a value: the writer shows what it would do, or does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from config.errors import ConfigError
from config.history import LAST_GOOD
from config.peers_text import Value, with_changed_peer, with_peer, without_peer
from config.receivers import PeerSettings

Peers = tuple[PeerSettings, ...]


class UnknownPeer(ConfigError):
    """There is no peer of that name in the file."""


@dataclass(frozen=True, kw_only=True)
class PeerEdit:
    """`rewritten` makes the text that has the edit, of the text and its peers; `wanted` the peers it must then have.

    Both raise UnknownPeer.
    """

    action: str
    rewritten: Callable[[str, Peers], str]
    wanted: Callable[[Peers], Peers]


@dataclass(frozen=True, kw_only=True)
class Restoring:
    """The whole file as it was before the change `version`, or as it was right last."""

    version: str

    @property
    def action(self) -> str:
        """For the history."""
        return f"rollback {self.version}"


Edit = PeerEdit | Restoring


def adding(values: Mapping[str, Value]) -> PeerEdit:
    """One more peer."""
    normal = _normal({}, values)
    return PeerEdit(
        action=f"add {values.get('name')}",
        rewritten=lambda text, peers: with_peer(text, normal),
        wanted=lambda peers: (*peers, PeerSettings.model_validate(_given(normal))),
    )


def changing(name: str, changes: Mapping[str, Value]) -> PeerEdit:
    """The peer with these keys set; None takes a key out, so that its default holds."""

    def normal(peers: Peers) -> dict[str, Value]:
        return _normal(peers[index_of(peers, name)].model_dump(exclude_unset=True), changes)

    def wanted(peers: Peers) -> Peers:
        present = peers[index_of(peers, name)].model_dump(exclude_unset=True)
        changed = PeerSettings.model_validate(_given(present | normal(peers)))
        return tuple(changed if peer.name == name else peer for peer in peers)

    return PeerEdit(
        action=f"edit {name}",
        rewritten=lambda text, peers: with_changed_peer(text, index_of(peers, name), normal(peers)),
        wanted=wanted,
    )


def removing(name: str) -> PeerEdit:
    """The file without the peer."""
    return PeerEdit(
        action=f"remove {name}",
        rewritten=lambda text, peers: without_peer(text, index_of(peers, name)),
        wanted=lambda peers: tuple(peer for peer in peers if peer.name != name),
    )


def restoring(version: str) -> Restoring:
    """The file as it was before that change; `last-good`: as it was right last."""
    return Restoring(version=version or LAST_GOOD)


def index_of(peers: Peers, name: str) -> int:
    """Which of the peers it is. Raises UnknownPeer."""
    for index, peer in enumerate(peers):
        if peer.name == name:
            return index
    known = ", ".join(peer.name for peer in peers) or "none"
    raise UnknownPeer("peers.name", name, "", f"no such peer; the configured are: {known}")


def _normal(present: Mapping[str, object], changes: Mapping[str, Value]) -> dict[str, Value]:
    """The values as they are meant: an AE title without its insignificant spaces, a fingerprint without colons.

    What is wrong stays as it is: the check of the whole text says so, with the line. Raises ConfigError for a key that
    a peer does not have, which is never written.
    """
    for key in changes:
        if key not in PeerSettings.model_fields:
            has = ", ".join(PeerSettings.model_fields)
            raise ConfigError(f"peers.{key}", None, "the edit", f"unknown key; a peer has {has}")
    try:
        checked = PeerSettings.model_validate(_given(dict(present) | dict(changes)), strict=True)
    except ValidationError:
        return dict(changes)
    meant = {key: getattr(checked, key) for key, value in changes.items() if value is not None}
    normal = {key: list(value) if isinstance(value, tuple) else value for key, value in meant.items()}
    return {key: _as_written(value, normal.get(key)) for key, value in changes.items()}


def _as_written(given: Value, normal: Value) -> Value:
    """`given` where it means the same but for its type: one word stays one word, and 30 no 30.0."""
    is_one_word = isinstance(given, str) and isinstance(normal, list) and normal == [given]
    return given if is_one_word or given == normal else normal


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
