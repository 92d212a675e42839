"""Editing peers: comments kept, wrong edits refused, every version kept."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.editing import EditConflict, PeerEditor, digest, list_peers
from config.edits import UnknownPeer, adding, changing, removing, restoring
from config.errors import ConfigError
from tests.unit.config.builders import TWO_PEERS, written

NEW = {"name": "view", "ae_title": "VIEWER", "host": "10.0.0.3", "port": 4006, "receives_results": True}


def editor(tmp_path: Path, text: str = TWO_PEERS) -> PeerEditor:
    ticks = iter(range(1000))
    return PeerEditor(
        file=written(tmp_path, text),
        history_dir=tmp_path / "history",
        now=lambda: datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=next(ticks)),
    )


def test_an_added_peer_stands_behind_the_others_and_every_other_line_stays(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    change = edit.apply(adding(NEW), who="anna")
    text = edit.file.read_text()
    assert [peer.name for peer in list_peers(edit.file)] == ["pacs", "ct1", "view"]
    assert [line for line in text.splitlines() if line] == [
        line
        for line in (
            TWO_PEERS.partition("# what follows")[0]
            + '[[peers]]\nname = "view"\nae_title = "VIEWER"\nhost = "10.0.0.3"\nport = 4006\nreceives_results = true\n'
            + "# what follows"
            + TWO_PEERS.partition("# what follows")[2]
        ).splitlines()
        if line
    ]
    assert "+name = " in change.diff
    assert not [line for line in change.diff.splitlines() if line.startswith("-") and not line.startswith("---")]


@pytest.mark.parametrize("text", ["", "[node]\nport = 1\n", "peers = []\n[node]\nport = 1\n"])
def test_a_first_peer_can_be_added_to_any_file(tmp_path: Path, text: str) -> None:
    edit = editor(tmp_path, text)
    edit.apply(adding(NEW), who="anna")
    assert [peer.name for peer in list_peers(edit.file)] == ["view"]


def test_an_edit_changes_its_line_and_keeps_the_comment_on_it(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.apply(changing("pacs", {"ae_title": "ARCHIVE", "enabled": False}), who="anna")
    expected = TWO_PEERS.replace('ae_title = "PACS"      #', 'ae_title = "ARCHIVE"      #').replace(
        "receives_results = true\n", "receives_results = true\nenabled = false\n"
    )
    assert edit.file.read_text() == expected


def test_a_removed_peer_takes_its_own_comment_along_and_no_other(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.apply(removing("pacs"), who="anna")
    text = edit.file.read_text()
    assert "ask Anna" not in text
    assert "the scanner in the emergency room" in text
    assert "what follows is for later" in text
    assert [peer.name for peer in list_peers(edit.file)] == ["ct1"]


@pytest.mark.parametrize(
    "changes", [{"ae_title": "A" * 17}, {"port": 0}, {"name": "ct1"}, {"port": "104"}, {"colour": "red"}]
)
def test_an_edit_that_would_break_the_file_is_refused_and_leaves_no_trace(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    edit = editor(tmp_path)
    with pytest.raises(ConfigError):
        edit.apply(changing("pacs", changes), who="anna")  # type: ignore[arg-type]
    assert edit.file.read_text() == TWO_PEERS
    assert edit.history() == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["node.toml"]


def test_a_peer_written_inside_a_multi_line_string_fools_nobody(tmp_path: Path) -> None:
    text = '[database]\nurl = """\n[[peers]]\nport = 1\n"""\n' + TWO_PEERS
    edit = editor(tmp_path, text)
    with pytest.raises(ConfigError):
        edit.apply(changing("ct1", {"port": 105}), who="anna")
    assert edit.file.read_text() == text


def test_an_unknown_peer_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownPeer, match="pacs, ct1"):
        editor(tmp_path).apply(removing("nobody"), who="anna")


def test_each_replaced_version_is_kept_with_who_and_when_and_can_be_brought_back(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.apply(changing("pacs", {"port": 4242}), who="anna")
    edit.apply(removing("ct1"), who="ben")
    newest, oldest = edit.history()
    assert (newest.who, newest.action, oldest.who, oldest.action) == ("ben", "remove ct1", "anna", "edit pacs")
    assert oldest.at == "2030-01-01T00:00:00+00:00"
    edit.apply(restoring(oldest.id), who="cleo")
    assert edit.file.read_text() == TWO_PEERS
    assert edit.history()[0].action == f"rollback {oldest.id}"
    edit.apply(restoring(edit.history()[0].id), who="cleo")
    assert [peer.port for peer in list_peers(edit.file)] == [4242]


def test_a_file_broken_by_hand_can_be_rolled_back(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    version = edit.apply(changing("pacs", {"port": 4242}), who="anna").version
    edit.file.write_text("[[peers")
    edit.apply(restoring(version), who="anna")
    assert edit.file.read_text() == TWO_PEERS


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such version"):
        editor(tmp_path).apply(restoring("../../etc/passwd"), who="anna")


def test_the_second_of_two_administrators_sees_the_first_ones_change_before_overwriting(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    seen = digest(edit.file)
    first = edit.apply(changing("pacs", {"port": 4242}), who="anna", expected=seen)
    with pytest.raises(EditConflict):
        edit.apply(changing("pacs", {"port": 4343}), who="ben", expected=seen)
    edit.apply(changing("pacs", {"port": 4343}), who="ben", expected=first.digest)


def test_an_edit_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    change = edit.apply(changing("pacs", {"port": 104}), who="anna")
    assert (change.diff, change.version, edit.history()) == ("", "", ())


def test_the_files_mode_and_a_link_to_it_survive_an_edit(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    os.chmod(edit.file, 0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(edit.file)
    PeerEditor(file=link, history_dir=edit.history_dir, now=edit.now).apply(changing("pacs", {"port": 5}), who="anna")
    assert link.is_symlink()
    assert edit.file.stat().st_mode & 0o777 == 0o640
    assert list_peers(edit.file)[0].port == 5
