"""The one writer of peers: the command line, the page and scripts all change the file through here.

Every change is validated as a whole, written atomically with comments and order kept, and leaves the version it
replaced in the history with the time and who did it, so that it can be undone to any earlier version. A lock beside
the file serialises writers; `expected` lets a writer insist that nobody changed the file since it was shown. A hand
edit that nobody told us of becomes a version of its own, as soon as the node or the next writer meets it.
"""

from __future__ import annotations

import difflib
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from config.edits import Edit, Restoring, UnknownPeer
from config.errors import ConfigError
from config.history import History, Version
from config.load import parse_peers, read_text
from config.peer_changes import changes_in_words
from config.peers_text import OddShape
from config.receivers import PeerSettings
from config.writing import digest_of, locked, write_atomically

BY_HAND = "edit by hand"


class EditConflict(ConfigError):
    """The file changed since it was shown; look at it again."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an edit did, or would do: `diff` is a unified diff, empty where nothing changes; `version` names what it
    replaced, empty where nothing was written. `base` and `digest` are of the text before and after; `words` say what
    becomes of which peer.
    """

    diff: str
    version: str
    base: str
    digest: str
    words: tuple[str, ...] = ()


def list_peers(file: Path) -> tuple[PeerSettings, ...]:
    """The peers in the file, in its order."""
    return parse_peers(read_text(file), source=str(file))


def digest(file: Path) -> str:
    """What to hand back as `expected`, so that an edit meets the text it was made for."""
    return digest_of(read_text(file))


@dataclass(frozen=True, kw_only=True)
class PeerEditor:
    """Edits one configuration file; `history_dir` keeps the replaced versions, `now` gives aware UTC."""

    file: Path
    history_dir: Path
    now: Callable[[], datetime]

    @property
    def kept(self) -> History:
        """The versions."""
        return History(file=self.file, folder=self.history_dir, now=self.now)

    def preview(self, edit: Edit, *, expected: str | None = None) -> Change:
        """What `apply` would do now; nothing is written. Raises as it does."""
        before = self._as_expected(expected)
        after = self._after(edit, before)
        return self._change(before, after, version="")

    def peers_after(self, edit: Edit) -> tuple[PeerSettings, ...]:
        """The peers that the file would have. Raises as `apply` does."""
        return parse_peers(self._after(edit, read_text(self.file)), source=str(self.file))

    def apply(self, edit: Edit, *, who: str, expected: str | None = None, address: str = "") -> Change:
        """The file has the edit, and what it replaced is a version.

        Raises ConfigError where the file would be wrong with it, UnknownPeer, and EditConflict where the text is not
        the `expected` one any more.
        """
        with locked(self.file):
            before = self._as_expected(expected)
            after = self._after(edit, before)
            change = self._change(before, after, version="")
            if not change.diff:
                return change
            self._note_by_hand(before)
            version = self.kept.keep(
                before, action=edit.action, who=who, address=address, words=change.words, after=after
            )
            write_atomically(self.file, after)
            self.kept.set_last_good(after)
        return self._change(before, after, version=version)

    def history(self) -> tuple[Version, ...]:
        """The kept versions, newest first."""
        return self.kept.versions()

    def text_of(self, version: str) -> str:
        """The whole text of a kept version. Raises ConfigError where there is none of that id."""
        return self.kept.text_of(version)

    def diff_of(self, version: str) -> str:
        """What the change that replaced this version did. Raises ConfigError."""
        before = self.kept.text_of(version)
        newer = [kept.id for kept in self.kept.versions() if kept.id > version]
        after = self.kept.text_of(newer[-1]) if newer else self._last_good()
        return _diff(before, after, str(self.file))

    def diff_since(self, seen: str) -> str | None:
        """What happened to the file since it had the digest `seen`; None where that text is not known."""
        text = self.text_with(seen)
        return None if text is None else _diff(text, read_text(self.file), str(self.file))

    def text_with(self, digest: str) -> str | None:
        """The file's text of that digest, of now or earlier; None where it is not known."""
        present = read_text(self.file)
        return present if digest_of(present) == digest else self.kept.text_with(digest)

    def note_hand_edit(self) -> None:
        """A text that no writer of ours has written, and that is right, is in the history."""
        with locked(self.file):
            self._note_by_hand(read_text(self.file))

    def _note_by_hand(self, text: str) -> None:
        last_good = self.kept.last_good()
        if text == last_good or not _is_right(text):
            return
        written = next((version.after for version in self.history()), "")
        if last_good is not None and written != digest_of(text):
            words = _words(last_good, text)
            self.kept.keep(last_good, action=BY_HAND, who=_owner(self.file), words=words, after=text)
        self.kept.set_last_good(text)

    def _last_good(self) -> str:
        return self.kept.last_good() or read_text(self.file)

    def _as_expected(self, expected: str | None) -> str:
        text = read_text(self.file)
        if expected is not None and expected != digest_of(text):
            raise EditConflict("", None, str(self.file), "changed since it was shown; look again, then repeat")
        return text

    def _after(self, edit: Edit, before: str) -> str:
        source = str(self.file)
        if isinstance(edit, Restoring):
            earlier = self.kept.text_of(edit.version)
            parse_peers(earlier, source=f"version {edit.version}")
            return earlier
        peers = parse_peers(before, source=source)
        odd = ConfigError("peers", None, source, f"cannot {edit.action} in a text of this shape; edit it by hand")
        try:
            after = edit.rewritten(before, peers)
        except UnknownPeer as error:
            raise UnknownPeer(error.key, error.value, source, error.message) from None
        except OddShape:
            raise odd from None
        # The words of the text are checked first: their errors name a line.
        written = parse_peers(after, source=f"{source} after `{edit.action}`")
        try:
            is_as_wanted = written == edit.wanted(peers)
        except ValidationError:
            raise odd from None
        if not is_as_wanted:
            raise odd
        return after

    def _change(self, before: str, after: str, *, version: str) -> Change:
        return Change(
            diff=_diff(before, after, str(self.file)),
            version=version,
            base=digest_of(before),
            digest=digest_of(after),
            words=_words(before, after),
        )


def _is_right(text: str) -> bool:
    try:
        parse_peers(text, source="")
    except ConfigError:
        return False
    return True


def _words(before: str, after: str) -> tuple[str, ...]:
    try:
        old = parse_peers(before, source="")
    except ConfigError:
        return ("the file was broken and is right again",)
    found = changes_in_words(old, parse_peers(after, source=""))
    return found or (("the file, but none of the peers",) if before != after else ())


def _diff(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"{name} (before)", name, lineterm="")
    return "\n".join(lines)


def _owner(file: Path) -> str:
    """Whose file it is: the nearest to knowing who wrote it."""
    number = file.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
