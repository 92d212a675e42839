"""A change of the peers while an association is open: it goes on storing, and the next one meets the new peers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from config.editing import PeerEditor
from config.edits import adding, changing, removing, restoring
from config.settings import NodeTlsSettings
from config.watch import LivePeers
from dicom_node.bootstrap.peers import editor_of
from dicom_node.bootstrap.store import ConfiguredPeers
from tests.builders.stock_scu import keeping_answers
from tests.integration.dimse_support import OWN_AET, Clock, Node, instance, running_node
from tests.unit.config.builders import written

TEXT = """[[peers]]
name = "scanner"
ae_title = "SCANNER"
host = "127.0.0.1"
port = 104
may_send = true
"""
NEW = {"name": "new", "ae_title": "NEWCOMER", "host": "127.0.0.1", "port": 104, "may_send": True}


class Stand:
    """A receiver that follows a file, and the file's writer."""

    def __init__(self, node: Node, editor: PeerEditor, live: LivePeers) -> None:
        self.node, self.editor, self.live = node, editor, live

    def associate(self, calling: str):
        entity = AE(calling)
        entity.add_requested_context(CTImageStorage)
        return keeping_answers(entity.associate("127.0.0.1", self.node.port, ae_title=OWN_AET))


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    file = written(tmp_path, TEXT)
    editor = editor_of(file, tmp_path / "var", Clock())
    live = LivePeers(file, on_accepted=editor.note_hand_edit)
    configured = ConfiguredPeers.following(live, NodeTlsSettings())
    with running_node() as node:
        node.directory.peers = configured.peers  # type: ignore[method-assign]
        yield Stand(node, editor, live)


def test_an_open_association_goes_on_storing_while_peers_are_added_edited_removed_and_the_file_is_broken(
    stand: Stand,
) -> None:
    association = stand.associate("SCANNER")
    assert association.is_established
    version = ""
    for number, edit in enumerate(
        (
            adding(NEW),
            changing("scanner", {"port": 105, "receives_results": True}),
            changing("scanner", {"name": "renamed"}),
            removing("new"),
        )
    ):
        version = stand.editor.apply(edit, who="a test").version or version
        assert association.send_c_store(instance(number)).Status == 0x0000
    stand.editor.file.write_text("[[peers")
    assert association.send_c_store(instance(4)).Status == 0x0000
    stand.editor.apply(restoring(version), who="a test")
    assert association.send_c_store(instance(5)).Status == 0x0000
    association.release()
    assert len(stand.node.receiving.instances) == 6


def test_who_may_no_longer_send_is_told_so_and_keeps_the_association(stand: Stand) -> None:
    association = stand.associate("SCANNER")
    version = stand.editor.apply(removing("scanner"), who="a test").version
    assert association.send_c_store(instance(1)).Status == 0x0124
    assert association.is_established
    stand.editor.apply(restoring(version), who="a test")
    assert association.send_c_store(instance(1)).Status == 0x0000
    association.release()


def test_the_next_association_meets_the_new_peers_and_a_broken_file_changes_nothing(stand: Stand) -> None:
    assert not stand.associate("NEWCOMER").is_established
    version = stand.editor.apply(adding(NEW), who="a test").version
    for text in (None, "[[peers", TEXT.replace("SCANNER", "SCANNER_OF_THE_EMERGENCY_ROOM")):
        if text is not None:
            stand.editor.file.write_text(text)
        newcomer = stand.associate("NEWCOMER")
        assert newcomer.is_established
        newcomer.release()
    assert "16 characters" in stand.live.problem
    stand.editor.apply(restoring(version), who="a test")
    assert not stand.associate("NEWCOMER").is_established
    assert stand.live.problem == ""
