"""The one writer of peers: the command line, the page and scripts all change the file through here.

Every change is validated as a whole, written atomically with comments and order kept, and leaves the version it
replaced in the history with the time and who did it, so that it can be undone to any earlier version. A lock beside
the file serialises writers; `expected` lets a writer insist that nobody changed the file since it was shown.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from config.errors import ConfigError
from config.load import parse_peers, read_text
from config.peers_text import Value, with_changed_peer, with_peer, without_peer
from config.receivers import PeerSettings

Peers = tuple[PeerSettings, ...]


class UnknownPeer(ConfigError):
    """There is no peer of that name in the file."""


class EditConflict(ConfigError):
    """The file changed since it was shown; look at it again."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an edit did: `diff` is a unified diff, empty where nothing changed; `version` names what it replaced."""

    diff: str
    version: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Version:
    """An earlier text of the file: `action` and `who` replaced it at `at` (ISO 8601, UTC)."""

    id: str
    at: str
    who: str
    action: str
    file: str


def list_peers(file: Path) -> tuple[PeerSettings, ...]:
    """The peers in the file, in its order."""
    return parse_peers(read_text(file), source=str(file))


def digest(file: Path) -> str:
    """What to hand back as `expected`, so that an edit meets the text it was made for."""
    return _digest(read_text(file))


@dataclass(frozen=True, kw_only=True)
class PeerEditor:
    """Edits one configuration file; `history_dir` keeps the replaced versions, `now` gives aware UTC."""

    file: Path
    history_dir: Path
    now: Callable[[], datetime]

    def add(self, values: Mapping[str, Value], *, who: str, expected: str | None = None) -> Change:
        """One more peer. Raises ConfigError where the file would be wrong with it."""
        return self._edit_peers(
            lambda text, peers: with_peer(text, values),
            lambda peers: (*peers, PeerSettings.model_validate(values)),
            action=f"add {values.get('name')}",
            who=who,
            expected=expected,
        )

    def edit(self, name: str, changes: Mapping[str, Value], *, who: str, expected: str | None = None) -> Change:
        """The peer with these keys set. Raises UnknownPeer, ConfigError."""

        def wanted(peers: Peers) -> Peers:
            changed = PeerSettings.model_validate(peers[self._index(peers, name)].model_dump() | dict(changes))
            return tuple(changed if peer.name == name else peer for peer in peers)

        return self._edit_peers(
            lambda text, peers: with_changed_peer(text, self._index(peers, name), changes),
            wanted,
            action=f"edit {name}",
            who=who,
            expected=expected,
        )

    def remove(self, name: str, *, who: str, expected: str | None = None) -> Change:
        """The file without the peer. Raises UnknownPeer."""
        return self._edit_peers(
            lambda text, peers: without_peer(text, self._index(peers, name)),
            lambda peers: tuple(peer for peer in peers if peer.name != name),
            action=f"remove {name}",
            who=who,
            expected=expected,
        )

    def history(self) -> tuple[Version, ...]:
        """The kept versions, newest first."""
        found = [Version(**json.loads(path.read_text("utf-8"))) for path in self.history_dir.glob("*.json")]
        return tuple(sorted(found, key=lambda version: version.id, reverse=True))

    def text_of(self, version: str) -> str:
        """The whole text of a kept version. Raises ConfigError where there is none of that id."""
        if version not in {kept.id for kept in self.history()}:
            raise ConfigError("version", version, str(self.history_dir), "no such version; `peers history` lists them")
        return (self.history_dir / f"{version}.toml").read_text("utf-8")

    def rollback(self, version: str, *, who: str, expected: str | None = None) -> Change:
        """The file as it was before the change `version`, whole; the present text is kept as a version first."""
        earlier = self.text_of(version)
        parse_peers(earlier, source=f"version {version}")
        return self._replace(lambda before: earlier, action=f"rollback {version}", who=who, expected=expected)

    def _index(self, peers: Peers, name: str) -> int:
        for index, peer in enumerate(peers):
            if peer.name == name:
                return index
        known = ", ".join(peer.name for peer in peers) or "none"
        raise UnknownPeer("peers.name", name, str(self.file), f"no such peer; the configured are: {known}")

    def _edit_peers(
        self,
        edited: Callable[[str, Peers], str],
        wanted: Callable[[Peers], Peers],
        *,
        action: str,
        who: str,
        expected: str | None,
    ) -> Change:
        source = str(self.file)

        def replacement(before: str) -> str:
            peers = parse_peers(before, source=source)
            after = edited(before, peers)
            # The words of the text are checked first: their errors name a line.
            if parse_peers(after, source=f"{source} after `{action}`") != wanted(peers):
                raise ConfigError("peers", None, source, f"cannot {action} in a text of this shape; edit it by hand")
            return after

        return self._replace(replacement, action=action, who=who, expected=expected)

    def _replace(self, replacement: Callable[[str], str], *, action: str, who: str, expected: str | None) -> Change:
        with _locked(self.file):
            before = read_text(self.file)
            if expected is not None and expected != _digest(before):
                raise EditConflict("", None, str(self.file), "changed since it was shown; look again, then repeat")
            after = replacement(before)
            if after == before:
                return Change(diff="", version="", digest=_digest(before))
            version = self._keep(before, action=action, who=who)
            _write_atomically(self.file, after)
        return Change(diff=_diff(before, after, str(self.file)), version=version, digest=_digest(after))

    def _keep(self, text: str, *, action: str, who: str) -> str:
        self.history_dir.mkdir(parents=True, exist_ok=True)
        at = self.now()
        version = f"{at:%Y%m%dT%H%M%S.%fZ}"
        note = Version(id=version, at=at.isoformat(), who=who, action=action, file=str(self.file))
        _write_atomically(self.history_dir / f"{version}.toml", text)
        _write_atomically(self.history_dir / f"{version}.json", json.dumps(asdict(note), ensure_ascii=False, indent=1))
        return version


def _diff(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"{name} (before)", name, lineterm="")
    return "\n".join(lines)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One writer at a time, across processes. The folder is locked, because the file itself is replaced."""
    try:
        folder = os.open(file.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigError("", None, str(file), f"cannot open its folder: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write_atomically(file: Path, text: str) -> None:
    """Returns with `text` durable under the name: a reader or a power cut sees the old text or the new one."""
    target = file.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise ConfigError("", None, str(file), f"cannot write in its folder: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, name)
        os.replace(name, target)
        _sync_folder(target.parent)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise ConfigError("", None, str(file), f"cannot write: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
