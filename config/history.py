"""Every text that the configuration file had: who replaced it, when, and by what.

A version is the text *before* a change, under the moment of the change. Beside them lies the last text that was right,
as the writer or the running node saw it: a file that differs was edited by hand, and what it was before is still known.
`told` and `untold` say up to which change somebody else (the audit trail) has been told: a change that was made while
nobody listened is told later, not never.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from config.errors import ConfigError
from config.writing import digest_of, write_atomically

LAST_GOOD = "last-good"
_TOLD = "told"


@dataclass(frozen=True, kw_only=True)
class Version:
    """An earlier text of the file: `action` and `who` replaced it at `at` (ISO 8601, UTC).

    `address` is where `who` came from, empty for this machine; `words` say what became of which peer; `before` and
    `after` are digests of the two texts, empty in what was kept before they were.
    """

    id: str
    at: str
    who: str
    action: str
    file: str
    address: str = ""
    words: tuple[str, ...] = ()
    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class History:
    """The versions of `file` in `folder`; `now` gives aware UTC. Changed under the writer's lock alone."""

    file: Path
    folder: Path
    now: Callable[[], datetime]

    def versions(self) -> tuple[Version, ...]:
        """The kept versions, newest first."""
        found = [_read(path) for path in self.folder.glob("*.json")]
        return tuple(sorted(found, key=lambda version: version.id, reverse=True))

    def text_of(self, version: str) -> str:
        """The whole text of a kept version, or of the last good one. Raises ConfigError where there is none."""
        if version == LAST_GOOD:
            text = self.last_good()
            if text is not None:
                return text
        elif version in {kept.id for kept in self.versions()}:
            return (self.folder / f"{version}.toml").read_text("utf-8")
        raise ConfigError("version", version, str(self.folder), "no such version; `peers history` lists them")

    def text_with(self, digest: str) -> str | None:
        """The text of that digest, if it was one of this file's; None where it is not known."""
        last_good = self.last_good()
        if last_good is not None and digest_of(last_good) == digest:
            return last_good
        for version in self.versions():
            text = (self.folder / f"{version.id}.toml").read_text("utf-8")
            if digest_of(text) == digest:
                return text
        return None

    def keep(
        self, text: str, *, action: str, who: str, address: str = "", words: tuple[str, ...] = (), after: str = ""
    ) -> str:
        """The text that is about to be replaced by `after` is a version; its id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = self.now()
        while (self.folder / f"{_id(at)}.json").exists():  # two changes in one tick of the clock
            at += timedelta(microseconds=1)
        note = Version(
            id=_id(at),
            at=at.isoformat(),
            who=who,
            action=action,
            file=str(self.file),
            address=address,
            words=words,
            before=digest_of(text),
            after=digest_of(after),
        )
        write_atomically(self.folder / f"{note.id}.toml", text)
        write_atomically(self.folder / f"{note.id}.json", json.dumps(asdict(note), ensure_ascii=False, indent=1))
        return note.id

    def last_good(self) -> str | None:
        """The last text that was right; None where none was seen yet."""
        path = self._last_good
        return path.read_text("utf-8") if path.exists() else None

    def set_last_good(self, text: str) -> None:
        """The file has this text, and it is right."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._last_good, text)

    def untold(self) -> tuple[Version, ...]:
        """The changes that `told` has not named yet, oldest first."""
        path = self.folder / _TOLD
        told = path.read_text("utf-8").strip() if path.exists() else ""
        return tuple(version for version in reversed(self.versions()) if version.id > told)

    def told(self, version: str) -> None:
        """This change and all before it are known to whoever asks for the untold ones."""
        write_atomically(self.folder / _TOLD, version + "\n")

    @property
    def _last_good(self) -> Path:
        # By the file's path: two configurations may share a data folder.
        return self.folder / f"{LAST_GOOD}-{sha256(str(self.file.resolve()).encode()).hexdigest()[:12]}.toml"


def _id(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S.%fZ}"


def _read(path: Path) -> Version:
    note = json.loads(path.read_text("utf-8"))
    return Version(**note | {"words": tuple(note.get("words", ()))})
