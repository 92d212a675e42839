"""What deploy/ holds fits the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.load import load_settings, setting_keys
from tests.peers import require

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd/cspine-node.service"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", "systemd")
    program = "/opt/cspine-node/.venv/bin/cspine-node"
    text = UNIT.read_text()
    assert f"ExecStart={program} serve --config /etc/cspine-node/node.toml" in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, shutil.which("true") or "/bin/true"))
    ran = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert not [line for line in ran.stderr.splitlines() if UNIT.name in line]


@pytest.mark.parametrize("file", ["systemd/cspine-node.service", "Dockerfile", "compose.yaml"])
def test_every_variable_that_deploy_sets_is_a_setting(file: str) -> None:
    names = re.findall(r"CSPINE_NODE__\w+", (DEPLOY / file).read_text())
    assert names
    for name in names:
        assert name.removeprefix("CSPINE_NODE__").lower().replace("__", ".") in setting_keys()


def test_the_node_and_the_orthanc_of_the_compose_file_know_each_other() -> None:
    settings = load_settings(DEPLOY / "compose-config/node.toml", environ={}).settings
    orthanc = json.loads((DEPLOY / "orthanc/orthanc.json").read_text())
    (peer,) = settings.peers
    assert (peer.ae_title, peer.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    assert orthanc["DicomModalities"]["cspine"] == [settings.node.ae_title, "node", settings.node.port]
    services = re.findall(r"^  (\w+):$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert {peer.host, "node"} <= set(services)
