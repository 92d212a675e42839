"""The commands as a user meets them: answers, exit status, errors in one line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from config.editing import list_peers
from config.load import load_settings
from dicom_node.bootstrap.store import open_store
from dicom_node.cli.main import app
from dicom_node.cli.output import program
from dicom_node.core.finding import ResultKind
from storage.schema import HEAD
from tests.builders.commands import cspine_node
from tests.unit.app.node import Node, silenced
from tests.unit.config.builders import TWO_PEERS, written


@pytest.fixture(autouse=True)
def no_configuration_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSPINE_NODE_CONFIG", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, TWO_PEERS)


def commands() -> list[tuple[str, ...]]:
    """Every command of the program as words."""
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    plain = [(_name(command),) for command in app.registered_commands]
    nested = [(name, _name(command)) for name, inner in groups.items() for command in inner.registered_commands]
    return [*plain, *nested]


def _name(command) -> str:
    return command.name or command.callback.__name__


def test_the_contract_s_commands_are_all_there() -> None:
    names = {" ".join(words) for words in commands()}
    wanted = (
        "serve analyse phantom check echo send demo doctor migrate conformance train evaluate submission"
        " peers:list peers:add peers:edit peers:remove peers:test peers:history peers:rollback"
        " studies:list studies:show studies:close studies:retry studies:records"
        " deliveries:list deliveries:show deliveries:retry bundle:inspect"
        " prepare metadata export-images"
    )
    assert {word.replace(":", " ") for word in wanted.split()} <= names


@pytest.mark.parametrize("words", [words for words in commands() if words[0] not in ("train", "evaluate")])
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    ran = cspine_node(*words, "--help")
    assert ran.status == 0
    assert ran.err == ""
    assert "Usage: cspine-node " + " ".join(words) in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["peers", "add", "x"],
        ["peers", "edit", "pacs"],
        ["studies", "list", "--limit", "many"],
        ["studies", "list", "--status", "LOST"],
        ["analyse", "/nowhere/at/all", "--out", "x"],
        ["phantom", "x", "--studies", "3"],
        ["phantom", "x", "--layout", "rsna", "--tilt", "5"],
        ["phantom", "x", "--kernel", "steel"],
        ["phantom", "x", "--slices", "4", "--missing-slices", "3"],
        ["serve", "--config", "/nowhere/node.toml"],
    ],
)
def test_wrong_usage_is_status_2_and_one_line(arguments: list[str]) -> None:
    ran = cspine_node(*arguments)
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("cspine-node: ")
    assert len(ran.err.splitlines()) == 1


def test_no_command_at_all_shows_the_help_and_is_wrong_usage() -> None:
    ran = cspine_node()
    assert ran.status == 2
    assert "Commands:" in ran.err


def test_a_wrong_configuration_names_key_value_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, "[node]\nae_title = 'LONGER_THAN_SIXTEEN'\n")
    ran = cspine_node("peers", "list", "--config", file)
    assert ran.status == 2
    assert f"node.ae_title = 'LONGER_THAN_SIXTEEN' ({file}:2)" in ran.err


def test_peers_are_listed_for_people_and_for_scripts(config: Path) -> None:
    assert "10.0.0.2" in cspine_node("peers", "list", "--config", config).out
    listed = cspine_node("peers", "list", "--config", config, "--json").json
    shown = {
        "name": "pacs", "ae_title": "PACS", "host": "10.0.0.1", "port": 104, "may_send": True,
        "receives_results": True, "enabled": True, "objects": ["auto"], "status_reports": False, "stow_url": "",
    }  # fmt: skip
    assert {key: listed[0][key] for key in shown} == shown


def test_a_peer_is_added_edited_removed_and_every_step_undone(config: Path) -> None:
    where = ("--config", config)
    added = cspine_node(
        "peers",
        "add",
        "view",
        "--ae-title",
        "VIEW",
        "--host",
        "h",
        "--port",
        11,
        "--receives-results",
        "--no-test",
        *where,
    )
    assert added.status == 0
    assert '+name = "view"' in added.out
    edited = cspine_node("peers", "edit", "view", "--port", 12, "--disable", "--rename", "viewer", "--no-test", *where)
    assert edited.status == 0
    viewer = list_peers(config)[2]
    assert (viewer.name, viewer.ae_title, viewer.host, viewer.port) == ("viewer", "VIEW", "h", 12)
    assert (viewer.may_send, viewer.receives_results, viewer.enabled) == (False, True, False)
    assert cspine_node("peers", "remove", "viewer", *where).status == 0
    versions = cspine_node("peers", "history", "--json", *where).json
    assert [version["action"] for version in versions] == ["remove viewer", "edit view", "add view"]
    assert cspine_node("peers", "rollback", versions[-1]["id"], *where).status == 0
    assert config.read_text() == TWO_PEERS


def test_the_objects_of_a_peer_are_edited(config: Path) -> None:
    edit = ("peers", "edit", "pacs", "--no-test", "--config", config)
    assert cspine_node(*edit, "--object", "auto", "--object", "PDF", "--status-reports").status == 0
    pacs = list_peers(config)[0]
    assert (pacs.objects, pacs.status_reports) == (("auto", "PDF"), True)
    assert cspine_node(*edit, "--object", "SR", "--stow-url", "https://cloud.example/dicom-web/").status == 0
    pacs = list_peers(config)[0]
    assert (pacs.objects, pacs.stow_url) == (("SR",), "https://cloud.example/dicom-web")
    add = (
        "peers",
        "add",
        "cloud",
        "--no-test",
        "--stow-url",
        "https://other.example",
        "--stow-token-env",
        "CLOUD_TOKEN",
    )
    assert cspine_node(*add, "--receives-results", "--no-test", "--config", config).status == 0
    cloud = list_peers(config)[2]
    assert (cloud.name, cloud.ae_title, cloud.stow_token_env) == ("cloud", "", "CLOUD_TOKEN")


def test_an_edit_is_shown_before_it_is_made(config: Path) -> None:
    dry = ("--dry-run", "--no-test", "--config", config)
    for arguments in (("edit", "pacs", "--port", 5), ("remove", "ct1"), ("add", "v", "--ae-title", "V", "--host", "h",
                      "--port", 1)):  # fmt: skip
        shown = cspine_node("peers", *arguments, *dry[:1], *(dry[1:] if arguments[0] != "remove" else dry[2:]))
        assert shown.status == 0
        assert "@@" in shown.out
        assert "nothing was written" in shown.out
    assert config.read_text() == TWO_PEERS
    version = cspine_node("peers", "remove", "ct1", "--config", config, "--json").json["version"]
    assert '-name = "ct1"' in cspine_node("peers", "history", version, "--config", config).out
    assert "+name" in cspine_node("peers", "rollback", version, "--dry-run", "--config", config).out


def test_any_key_is_set_and_taken_out(config: Path) -> None:
    edit = ("peers", "edit", "pacs", "--no-test", "--config", config)
    assert cspine_node(*edit, "--set", "attempts=3", "--set", "addresses=10.0.0.0/8, fd00::/8").status == 0
    pacs = list_peers(config)[0]
    assert (pacs.attempts, pacs.addresses) == (3, ("10.0.0.0/8", "fd00::/8"))
    assert cspine_node(*edit, "--unset", "attempts", "--unset", "addresses").status == 0
    assert config.read_text() == TWO_PEERS
    for wrong in ("attempts=many", "colour=red", "attempts"):
        assert cspine_node(*edit, "--set", wrong).status == 2


def test_a_peer_is_tried_before_it_is_trusted_and_says_why_it_failed(config: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        edit = ("peers", "edit", "pacs", "--host", "127.0.0.1", "--port", nobody.getsockname()[1], "--config", config)
        edited = cspine_node(*edit)
        assert edited.status == 0
        assert "C-ECHO: failed (connection refused)" in edited.out
        assert "undo with" in edited.out
        tried = cspine_node("peers", "test", "pacs", "--json", "--config", config)
    assert tried.status == 1
    assert (tried.json["ok"], tried.json["echo"]["trouble"]) == (False, "connection refused")


def test_a_refused_edit_is_status_2_and_changes_nothing(config: Path) -> None:
    for arguments in (
        ("edit", "pacs", "--ae-title", "A" * 17),
        ("edit", "nobody", "--port", 5),
        ("edit", "pacs", "--rename", "ct1"),
        ("remove", "nobody"),
        ("edit", "pacs", "--object", "HOLOGRAM"),
        ("edit", "pacs", "--stow-url", "ftp://cloud"),
        ("rollback", "20300101T000000.000000Z"),
    ):
        ran = cspine_node("peers", *arguments, "--config", config)
        assert ran.status == 2
        assert len(ran.err.splitlines()) == 1
    assert config.read_text() == TWO_PEERS


def test_a_file_broken_by_hand_can_still_be_rolled_back(config: Path) -> None:
    version = json.loads(cspine_node("peers", "remove", "ct1", "--config", config, "--json").out)["version"]
    config.write_text("[[peers")
    assert cspine_node("peers", "list", "--config", config).status == 2
    assert cspine_node("peers", "rollback", version, "--config", config).status == 0
    assert config.read_text() == TWO_PEERS


def test_the_node_s_work_is_empty_at_first_and_json_is_nothing_but_json(config: Path) -> None:
    where = ("--config", config)
    assert cspine_node("studies", "list", "--json", *where).json == []
    assert cspine_node("deliveries", "list", "--json", *where).json == []
    assert "no studies" in cspine_node("studies", "list", *where).out
    healthy = {"schema": HEAD, "studies": 0, "instances": 0, "complaints": []}
    assert cspine_node("doctor", "--json", *where).json == healthy
    assert cspine_node("migrate", *where).status == 0


def test_a_command_that_is_to_be_called_again_is_named_so_that_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "cspine-node"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(here)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == str(here)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "cspine-node"
    monkeypatch.setattr(sys, "argv", ["/site/dicom_node/__main__.py"])
    assert program() == f"{sys.executable} -m dicom_node"


def test_a_limit_counts_the_studies_of_the_status_that_is_asked_for(config: Path, tmp_path: Path) -> None:
    store = open_store(load_settings(config).settings)
    node = Node(tmp_path, database=store.database)
    with silenced():
        for number in range(2):
            node.receive_study(1, study=f"1.2.{number}")
            node.settle(3)
        for number in range(3):
            node.receive_study(1, study=f"1.3.{number}")
    store.close()

    def listed(*arguments: object) -> set[str]:
        rows = cspine_node("studies", "list", "--json", *arguments, "--config", config).json
        return {row["study_instance_uid"] for row in rows}

    assert listed("--status", "DELIVERED", "--limit", 2) == {"1.2.0", "1.2.1"}
    assert len(listed("--status", "RECEIVING", "--limit", 2)) == 2
    assert listed("--status", "SENDING") == set()
    assert len(listed("--limit", 4)) == 4


@pytest.mark.parametrize(
    "arguments",
    [["studies", "show", "1.2.3"], ["studies", "close", "1.2.3"], ["studies", "retry", "1.2.3"],
     ["studies", "cancel", "1.2.3"], ["studies", "analyse-again", "1.2.3"],
     ["deliveries", "retry", "7"], ["deliveries", "show", "7"]],
)  # fmt: skip
def test_what_the_node_does_not_know_is_status_1_and_one_line(config: Path, arguments: list[str]) -> None:
    ran = cspine_node(*arguments, "--config", config)
    assert ran.status == 1
    assert len(ran.err.splitlines()) == 1


def test_the_conformance_statement_speaks_of_this_configuration(config: Path) -> None:
    text = cspine_node("conformance", "--config", config).out
    assert "| ct1 | `CT1` | 10.0.0.2:104 | yes | no |" in text
    assert "| CT Image Storage | 1.2.840.10008.5.1.4.1.1.2 |" in text
    assert "| JPEG 2000 Image Compression (Lossless Only) | 1.2.840.10008.1.2.4.90 |" in text
    assert "Comprehensive 3D SR Storage" in text


def test_the_conformance_statement_names_what_each_peer_gets_and_by_which_way(tmp_path: Path) -> None:
    text = """
[[peers]]
name = "cloud"
ae_title = "CLOUD"
host = "h"
port = 104
receives_results = true
objects = ["auto", "PDF"]
status_reports = true
stow_url = "https://cloud.example/dicom-web"
stow_token_env = "CLOUD_TOKEN"

[[routes]]
name = "emergency"
results = ["positive"]
add = ["cloud"]

[notify.hl7]
enabled = true
host = "ris"
"""
    said = cspine_node("conformance", "--config", written(tmp_path, text)).out
    assert "| cloud | `CLOUD` | h:104 | no | yes | STOW-RS | `auto`, `PDF` | yes |" in said
    assert "| cloud | https://cloud.example/dicom-web | bearer token from `CLOUD_TOKEN` |" in said
    assert "| emergency | results positive | cloud | – |" in said
    assert "| HL7 v2.5.1 ORU^R01 over MLLP | to ris:2575 |" in said
    for kind in ResultKind:
        assert f"| `{kind.value}` |" in said
    headings = (
        "## 1 Overview",
        "### 4.1",
        "### 4.2.1",
        "### 4.2.2",
        "### 4.4",
        "## 5",
        "## 6",
        "## 7",
        "### 8.1",
        "### 8.3",
    )
    assert all(heading in said for heading in headings)


def test_help_does_not_wait_for_heavy_libraries() -> None:
    heavy = ("torch", "highdicom", "pydicom", "sqlalchemy", "fastapi", "numpy", "prometheus_client", "rich")
    code = (
        "import sys; from dicom_node.cli import run; run(['--help']); "
        f"sys.stderr.write(','.join(name for name in {heavy!r} if name in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
