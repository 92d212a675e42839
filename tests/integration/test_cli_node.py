"""The program as a process: a node that serves, and the commands beside it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.builders.commands import Ran, cspine_node
from tests.builders.ct import make_ct_series
from tests.peers import NodeProcess, free_port, get_bytes, get_json, sender, wait_for

QUIET_S = 600.0


def own_peer(node: NodeProcess) -> dict[str, object]:
    """The node as a peer of its own commands: `send` and `echo` reach it, and it lets them in."""
    return {"name": "self", "ae_title": node.ae_title, "host": "127.0.0.1", "port": node.port, "may_send": True}


def command(node: NodeProcess, *arguments: str) -> Ran:
    """A command with the node's configuration."""
    return cspine_node(*arguments, "--config", node.config)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    process = NodeProcess(
        folder=tmp_path_factory.mktemp("node"), peers=[sender()], settings={"study": {"quiet_period_s": QUIET_S}}
    )
    text = process.config.read_text()
    peer = "\n".join(f"{key} = {json.dumps(value)}" for key, value in own_peer(process).items())
    process.config.write_text(f"{text}\n[[peers]]\n{peer}\n")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def study(node: NodeProcess, tmp_path: Path) -> str:
    """A study of its own for each test, sent with `send`; it stays open."""
    folder = tmp_path / "ct"
    files = make_ct_series(folder, n=5, seed=str(generate_uid())[-12:])
    (folder / "notes.txt").write_text("no DICOM")
    sent = command(node, "send", str(folder), "self", "--json")
    assert sent.status == 0, sent.err
    assert sent.json["stored"] == 5
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    assert uid in [row["study_instance_uid"] for row in command(node, "studies", "list", "--json").json]
    return uid


def test_echo_reaches_a_peer_and_says_how_long_it_took(node: NodeProcess) -> None:
    answer = command(node, "echo", "self", "--json").json
    assert answer["answered"] is True
    assert answer["elapsed_ms"] > 0
    assert command(node, "peers", "test", "self").status == 0


def test_echo_of_a_peer_that_is_away_is_status_1_and_one_line(node: NodeProcess) -> None:
    ran = command(node, "echo", "scanner")
    assert ran.status == 1
    assert len(ran.err.splitlines()) == 1
    assert "scanner" in ran.err


def test_commands_and_pages_show_the_same_study(node: NodeProcess, study: str) -> None:
    shown = command(node, "studies", "show", study, "--json").json
    assert (shown["status"], shown["instance_count"]) == ("RECEIVING", 5)
    assert node.json(f"/api/v1/studies/{study}") == shown
    assert study in node.page(f"/studies/{study}")
    metrics = get_bytes(f"{node.url}/metrics").decode()
    counted = re.search(r'cspine_instances_received_total\{calling_aet="CSPINE_AI"\} (\d+)', metrics)
    assert counted is not None
    assert int(counted[1]) >= 5
    assert get_json(f"{node.url}/healthz")["healthy"] is True


def test_the_first_account_has_a_link_where_the_node_was_started_and_nobody_else_sees_a_study(
    node: NodeProcess, study: str
) -> None:
    assert f"{node.url}/setup?code=" in node.log()
    assert "Log in" in get_bytes(f"{node.url}/studies/{study}").decode()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get_bytes(f"{node.url}/api/v1/studies/{study}")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get_bytes(f"{node.url}/api/v1/studies/{study}", token=node.token + "x")


def test_files_and_rows_agree_until_one_is_damaged(node: NodeProcess, study: str) -> None:
    ran = command(node, "doctor", "--deep", "--json")
    assert ran.json["complaints"] == []
    assert ran.json["instances"] >= 5
    file = sorted((node.folder / "var").rglob("*.dcm"))[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = command(node, "doctor", "--deep", "--json")
    file.unlink()
    missing = command(node, "doctor", "--json")
    file.write_bytes(whole)
    assert (damaged.status, missing.status) == (1, 1)
    assert [c["what"] for c in damaged.json["complaints"]] == ["damaged"]
    assert [c["what"] for c in missing.json["complaints"]] == ["missing"]


def test_a_peer_added_beside_the_running_node_is_let_in_without_a_restart(node: NodeProcess) -> None:
    ran = command(
        node, "peers", "add", "new", "--ae-title", "NEWCOMER", "--host", "127.0.0.1", "--port", "104", "--may-send"
    )
    assert ran.status == 0, ran.err
    names = {peer["name"] for peer in node.json("/api/v1/peers")["peers"]}
    assert names == {"scanner", "self", "new"}


def test_a_broken_hand_edit_leaves_the_peers_and_shows_its_line(node: NodeProcess) -> None:
    good = node.config.read_text()
    assert node.token, "made while the file can be read"
    node.config.write_text(good.replace('"SCANNER"', '"SCANNER_OF_THE_EMERGENCY_ROOM"'))
    answer = node.json("/api/v1/peers")
    node.config.write_text(good)
    assert "at most" in answer["problem"] or "16 characters" in answer["problem"]
    assert f"{node.config}:" in answer["problem"]
    assert "SCANNER" in {peer["ae_title"] for peer in answer["peers"]}
    assert node.json("/api/v1/peers")["problem"] == ""


def test_a_second_node_on_the_same_port_is_refused_with_the_key_and_its_line(node: NodeProcess) -> None:
    ran = command(node, "serve")
    assert ran.status == 2
    assert f"node.port = {node.port} ({node.config}:" in ran.err
    assert "in use" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_operator_closes_a_study(node: NodeProcess, study: str) -> None:
    assert command(node, "studies", "close", study, "--reason", "all there").status == 0
    shown = command(node, "studies", "show", study, "--json").json
    assert shown["state"] == "CLOSED"
    assert "all there" in shown["close_reason"]
    assert command(node, "studies", "close", study).status == 1


def test_sigterm_ends_a_node_cleanly(tmp_path: Path) -> None:
    process = NodeProcess(folder=tmp_path, peers=[sender()]).start()
    assert process.stop() == 0
    assert "node_stopped" in process.log()
    assert "Traceback" not in process.log()


def test_check_is_red_where_nothing_answers_and_names_it(tmp_path: Path) -> None:
    away = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port(), "receives_results": True}
    process = NodeProcess(folder=tmp_path, peers=[sender(), away])
    ran = command(process, "check", "--json")
    checks = {check["name"]: check for check in ran.json["checks"]}
    assert ran.status == 1
    assert checks["peer pacs"]["ok"] is False
    assert checks["database"]["ok"] is True
    assert checks["receiver port"]["ok"] is True


def test_no_page_of_the_node_is_reached_from_a_foreign_host_name(node: NodeProcess) -> None:
    ran = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: rebound.example", f"{node.url}/"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert ran.stdout == "400"


def test_the_log_of_a_life_names_no_patient(node: NodeProcess, study: str) -> None:
    wait_for("the log", lambda: "association_accepted" in node.log())
    assert "Doe" not in node.log()
