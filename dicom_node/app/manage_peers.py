"""AE-title administration: an edit is checked, shown, tried, applied, recorded and undone. One flow for every face.

The file is written by whoever stands behind `PeerBook`; here stand the words of the use case, who did it, and the audit
trail. An edit names what is wanted (`AddPeer`, `ChangePeer`, …); `preview` says what it would do to the text, `apply`
does it. Both take the token of the text that the edit was made for: where the file has changed since, they raise
`PeersChanged`, and whoever edits sees the other's change first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dicom_node.app import audit_events
from dicom_node.core.errors import ConfigurationError, NodeError
from dicom_node.core.peer import Peer
from dicom_node.core.peer_test import PeerTest
from dicom_node.ports import AuditLog

Value = str | int | float | bool | list[str] | None
"""What a key of a peer is set to; None takes the key out, so that its default holds."""


class EditRefused(ConfigurationError):
    """The file would be wrong with the edit; it is as it was. `key` and `source` say what and where."""


class NoSuchPeer(EditRefused):
    """There is no peer, or no version, of that name."""


class PeersChanged(NodeError):
    """Somebody changed the file since it was shown to whoever edits it."""


@dataclass(frozen=True, kw_only=True)
class AddPeer:
    """One more."""

    values: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class ChangePeer:
    """These keys of the peer."""

    name: str
    changes: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class RemovePeer:
    """One less."""

    name: str


@dataclass(frozen=True, kw_only=True)
class RestoreVersion:
    """The whole file as it was before the change `version`; "last-good": as it was right last."""

    version: str


PeerEdit = AddPeer | ChangePeer | RemovePeer | RestoreVersion


class PeerField(Protocol):
    """One key of a peer, as a form or a help text needs it."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> Literal["text", "flag", "whole", "number", "lines", "choices"]: ...
    @property
    def meaning(self) -> str: ...
    @property
    def default(self) -> Any: ...
    @property
    def is_required(self) -> bool: ...
    @property
    def choices(self) -> tuple[str, ...]: ...
    @property
    def longest(self) -> int: ...


class FileChange(Protocol):
    """What an edit did, or would do."""

    @property
    def diff(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def words(self) -> tuple[str, ...]: ...


class KeptVersion(Protocol):
    """An earlier text: who replaced it, when, from where, and by what."""

    @property
    def id(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def who(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def words(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, kw_only=True)
class PeersText:
    """The peers as the file has them, key by key as written; `token` names the text. `problem`: why it is not right,
    and then there are none to edit.
    """

    token: str
    peers: tuple[Mapping[str, Any], ...]
    problem: str = ""

    def of(self, name: str) -> Mapping[str, Any]:
        """The peer's keys. Raises NoSuchPeer."""
        for peer in self.peers:
            if peer["name"] == name:
                return peer
        known = ", ".join(str(peer["name"]) for peer in self.peers) or "none"
        raise NoSuchPeer(f"no peer is called {name!r}; the configured are: {known}", key="name", value=name)


class PeerBook(Protocol):
    """The file of peers with its history. Every method raises ConfigurationError where the file cannot be read."""

    @property
    def fields(self) -> tuple[PeerField, ...]: ...

    def text(self) -> PeersText:
        """As the file stands."""

    def text_with(self, token: str) -> PeersText | None:
        """As it stood when it had this token; None where that is not known."""

    def preview(self, edit: PeerEdit, *, token: str | None) -> FileChange:
        """What the edit would do. Raises EditRefused, NoSuchPeer, PeersChanged."""

    def apply(self, edit: PeerEdit, *, who: str, address: str, token: str | None) -> FileChange:
        """The file has the edit. Raises as `preview`."""

    def peer_after(self, edit: PeerEdit) -> Peer | None:
        """The peer as the edit would leave it, for a test; None where it leaves none. Raises as `preview`."""

    def history(self) -> tuple[KeptVersion, ...]:
        """Newest first."""

    def diff_of(self, version: str) -> str:
        """What the change that replaced the version did. Raises NoSuchPeer."""

    def diff_since(self, token: str) -> str | None:
        """What happened since; None where the text of that token is not known."""

    def untold(self) -> tuple[KeptVersion, ...]:
        """The changes that the audit trail has not been told of, oldest first."""

    def told(self, version: str) -> None:
        """It has been told of this one and all before it."""


class RecordChanges:
    """Each change of the file is in the audit trail once, with who made it and when, whoever wrote it: the page, the
    command line beside the node or while it was down, a hand.
    """

    def __init__(self, book: PeerBook, *, audit: AuditLog, ae_title: str, source: str) -> None:
        self._book = book
        self._audit = audit
        self._ae_title = ae_title
        self._source = source
        self._guard = threading.Lock()

    def record_new(self) -> int:
        """What was not recorded yet is; how many that were. Raises ConfigurationError where the history cannot be
        read or marked: then they are recorded the next time.
        """
        with self._guard:
            changes = self._book.untold()
            for change in changes:
                self._audit.record(
                    audit_events.peers_edited(
                        who=change.who,
                        address=change.address,
                        action=change.action,
                        words=change.words,
                        made_at=change.at,
                        source=self._source,
                        ae_title=self._ae_title,
                    )
                )
                self._book.told(change.id)
        return len(changes)


class ManagePeers:
    """What administrators do with peers. Safe for several threads: the book's writer serialises them."""

    def __init__(
        self,
        *,
        book: PeerBook,
        try_peer: Callable[[Peer], PeerTest],
        record: Callable[[], object] = lambda: None,
        take_up: Callable[[], object] = lambda: None,
    ) -> None:
        """`take_up` looks at the file, so that a running node has the change when `apply` returns; `record` puts what
        is new into the audit trail.
        """
        self.book = book
        self._try_peer = try_peer
        self._record = record
        self._take_up = take_up

    def preview(self, edit: PeerEdit, *, token: str | None) -> FileChange:
        """What `apply` would do. Raises EditRefused, NoSuchPeer, PeersChanged."""
        return self.book.preview(edit, token=token)

    def apply(self, edit: PeerEdit, *, who: str, address: str = "", token: str | None) -> FileChange:
        """The file has the edit, it is in use, and it is recorded. Raises as `preview`; then nothing has changed."""
        change = self.book.apply(edit, who=who, address=address, token=token)
        if change.version:
            self._take_up()
            self._record()
        return change

    def try_edited(self, edit: PeerEdit) -> PeerTest | None:
        """The peer as the edit would leave it is tried; None where there is nothing to try. Raises as `preview`."""
        peer = self.book.peer_after(edit)
        return None if peer is None else self._try_peer(peer)

    def try_named(self, name: str) -> PeerTest:
        """The peer as it is configured is tried. Raises NoSuchPeer."""
        tested = self.try_edited(ChangePeer(name=name, changes={}))
        assert tested is not None
        return tested
