"""AE-title administration on the configuration file: the one writer behind the use case, and the test of a peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from config.editing import Change, EditConflict, PeerEditor
from config.edits import Edit, UnknownPeer, adding, changing, removing, restoring
from config.errors import ConfigError
from config.history import Version
from config.load import parse_peers, read_text
from config.peer_fields import PeerField, peer_fields
from config.receivers import PeerSettings
from config.settings import NodeTlsSettings, Settings
from config.watch import LivePeers
from config.writing import digest_of
from dicom_node.app.audited import AuditedPeers
from dicom_node.app.manage_peers import (
    AddPeer,
    ChangePeer,
    EditRefused,
    ManagePeers,
    NoSuchPeer,
    PeerEdit,
    PeersChanged,
    PeersText,
    RecordChanges,
    RemovePeer,
    RestoreVersion,
)
from dicom_node.bootstrap.store import ConfiguredPeers, to_peer
from dicom_node.core.errors import ConfigurationError, NodeError
from dicom_node.core.peer import Peer
from dicom_node.core.peer_test import Answer, PeerTest, Trouble, judged
from dicom_node.ports import AuditLog, Clock

log = structlog.get_logger(__name__)

HISTORY = "config-history"
TRIAL_S = 5.0


def editor_of(file: Path, data_dir: Path, clock: Clock) -> PeerEditor:
    """The writer of this file, with its history in the data folder."""
    return PeerEditor(file=file, history_dir=data_dir / HISTORY, now=clock.now)


def live_peers(file: Path, settings: Settings, clock: Clock) -> LivePeers:
    """Peers that follow the file; what is edited by hand is in its history."""
    editor = editor_of(file, settings.node.data_dir, clock)
    return LivePeers(file, settings.peers, on_accepted=lambda: _note_hand_edit(editor))


class Administration:
    """Everything about peers that a running node hands to its pages and its receiver."""

    def __init__(
        self, live: LivePeers, configured: ConfiguredPeers, *, settings: Settings, audit: AuditLog, clock: Clock
    ) -> None:
        editor = editor_of(live.file, settings.node.data_dir, clock)
        book = FilePeerBook(editor, settings.node.tls)
        ae_title, source = settings.node.ae_title, str(live.file)
        self._changes = RecordChanges(book, audit=audit, ae_title=ae_title, source=source)
        self.directory = AuditedPeers(
            configured, audit=audit, clock=clock, ae_title=ae_title, source=source, record_edits=self._record
        )
        self.manage = ManagePeers(
            book=book,
            try_peer=lambda peer: try_peer(peer, ae_title),
            record=self._record,
            take_up=self.directory.peers,
        )
        _note_hand_edit(editor)  # and what was edited while nothing ran
        self._record()

    def _record(self) -> int:
        try:
            return self._changes.record_new()
        except (NodeError, OSError, ValueError) as error:  # it is recorded the next time
            log.error("peer_changes_not_recorded", why=str(error))
            return 0


def _note_hand_edit(editor: PeerEditor) -> None:
    try:
        editor.note_hand_edit()
    except (ConfigError, OSError) as error:  # the peers are in use all the same
        log.error("peer_history_not_written", why=str(error))


class FilePeerBook:
    """`PeerBook` of the use case on the configuration file."""

    def __init__(self, editor: PeerEditor, tls: NodeTlsSettings) -> None:
        self._editor = editor
        self._tls = tls

    @property
    def fields(self) -> tuple[PeerField, ...]:
        """Every key of a peer."""
        return peer_fields()

    def text(self) -> PeersText:
        """As the port says."""
        with _told():
            return self._parsed(read_text(self._editor.file))

    def text_with(self, token: str) -> PeersText | None:
        """As the port says."""
        with _told():
            text = self._editor.text_with(token)
        return None if text is None else self._parsed(text)

    def preview(self, edit: PeerEdit, *, token: str | None) -> Change:
        """As the port says."""
        with _told():
            return self._editor.preview(_edit(edit), expected=token)

    def apply(self, edit: PeerEdit, *, who: str, address: str, token: str | None) -> Change:
        """As the port says."""
        with _told():
            return self._editor.apply(_edit(edit), who=who, address=address, expected=token)

    def peer_after(self, edit: PeerEdit) -> Peer | None:
        """As the port says."""
        with _told():
            settings = self._settings_after(edit)
            return None if settings is None else to_peer(settings, self._tls)

    def history(self) -> tuple[Version, ...]:
        """As the port says."""
        return self._editor.history()

    def diff_of(self, version: str) -> str:
        """As the port says."""
        with _told():
            return self._editor.diff_of(version)

    def diff_since(self, token: str) -> str | None:
        """As the port says."""
        with _told():
            return self._editor.diff_since(token)

    def untold(self) -> tuple[Version, ...]:
        """As the port says."""
        return self._editor.kept.untold()

    def told(self, version: str) -> None:
        """As the port says."""
        with _told():
            self._editor.kept.told(version)

    def _parsed(self, text: str) -> PeersText:
        try:
            peers = parse_peers(text, source=str(self._editor.file))
        except ConfigError as error:
            return PeersText(token=digest_of(text), peers=(), problem=str(error))
        return PeersText(token=digest_of(text), peers=tuple(peer.model_dump(exclude_unset=True) for peer in peers))

    def _settings_after(self, edit: PeerEdit) -> PeerSettings | None:
        if isinstance(edit, (RemovePeer, RestoreVersion)):
            return None
        wanted = edit.changes.get("name") if isinstance(edit, ChangePeer) else edit.values.get("name")
        name = wanted or (edit.name if isinstance(edit, ChangePeer) else "")
        peers = self._editor.peers_after(_edit(edit))
        return next((peer for peer in peers if peer.name == name), None)


def named_peer(settings: Settings, name: str) -> Peer:
    """The configured peer of that name. Raises ConfigurationError."""
    for peer in settings.peers:
        if peer.name == name:
            return to_peer(peer, settings.node.tls)
    known = ", ".join(peer.name for peer in settings.peers) or "none"
    raise ConfigurationError(f"no peer is called {name!r}; configured peers: {known}", key="peers.name", value=name)


def try_peer(peer: Peer, own_aet: str, timeout_s: float = TRIAL_S) -> PeerTest:
    """The peer is asked what it can be asked: C-ECHO, an offer of our objects, its DICOMweb service. It keeps nothing.

    Whoever does not answer at all is not made an offer.
    """
    from dicom_node.dimse.echo import echo
    from dicom_node.dimse.offer import offer

    tested = PeerTest(peer=peer.name)
    if peer.stow is not None:
        tested = replace(tested, stow=_try_stow(peer, timeout_s))
    if peer.stow is not None and not peer.may_send:
        return tested
    echoed = echo(peer, own_aet, timeout_s)
    tested = replace(tested, echo=echoed)
    if not echoed.ok and echoed.trouble is not Trouble.NOT_ACCEPTED:
        return tested
    offered, classes = offer(peer, own_aet, timeout_s)
    found = judged(peer, classes) if offered.ok else PeerTest(peer=peer.name)
    return replace(tested, offer=offered, classes=found.classes, missing=found.missing, instead=found.instead)


def _try_stow(peer: Peer, timeout_s: float) -> Answer:
    from dicom_node.stow.probe import probe

    try:
        ms, status = probe(peer, timeout_s=timeout_s)
    except NodeError as error:
        advice = "Check the URL, the certificate and the token."
        return Answer(ok=False, trouble=Trouble.SERVICE, why=str(error), advice=advice)
    return Answer(ok=status < 500, ms=ms, why="" if status < 500 else f"the service answered {status}")


def _edit(edit: PeerEdit) -> Edit:
    match edit:
        case AddPeer():
            return adding(edit.values)
        case ChangePeer():
            return changing(edit.name, edit.changes)
        case RemovePeer():
            return removing(edit.name)
        case RestoreVersion():
            return restoring(edit.version)


@contextmanager
def _told() -> Iterator[None]:
    """The file's errors in the words of the use case."""
    try:
        yield
    except EditConflict as error:
        raise PeersChanged(str(error)) from None
    except UnknownPeer as error:
        raise NoSuchPeer(str(error), **_where(error)) from None
    except ConfigError as error:
        kind: Callable[..., EditRefused] = NoSuchPeer if error.key == "version" else EditRefused
        raise kind(str(error), **_where(error)) from None


def _where(error: ConfigError) -> dict[str, Any]:
    return {"key": error.key, "value": error.value, "source": error.source}
