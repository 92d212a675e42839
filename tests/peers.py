"""Programs from outside that the tests use as peers: DCMTK, Orthanc, Chromium; and our own node as a process.

Where a program is missing its tests skip and name the Debian package; with CI=true that is a failure instead.
Every server picks a free port. DCMTK's storescp and Orthanc 1.10 cannot be told to listen on loopback alone;
ours can.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from config.load import load_settings
from dicom_node.bootstrap.accounts import accounts_of
from dicom_node.bootstrap.store import open_store
from dicom_node.core.account import Role

Found = TypeVar("Found")

ROOT = Path(__file__).resolve().parents[1]
REAL_CT = ROOT.parent / "shared" / "data" / "fullhead"
CSPINE_NODE = str(Path(sys.executable).with_name("cspine-node"))
DCMTK_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def require(command: str, package: str) -> str:
    """The path of a peer's program; skips the test (fails it under CI) where it is not installed."""
    found = shutil.which(command)
    if found is None:
        missing(command, package)
    return found


def require_file(path: Path, package: str) -> Path:
    """The path, where the package put it there; else as `require`."""
    if not path.exists():
        missing(str(path), package)
    return path


def missing(what: str, package: str) -> NoReturn:
    """Skip the test, naming the Debian package; under CI a missing peer is a failure."""
    message = f"needs {what} (Debian package {package})"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: str, probe: Callable[[], Found | None], *, timeout_s: float = 60.0, every_s: float = 0.1) -> Found:
    """The first truthy answer of `probe`. Fails the test after `timeout_s`."""
    ends_at = time.monotonic() + timeout_s
    while time.monotonic() < ends_at:
        answer = probe()
        if answer:
            return answer
        time.sleep(every_s)
    pytest.fail(f"waited {timeout_s:.0f} s in vain for {what}")


def get_json(url: str, *, token: str = "") -> Any:
    """GET a JSON document, with a Bearer token; None where nobody answers yet or the answer is an error."""
    try:
        with urllib.request.urlopen(_asked(url, token), timeout=5) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def get_bytes(url: str, *, token: str = "") -> bytes:
    """GET a document, with a Bearer token."""
    with urllib.request.urlopen(_asked(url, token), timeout=30) as answer:
        return answer.read()


def _asked(url: str, token: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})


def stop(process: subprocess.Popen[Any], *, timeout_s: float = 15.0) -> int:
    """End a process we started: SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return int(process.returncode)


def storescu(port: int, files: Sequence[Path], *, called: str, calling: str = "SCANNER", more: Sequence[str] = ()):
    """Send files with DCMTK's storescu; folders are walked."""
    program = require("storescu", "dcmtk")
    return subprocess.run(
        [program, "-aet", calling, "-aec", called, "+sd", "+r", *more, "127.0.0.1", str(port), *map(str, files)],
        env=DCMTK_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )


class DcmtkStorescp:
    """DCMTK's storescp as a PACS that keeps files by SOP Instance UID; `options` are its own."""

    ae_title = "DCMTK_PACS"

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        program = require("storescp", "dcmtk")
        self._process = subprocess.Popen(
            [program, "-aet", self.ae_title, "+xa", *options, "-od", str(folder), str(self.port)],
            env=DCMTK_ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def close(self) -> None:
        stop(self._process)


class Orthanc:
    """Debian's Orthanc as a PACS; with `dicomweb` its plugin serves STOW-RS, QIDO-RS and WADO-RS at `dicomweb_url`."""

    ae_title = "ORTHANC"

    def __init__(self, folder: Path, *, dicomweb: bool = False, **more: Any) -> None:
        program = require("Orthanc", "orthanc")
        plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
        plugins = [str(require_file(plugin, "orthanc-dicomweb"))] if dicomweb else []
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._http = free_port(), free_port()
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self._http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": plugins,
        } | more
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self._process = subprocess.Popen(
            [program, str(folder / "orthanc.json")],
            env=DCMTK_ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.url = f"http://127.0.0.1:{self._http}"
        self.dicomweb_url = f"{self.url}/dicom-web"
        wait_for("Orthanc to answer", lambda: get_json(f"{self.url}/system"))

    def instances(self) -> list[dict[str, Any]]:
        """Main tags of every instance the PACS holds."""
        found = get_json(f"{self.url}/instances?expand") or []
        return [instance["MainDicomTags"] | {"ID": instance["ID"]} for instance in found]

    @property
    def pid(self) -> int:
        return self._process.pid

    def file(self, orthanc_id: str) -> bytes:
        return get_bytes(f"{self.url}/instances/{orthanc_id}/file")

    def close(self) -> None:
        stop(self._process)


@dataclass(kw_only=True)
class NodeProcess:
    """`cspine-node serve` as a process of its own, with its configuration in `folder`."""

    folder: Path
    peers: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ae_title: str = "CSPINE_AI"
    ready_within_s: float = 60.0

    def __post_init__(self) -> None:
        self.port, self.web_port = free_port(), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "node.toml"
        self.config.write_text(self._toml())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def start(self) -> NodeProcess:
        self._log = (self.folder / "node.log").open("ab")
        self._process = subprocess.Popen(
            [CSPINE_NODE, "serve", "--config", str(self.config)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        wait_for("the node to be ready", self._is_ready, timeout_s=self.ready_within_s)
        return self

    @functools.cached_property
    def token(self) -> str:
        """A Bearer token of somebody who may look at everything."""
        with contextlib.closing(open_store(load_settings(self.config).settings)) as store:
            accounts = accounts_of(store)
            accounts.add("test", Role.VIEWER, "", actor="a test")
            return accounts.add_token("test", role=Role.VIEWER, label="", days=1, actor="a test")[1]

    def json(self, path: str) -> Any:
        """What the node answers somebody who is logged in; None for an error."""
        return get_json(f"{self.url}{path}", token=self.token)

    def page(self, path: str) -> str:
        """A page, for somebody who is logged in."""
        return get_bytes(f"{self.url}{path}", token=self.token).decode()

    def kill(self) -> None:
        """End it as a power cut would, as far as processes go."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        return stop(self._process, timeout_s=30)

    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    def run(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Another `cspine-node` command with the same configuration."""
        return subprocess.run(
            [CSPINE_NODE, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def study(self, study_instance_uid: str) -> dict[str, Any]:
        """`studies show --json`; empty while the node does not know the study."""
        shown = self.run("studies", "show", study_instance_uid, "--json")
        return json.loads(shown.stdout) if shown.returncode == 0 else {}

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"the node ended with status {self._process.returncode}:\n{self.log()[-3000:]}")
        return get_json(f"{self.url}/readyz") is not None

    def _toml(self) -> str:
        sections: dict[str, dict[str, Any]] = {
            "node": {"ae_title": self.ae_title, "host": "127.0.0.1", "port": self.port, "data_dir": "var"},
            "study": {"quiet_period_s": 1.0, "hard_limit_s": 600.0},
            "inference": {"device": "cpu"},
            "web": {"host": "127.0.0.1", "port": self.web_port},
        }
        for name, values in self.settings.items():
            sections.setdefault(name, {}).update(values)
        lines: list[str] = []
        for name, values in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
        for peer in self.peers:
            lines += ["[[peers]]", *(f"{key} = {json.dumps(value)}" for key, value in peer.items()), ""]
        return "\n".join(lines)


def sender(name: str = "scanner", ae_title: str = "SCANNER") -> dict[str, Any]:
    """A peer that sends from loopback."""
    return {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": 11113, "may_send": True}


def receiver(ae_title: str, port: int, name: str = "pacs") -> dict[str, Any]:
    """A peer that gets results on loopback."""
    return {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": port, "receives_results": True}
