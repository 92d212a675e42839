"""The flow around an edit: shown first, in words, with every earlier text at hand; odd texts and hand edits."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.editing import BY_HAND, EditConflict, PeerEditor, digest, list_peers
from config.edits import adding, changing, removing, restoring
from config.errors import ConfigError
from config.history import LAST_GOOD
from config.peer_changes import changes_in_words
from config.peer_fields import GROUPS, peer_fields
from config.receivers import PeerSettings
from config.watch import LivePeers
from tests.unit.config.builders import TWO_PEERS, written
from tests.unit.config.test_editing import NEW, editor

OVER_LINES = TWO_PEERS.replace(
    'host = "10.0.0.2"\n',
    'host = "10.0.0.2"\naddresses = [\n  "10.1.0.0/16",  # the floor\n  # and the trailer\n  "10.2.0.0/16",\n]\n',
)


def test_a_preview_shows_the_diff_and_writes_nothing(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    shown = edit.preview(changing("pacs", {"port": 4242}))
    assert "-port = 104" in shown.diff
    assert "+port = 4242" in shown.diff
    assert (shown.words, shown.version) == (("pacs: port 104 → 4242",), "")
    assert edit.file.read_text() == TWO_PEERS
    assert [path.name for path in tmp_path.iterdir()] == ["node.toml"]
    done = edit.apply(changing("pacs", {"port": 4242}), who="anna", expected=shown.base)
    assert (done.diff, done.digest) == (shown.diff, shown.digest)


def test_a_preview_of_a_text_that_has_changed_is_a_conflict(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    seen = digest(edit.file)
    edit.apply(removing("ct1"), who="ben")
    with pytest.raises(EditConflict):
        edit.preview(changing("pacs", {"port": 1}), expected=seen)
    since = edit.diff_since(seen)
    assert since is not None
    assert '-name = "ct1"' in since
    assert edit.diff_since("nobody's") is None


def test_an_ae_title_is_written_without_its_insignificant_spaces(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.apply(changing("pacs", {"ae_title": "  ARCHIVE "}), who="anna")
    assert 'ae_title = "ARCHIVE"  ' in edit.file.read_text()


@pytest.mark.parametrize("title", ["A" * 17, "", "   ", "A\\B", "A\tB", "A\x7f", "Ä", "A\nB"])
def test_what_is_no_ae_title_is_refused_whichever_way_it_comes(tmp_path: Path, title: str) -> None:
    edit = editor(tmp_path)
    for change in (changing("pacs", {"ae_title": title}), adding({**NEW, "ae_title": title})):
        with pytest.raises(ConfigError) as refused:
            edit.apply(change, who="anna")
        assert refused.value.key.endswith(".ae_title")
    assert edit.file.read_text() == TWO_PEERS


@pytest.mark.parametrize("host", ["10.0.0.256", "10.0.0.1:104", "a b", "-a.example", "a..b", "x" * 64, "http://a"])
def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        editor(tmp_path).apply(changing("pacs", {"host": host}), who="anna")
    assert refused.value.key == "peers[0].host"


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "pacs_2.example.", "röntgen.example", "ct"])
def test_addresses_and_names_of_every_kind_are_hosts(tmp_path: Path, host: str) -> None:
    edit = editor(tmp_path)
    edit.apply(changing("pacs", {"host": host}), who="anna")
    assert list_peers(edit.file)[0].host == host


def test_a_key_that_is_taken_out_has_its_default_again(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.apply(changing("pacs", {"may_send": None, "receives_results": True}), who="anna")
    assert edit.file.read_text() == TWO_PEERS.replace("may_send = true\nreceives", "receives", 1)


def test_a_list_over_several_lines_is_changed_whole_and_its_comments_stay(tmp_path: Path) -> None:
    edit = editor(tmp_path, OVER_LINES)
    edit.apply(changing("ct1", {"addresses": ["10.3.0.0/16"], "enabled": False}), who="anna")
    text = edit.file.read_text()
    assert '# the floor\n# and the trailer\naddresses = ["10.3.0.0/16"]\n' in text
    assert list_peers(edit.file)[1].addresses == ("10.3.0.0/16",)


def test_a_key_is_added_behind_a_list_over_several_lines(tmp_path: Path) -> None:
    edit = editor(tmp_path, OVER_LINES.replace("port = 104\nmay_send = true\n\n# what", "\n# what"))
    with pytest.raises(ConfigError):
        list_peers(edit.file)
    edit = editor(tmp_path, TWO_PEERS.replace('"10.0.0.2"', '"10.0.0.2"\naddresses = ["10.1.0.0/16",\n]'))
    edit.apply(changing("ct1", {"receives_results": True}), who="anna")
    assert list_peers(edit.file)[1].receives_results is True


def test_peers_in_one_line_are_left_to_the_hand(tmp_path: Path) -> None:
    text = 'peers = [{ name = "a", ae_title = "A", host = "h", port = 104 }]\n'
    edit = editor(tmp_path, text)
    for change in (changing("a", {"port": 105}), removing("a"), adding(NEW)):
        with pytest.raises(ConfigError):
            edit.apply(change, who="anna")
    assert edit.file.read_text() == text


def test_the_ends_of_the_lines_stay_what_they_were(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.file.write_bytes(TWO_PEERS.replace("\n", "\r\n").encode())
    edit.apply(changing("pacs", {"port": 105}), who="anna")
    assert edit.file.read_bytes() == TWO_PEERS.replace("port = 104", "port = 105", 1).replace("\n", "\r\n").encode()


def test_a_hand_edit_is_a_version_once_a_writer_meets_it(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.note_hand_edit()
    assert edit.history() == ()
    by_hand = TWO_PEERS.replace("ct1", "ct10")
    edit.file.write_text(by_hand)
    edit.apply(changing("pacs", {"port": 5}), who="anna")
    page, hand = edit.history()
    assert (page.action, hand.action) == ("edit pacs", BY_HAND)
    assert hand.words == ("ct1: renamed to ct10",)
    assert '-name = "ct1"' in edit.diff_of(hand.id)
    assert "+port = 5" in edit.diff_of(page.id)
    edit.apply(restoring(hand.id), who="anna")
    assert edit.file.read_text() == TWO_PEERS


def test_a_hand_edit_is_a_version_as_soon_as_the_running_node_takes_it_up(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.note_hand_edit()
    live = LivePeers(edit.file, on_accepted=edit.note_hand_edit)
    edit.file.write_text(TWO_PEERS.replace("ct1", "ct10"))
    live.peers()
    edit.file.write_text("[[peers")
    live.peers()
    edit.file.write_text(TWO_PEERS.replace("ct1", "ct100"))
    live.peers()
    live.peers()
    assert [version.action for version in edit.history()] == [BY_HAND, BY_HAND]
    assert [version.id for version in edit.kept.untold()] == [version.id for version in reversed(edit.history())]


def test_our_own_edit_is_no_hand_edit(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    live = LivePeers(edit.file, on_accepted=edit.note_hand_edit)
    edit.apply(changing("pacs", {"port": 5}), who="anna")
    assert live.peers()[0].port == 5
    edit.note_hand_edit()
    assert [version.action for version in edit.history()] == ["edit pacs"]


def test_a_broken_file_is_brought_back_to_what_was_right_last(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.note_hand_edit()
    edit.file.write_text("[[peers")
    with pytest.raises(ConfigError, match=r"node.toml:1\)"):
        edit.apply(changing("pacs", {"port": 5}), who="anna")
    assert edit.preview(restoring(LAST_GOOD)).words == ("the file was broken and is right again",)
    edit.apply(restoring(LAST_GOOD), who="anna")
    assert edit.file.read_text() == TWO_PEERS
    assert edit.text_of(edit.history()[0].id) == "[[peers"


def test_a_version_that_was_broken_itself_is_not_brought_back(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.note_hand_edit()
    edit.file.write_text("[[peers")
    broken = edit.apply(restoring(LAST_GOOD), who="anna").version
    with pytest.raises(ConfigError, match="not valid TOML"):
        edit.apply(restoring(broken), who="anna")
    assert edit.file.read_text() == TWO_PEERS


def test_what_was_told_is_not_untold_again(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    first = edit.apply(changing("pacs", {"port": 5}), who="anna", address="10.0.0.9").version
    edit.apply(changing("pacs", {"port": 6}), who="ben")
    assert [(version.who, version.address) for version in edit.kept.untold()] == [("anna", "10.0.0.9"), ("ben", "")]
    edit.kept.told(first)
    assert [version.who for version in edit.kept.untold()] == ["ben"]


def test_versions_of_one_moment_are_both_kept(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    frozen = PeerEditor(file=edit.file, history_dir=edit.history_dir, now=lambda: edit.now().replace(second=0))
    for port in (5, 6):
        frozen.apply(changing("pacs", {"port": port}), who="anna")
    assert len(frozen.history()) == 2


def test_words_say_what_became_of_which_peer() -> None:
    def peer(name: str, **more: object) -> PeerSettings:
        plain = {"name": name, "ae_title": name.upper(), "host": "h", "port": 104}
        return PeerSettings.model_validate(plain | more)

    assert changes_in_words((peer("a"),), (peer("a", enabled=False, addresses=("10.0.0.1",)),)) == (
        "a: addresses [] → [10.0.0.1], enabled yes → no",
    )
    assert changes_in_words((peer("a"),), (peer("b", ae_title="A"),)) == ("a: renamed to b",)
    assert changes_in_words((peer("a"),), (peer("b"),)) == ("a: removed (A at h:104)", "b: added (B at h:104)")
    assert changes_in_words((peer("a"), peer("b")), (peer("b"), peer("a"))) == ("the order of the peers",)
    assert changes_in_words((peer("a"),), (peer("a"),)) == ()


def test_every_key_of_a_peer_is_described_once_in_a_group() -> None:
    names = [field.name for field in peer_fields()]
    assert sorted(names) == sorted(PeerSettings.model_fields)
    assert [group for group, _ in GROUPS] == list(dict.fromkeys(field.group for field in peer_fields()))[:-1]
    described = {field.name: field for field in peer_fields()}
    assert (described["port"].kind, described["backoff_jitter"].kind) == ("whole", "number")
    assert described["objects"].choices[:2] == ("auto", "SEG")
    assert described["ae_title"].longest == 16


def test_a_file_that_cannot_be_locked_is_an_error_with_its_name(tmp_path: Path) -> None:
    edit = PeerEditor(file=tmp_path / "nowhere" / "node.toml", history_dir=tmp_path, now=editor(tmp_path).now)
    with pytest.raises(ConfigError, match="nowhere"):
        edit.apply(removing("pacs"), who="anna")


def test_a_text_written_by_hand_that_is_wrong_is_no_version(tmp_path: Path) -> None:
    edit = editor(tmp_path)
    edit.note_hand_edit()
    written(tmp_path, TWO_PEERS.replace('"CT1"', '"' + "C" * 17 + '"'))
    edit.note_hand_edit()
    assert edit.history() == ()
