"""`cspine-node deliveries` on a store with something in it: what waits, for whom, why, and starting it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.load import load_settings
from dicom_node.bootstrap import open_store
from dicom_node.core.delivery_terms import OwnTerms
from dicom_node.core.errors import PeerRefused
from tests.builders.commands import cspine_node
from tests.unit.app.node import Node, analysed, pacs, silenced


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "node.toml"
    file.write_text("[node]\ndata_dir = 'var'\n")
    return file


@pytest.fixture
def node(config: Path) -> Iterator[Node]:
    """Two results for a PACS that is away, one of them positive, in the store of `config`."""
    store = open_store(load_settings(config).settings)
    with silenced():
        commits = OwnTerms(storage_commitment=True)
        node = Node(config.parent, peers=(pacs(delivery=commits),), database=store.database)
        node.pacs.away = {"pacs"}
        for study, probability in (("1.2.1", 0.1), ("1.2.2", 0.9)):
            node.receive_study(1, study=study)
            node.clock.advance(31)
            node.closing.tick()
            node.analyzer.script = [analysed(study, probability)]
            node.analysis.step()
        for _ in range(4):
            node.delivery.step()
            node.clock.advance(100)
        yield node
    store.close()


def command(config: Path, *words: str) -> object:
    return cspine_node("deliveries", *words, "--config", config)


def test_a_receiver_that_could_not_be_reached_is_shown_and_reset_by_hand(node: Node, config: Path) -> None:
    shown = command(config, "receivers")
    assert "open" in shown.out
    assert "PeerUnreachable: pacs does not take a TCP connection" in shown.out
    (receiver,) = command(config, "receivers", "--json").json
    assert (receiver["state"], receiver["waiting"], receiver["failures"]) == ("open", 2, 4)
    assert command(config, "reset", "pacs").out == "pacs is tried again at once\n"
    node.pacs.away = set()
    assert node.delivery.step() is True
    again = command(config, "reset", "pacs")
    assert (again.status, again.err) == (
        1,
        "cspine-node: nothing keeps results from pacs: it was reached when it was last tried\n",
    )


def test_everything_that_failed_at_one_receiver_is_sent_again(node: Node, config: Path) -> None:
    node.pacs.away = set()
    node.pacs.failures = [PeerRefused("calling AE title"), PeerRefused("calling AE title")]
    node.clock.advance(1000)
    while node.delivery.step():
        pass
    assert command(config, "retry", "--peer", "other").status == 1
    ran = command(config, "retry", "--peer", "pacs")
    assert ran.out == "delivery 1 to pacs is PENDING\ndelivery 2 to pacs is PENDING\n"
    while node.delivery.step():
        pass
    assert [each["state"] for each in command(config, "list", "--json").json] == ["COMMIT_WAIT", "COMMIT_WAIT"]


def test_a_delivery_is_given_up_and_only_sent_again_while_its_files_are_there(node: Node, config: Path) -> None:
    assert command(config, "cancel", "1").out == "delivery 1 to pacs is CANCELLED\n"
    again = command(config, "cancel", "1")
    assert (again.status, "there is nothing to cancel" in again.err) == (1, True)
    assert "files of delivery 1 are gone" in command(config, "send-again", "1").err
    for entry in node.deliveries("1.2.1")[0].objects:
        entry.file.parent.mkdir(parents=True, exist_ok=True)
        entry.file.write_bytes(b"")
    assert command(config, "send-again", "1", "--json").json["round"] == 2
    listed = command(config, "list", "--state", "CANCELLED", "--limit", "1", "--json").json
    assert [each["id"] for each in listed] == [1]


@pytest.mark.parametrize("words", [("retry",), ("retry", "1", "--peer", "pacs")])
def test_a_retry_is_of_one_delivery_or_of_one_receiver(config: Path, words: tuple[str, ...]) -> None:
    ran = command(config, *words)
    assert ran.status == 2
    assert "give the number of a delivery, or --peer" in ran.err


def test_a_delivery_shows_its_urgency_and_what_its_peer_said_about_keeping_it(node: Node, config: Path) -> None:
    node.pacs.away = set()
    node.clock.advance(1000)
    assert node.delivery.step() is True
    shown = command(config, "show", "2").out
    assert "attempt 5; urgent" in shown
    assert "asked to commit at" in shown
    assert "no report yet" in shown
    node.reports(node.pacs.keeps_all(), calling_aet="PACS")
    assert "2 kept, 0 not" in command(config, "show", "2").out
    (commitment,) = command(config, "show", "2", "--json").json["commitments"]
    assert len(commitment["committed"]) == 2


def test_what_scanners_asked_is_shown(node: Node, config: Path) -> None:
    assert "nobody has asked" in command(config, "commitments").out
    node.duties.take_on("2.25.7", (), calling_aet="SCANNER", peer="scanner")
    assert command(config, "commitments", "--json").json[0]["peer"] == "scanner"
    assert "scanner" in command(config, "commitments").out
