"""Every receiver that is compared, as a context: started in a folder of its own, looked after, stopped."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from storage.database import open_database
from tests.benchmarks.sending import OWN_AET
from tests.builders.many_studies import seed_studies
from tests.peers import (
    DCMTK_ENVIRONMENT,
    ROOT,
    NodeProcess,
    Orthanc,
    free_port,
    get_bytes,
    get_json,
    is_listening,
    require,
    stop,
    wait_for,
)

_ROWS_OF_A_STUDY = 3


@dataclass(frozen=True, kw_only=True)
class Running:
    """A receiver that listens. `pid` is its process, children not included."""

    port: int
    pid: int
    called: str = OWN_AET


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What will be sent, so that a receiver that keeps less is found out: `peers` times `instances`."""

    peers: int
    instances: int

    @property
    def files(self) -> int:
        """All of them."""
        return self.peers * self.instances


@contextmanager
def node(folder: Path, expected: Expected, *, durability: str = "fsync", studies: int = 0) -> Iterator[Running]:
    """`cspine-node serve` as it is shipped: SQLite, files, pages. It has been here for `studies` studies."""
    names = [f"PEER{number:02}" for number in range(max(1, expected.peers))]
    process = NodeProcess(
        folder=folder,
        peers=[
            {"name": name.lower(), "ae_title": name, "host": "127.0.0.1", "port": 104, "may_send": True}
            for name in names
        ],
        settings={
            "study": {"quiet_period_s": 3600.0, "hard_limit_s": 86_400.0},
            "log": {"level": "warning"},
            "storage": {"durability": durability},
        },
        ae_title=OWN_AET,
        ready_within_s=300.0,
    )
    if studies:
        with contextlib.closing(open_database("sqlite", data_dir=folder / "var")) as database:
            seed_studies(database, studies, until=datetime.now(UTC), instances=_ROWS_OF_A_STUDY)
    process.start()
    try:
        assert process._process is not None
        yield Running(port=process.port, pid=process._process.pid)
        counted = what_the_node_counted(process)
        if counted != {"received": expected.files, "rejected": 0}:
            raise RuntimeError(f"{expected.files} instances were sent, the node counted {counted}")
    finally:
        process.stop()


def what_the_node_counted(process: NodeProcess) -> dict[str, float]:
    """Instances received and rejected, from its metrics page."""
    page = get_bytes(f"{process.url}/metrics").decode()
    return {
        name: sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith(f"cspine_instances_{name}_total")
        )
        for name in ("received", "rejected")
    }


@contextmanager
def dcmtk(folder: Path, expected: Expected, *, options: Sequence[str] = ()) -> Iterator[Running]:
    """DCMTK's storescp with TCP_NODELAY, a process for each association where there are several."""
    folder.mkdir(parents=True)
    port = free_port()
    forks = ["--fork"] if expected.peers > 1 else []
    command = [require("storescp", "dcmtk"), "-aet", OWN_AET, "-od", str(folder), *options, *forks, str(port)]
    with _started(command, port) as running:
        yield running
        _check(folder, expected)


@contextmanager
def orthanc(folder: Path, expected: Expected) -> Iterator[Running]:
    """Orthanc with its own defaults and TCP_NODELAY."""
    running = Orthanc(folder, DicomCheckCalledAet=False, DicomAlwaysAllowStore=True)
    try:
        yield Running(port=running.port, pid=running.pid, called=running.ae_title)
        kept = (get_json(f"{running.url}/statistics") or {}).get("CountInstances")
        if kept != expected.files:
            raise RuntimeError(f"{expected.files} instances were sent, Orthanc kept {kept}")
    finally:
        running.close()


@contextmanager
def plain(folder: Path, expected: Expected, *, kind: str) -> Iterator[Running]:
    """One of `plain_receivers`."""
    folder.mkdir(parents=True)
    port = free_port()
    with _started([sys.executable, "-m", "tests.benchmarks.plain_receivers", kind, str(port), str(folder)], port) as it:
        yield it
        _check(folder, expected)


@contextmanager
def _started(command: list[str], port: int) -> Iterator[Running]:
    process = subprocess.Popen(
        command, env=DCMTK_ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"{command[0]} to listen", lambda: is_listening(port), timeout_s=300.0)
        yield Running(port=port, pid=process.pid)
    finally:
        stop(process)


def _check(folder: Path, expected: Expected) -> None:
    kept = sum(1 for path in folder.rglob("*") if path.is_file() and path.suffix != ".part")
    if kept != expected.files:
        raise RuntimeError(f"{expected.files} instances were sent, {kept} files were kept")


class PeakMemory:
    """Resident memory of a process and its children in units of 10^6 bytes, as far as it was looked at."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_mb = 0.0

    def look(self) -> None:
        """Once more."""
        pids = [self._pid, *_children_of(self._pid)]
        self.peak_mb = max(self.peak_mb, sum(_resident_mb(pid) for pid in pids))


def _children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    except OSError:
        return 0.0
