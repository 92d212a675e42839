"""Peers follow the file while the node runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.watch import LivePeers
from tests.unit.config.builders import TWO_PEERS, written


def test_a_hand_edit_shows_at_the_next_call(tmp_path: Path) -> None:
    file = written(tmp_path, TWO_PEERS)
    live = LivePeers(file)
    assert [peer.name for peer in live.peers()] == ["pacs", "ct1"]
    written(tmp_path, TWO_PEERS.replace("ct1", "ct10"))
    assert live.by_name("ct10") is not None
    assert live.by_name("ct1") is None
    assert live.generation == 1


def test_a_broken_edit_is_refused_as_a_whole_and_the_peers_in_use_stay(tmp_path: Path) -> None:
    file = written(tmp_path, TWO_PEERS)
    live = LivePeers(file)
    written(tmp_path, TWO_PEERS.replace('"CT1"', '"' + "C" * 17 + '"').replace('"pacs"', '"archive"'))
    assert [peer.name for peer in live.peers()] == ["pacs", "ct1"]
    assert "this one has 17" in live.problem
    assert f"{file}:17" in live.problem
    written(tmp_path, TWO_PEERS.replace('"pacs"', '"archive"'))
    assert [peer.name for peer in live.peers()] == ["archive", "ct1"]
    assert live.problem == ""


def test_a_file_that_vanishes_leaves_the_peers_in_use(tmp_path: Path) -> None:
    file = written(tmp_path, TWO_PEERS)
    live = LivePeers(file)
    file.unlink()
    assert len(live.peers()) == 2
    assert "cannot read" in live.problem


def test_a_change_of_another_section_replaces_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, TWO_PEERS)
    live = LivePeers(file)
    written(tmp_path, TWO_PEERS.replace("8081", "18081"))
    assert live.refresh() is False
    assert live.generation == 0


def test_a_file_that_is_wrong_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        LivePeers(written(tmp_path, "[[peers]]\n"))
