"""A node whose peers stand in a file that its pages change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from config.settings import NodeTlsSettings
from config.watch import LivePeers
from dicom_node.app.audited import AuditedPeers
from dicom_node.app.manage_peers import ManagePeers, RecordChanges
from dicom_node.bootstrap.peers import FilePeerBook, editor_of
from dicom_node.bootstrap.store import ConfiguredPeers
from dicom_node.core.account import Role
from dicom_node.core.audit import AuditEvent
from dicom_node.core.peer import Peer
from dicom_node.core.peer_test import Answer, OfferedClass, OfferedContext, PeerTest, Trouble, judged
from dicom_node.core.result_classes import kinds_by_class
from tests.unit.app.node import Node
from tests.unit.config.builders import TWO_PEERS, written
from tests.unit.web.builders import accounts, app, web


class PeerFile:
    """The file, the use case on it, and browsers and scripts of any role. Peers answer at port 104 alone."""

    def __init__(self, root: Path, text: str = TWO_PEERS, *, node: Node | None = None) -> None:
        self.node = node or Node(root)
        self.file = written(root, text)
        self.editor = editor_of(self.file, root / "var", self.node.clock)
        self.events: list[AuditEvent] = []
        self.tried: list[Peer] = []
        self.live = LivePeers(self.file, on_accepted=self.editor.note_hand_edit)
        self.editor.note_hand_edit()
        book = FilePeerBook(self.editor, NodeTlsSettings())
        record = RecordChanges(book, audit=self, ae_title="US", source=str(self.file)).record_new
        configured = ConfiguredPeers.following(self.live, NodeTlsSettings())
        self.peers = AuditedPeers(
            configured, audit=self, clock=self.node.clock, ae_title="US", source="", record_edits=record
        )
        self.manage = ManagePeers(book=book, try_peer=self._try, record=record, take_up=self.peers.peers)

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    @property
    def sources(self) -> dict[str, Any]:
        return {"peers": self.peers, "manage_peers": self.manage, "peers_problem": lambda: self.live.problem}

    def browser(self, role: Role | None = Role.ADMIN) -> Browser:
        return Browser(web(self.node, role, **self.sources))

    def script(self, role: Role = Role.ADMIN) -> TestClient:
        name = f"robot-{role.value}"
        if not any(account.name == name for account in accounts(self.node).list()):
            accounts(self.node).add(name, role, "", actor="a test")
        _, token = accounts(self.node).add_token(name, role=role, label="", days=1, actor="a test")
        client = TestClient(app(self.node, **self.sources), raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    def _try(self, peer: Peer) -> PeerTest:
        self.tried.append(peer)
        if peer.port != 104:
            refused = Answer(ok=False, trouble=Trouble.REFUSED, why="nobody is at home", advice="Check the port.")
            return PeerTest(peer=peer.name, echo=refused)
        classes = tuple(
            OfferedClass(
                uid=entry.uid,
                name=entry.name,
                kinds=kinds,
                wanted=tuple(kind for kind in kinds if kind in peer.objects.kinds),
                contexts=tuple(
                    OfferedContext(
                        sop_class_uid=entry.uid, transfer_syntax_uid=syntax, accepted="SR" not in entry.name, why="no"
                    )
                    for syntax in entry.transfer_syntaxes
                ),
            )
            for entry, kinds in kinds_by_class().items()
        )
        found = judged(peer, classes)
        good = Answer(ok=True, ms=12.0)
        return PeerTest(
            peer=peer.name, echo=good, offer=good, classes=classes, missing=found.missing, instead=found.instead
        )


class Browser:
    """Opens pages and sends their forms, as they are or with some fields filled in otherwise."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        client.follow_redirects = False
        self.page = ""

    def open(self, path: str) -> str:
        self.answer = self.client.get(path)
        self.page = self.answer.text
        return self.page

    def send(self, action: str, **changes: str | None) -> Any:
        """The form of the page with this action; None leaves a field (a tick) out."""
        (form,) = re.findall(
            rf'<form[^>]*method="post" action="{re.escape(action)}"[^>]*>(.*?)</form>', self.page, re.S
        )
        fields = _fields(form)
        for name, value in changes.items():
            fields.pop(name, None)
            if value is not None:
                fields[name] = value
        self.answer = self.client.post(action, data=fields, headers={"Origin": "http://testserver"})
        self.page = self.answer.text
        return self.answer


def _fields(form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name = re.search(r'name="([^"]*)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name and ('type="checkbox"' not in tag or " checked" in tag):
            found[name[1]] = _plain(value[1]) if value else "on"
    for name, text in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>(.*?)</textarea>', form, re.S):
        found[name] = _plain(text)
    return found


def _plain(text: str) -> str:
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text
