"""`make soak`: a real node for an hour, four scanners, faults all the time, and nothing lost at the end.

`SOAK_SECONDS` is how long scanners send. For the first half the node is killed again and again; all the time its
analysis child is killed, the PACS goes away and comes back, scanners break associations off, and connections are
opened that never say a word. The second half is one life of the node, of which memory and handles are judged. Then the
faults end, everything that waits has its time, and what the scanners were told is compared with what is there.

The report goes to `SOAK_REPORT` (default `soak-report.md`) and, where `docs/RELIABILITY.md` has a place for it, there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from dicom_node.demo.stand_in_pacs import StandInPacs
from tests.e2e.conftest import make_phantom
from tests.peers import ROOT, NodeProcess, free_port, receiver, sender
from tests.soak.scanners import Ledger, Scanner
from tests.soak.watch import Sample, Verdict, judge, sample

SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
REPORT = Path(os.environ.get("SOAK_REPORT", "soak-report.md"))
WITHOUT_A_MOVE_S = 900.0
SCANNERS = 4
WAITING_AT_MOST = 4
SAMPLE_EVERY_S = 5.0
DONE = ("DELIVERED", "NOT_APPLICABLE")
SET_ASIDE = "NEEDS_ATTENTION"
BEGIN, END = "<!-- soak report -->", "<!-- end of soak report -->"


@dataclass
class Soak:
    """The node and its surroundings while the soak runs."""

    node: NodeProcess
    pacs_folder: Path
    pacs_port: int
    ledger: Ledger = field(default_factory=Ledger)
    stopping: threading.Event = field(default_factory=threading.Event)
    lives: list[list[Sample]] = field(default_factory=lambda: [[]])
    faults: Counter[str] = field(default_factory=Counter)
    arrivals: Counter[str] = field(default_factory=Counter)
    pacs: StandInPacs | None = None
    waiting: int = 0
    retried: int = 0
    began_at: float = field(default_factory=time.monotonic)

    @property
    def at_s(self) -> float:
        return time.monotonic() - self.began_at

    @property
    def pid(self) -> int:
        process = self.node._process
        assert process is not None
        return process.pid

    def worklist(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while page := self.node.json(f"/api/v1/studies?limit=1000&offset={len(rows)}"):
            rows += page
        return rows

    def pacs_comes(self) -> None:
        self.pacs = StandInPacs(self.pacs_folder, ae_title="PACS", port=self.pacs_port)

    def pacs_goes(self) -> None:
        if self.pacs is not None:
            self.pacs.close()
            self.arrivals += self.pacs.requests
            self.pacs = None


def kill_node(soak: Soak) -> None:
    soak.node.kill()
    soak.lives.append([])
    soak.node.start()


def kill_child(soak: Soak) -> None:
    for task in Path(f"/proc/{soak.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(child), signal.SIGKILL)
                return


def take_pacs_away(soak: Soak) -> None:
    soak.pacs_goes()
    soak.stopping.wait(random.uniform(5, 30))
    soak.pacs_comes()


def stay_silent(soak: Soak) -> None:
    silent = []
    for _ in range(20):
        with contextlib.suppress(OSError):
            silent.append(socket.create_connection(("127.0.0.1", soak.node.port), timeout=5))
    soak.stopping.wait(10)
    for connection in silent:
        connection.close()


def go_wrong(soak: Soak) -> None:
    """One fault after another until the soak stops."""
    draw = random.Random(SEED)
    pause = max(5.0, min(40.0, SECONDS / 15))
    while not soak.stopping.wait(draw.uniform(0.5 * pause, 1.5 * pause)):
        faults = [kill_child, take_pacs_away, stay_silent]
        fault = draw.choice([*faults, kill_node, kill_node] if soak.at_s < SECONDS / 2 else faults)
        fault(soak)
        soak.faults[fault.__name__] += 1


def look(soak: Soak) -> None:
    """Sample the node, and count what waits so that scanners do not run ahead."""
    while not soak.stopping.wait(SAMPLE_EVERY_S):
        seen = sample(soak.pid, soak.at_s)
        if seen is not None:
            soak.lives[-1].append(seen)
        rows = soak.worklist()
        if rows:
            soak.waiting = sum(row["status"] not in (*DONE, SET_ASIDE) for row in rows)
            retry_what_was_set_aside(soak, rows)


def retry_what_was_set_aside(soak: Soak, rows: list[dict[str, Any]]) -> None:
    """As an operator would: a study whose analysis was killed once too often is no poison here."""
    for row in rows:
        if row["status"] == SET_ASIDE and soak.node.run("studies", "retry", row["study_instance_uid"]).returncode == 0:
            soak.retried += 1


def test_an_hour_with_four_senders_and_faults_loses_nothing(tmp_path: Path) -> None:
    phantom = make_phantom(tmp_path / "phantom", "--seed", "3", "--slices", "40", "--spacing", "3.0", "--matrix", "192")
    pacs_port = free_port()
    peers = [sender(f"scanner{n}", f"SCANNER{n}") for n in range(1, SCANNERS + 1)]
    node = NodeProcess(
        folder=tmp_path / "node",
        peers=[*peers, receiver("PACS", pacs_port)],
        settings={
            "study": {"quiet_period_s": 2.0},
            "delivery": {"backoff_initial_s": 0.5, "backoff_maximum_s": 20.0},
            "log": {"level": "warning"},
        },
        ready_within_s=300,
    )
    soak = Soak(node, tmp_path / "pacs", pacs_port)
    soak.pacs_comes()
    try:
        node.start()
        run(soak, phantom.files)
        settled_s = settle(soak)
        report(soak, compare(soak), settled_s)
    finally:
        soak.stopping.set()
        soak.pacs_goes()
        node.stop()


def run(soak: Soak, template: list[Path]) -> None:
    scanners = [
        Scanner(
            number,
            template,
            port=lambda: soak.node.port,
            ledger=soak.ledger,
            may_send=lambda: soak.waiting < WAITING_AT_MOST,
            stopping=soak.stopping,
            seed=SEED,
        )
        for number in range(1, SCANNERS + 1)
    ]
    others = [threading.Thread(target=work, args=(soak,), daemon=True) for work in (go_wrong, look)]
    for thread in (*scanners, *others):
        thread.start()
    time.sleep(SECONDS)
    soak.stopping.set()
    for thread in (*scanners, *others):
        thread.join(300)
        assert not thread.is_alive(), f"{thread.name} did not come to its end"


def settle(soak: Soak) -> float:
    """Seconds until every study has its result, or nothing moves any more; the faults are over."""
    began = moved = time.monotonic()
    before: list[tuple[str, str]] = []
    while time.monotonic() - moved < WITHOUT_A_MOVE_S:
        seen = soak.worklist()
        retry_what_was_set_aside(soak, seen)
        rows = [(row["study_instance_uid"], row["status"] + row["why"]) for row in seen]
        if rows and all(told.startswith(DONE) for _study, told in rows):
            break
        if rows != before:
            before, moved = rows, time.monotonic()
        time.sleep(2)
    return time.monotonic() - began


def compare(soak: Soak) -> list[str]:
    """What is wrong, in sentences: empty where nothing is."""
    wrong = []
    held: dict[str, str] = {}
    for path in (soak.node.folder / "var" / "received").rglob("*.dcm"):
        image = pydicom.dcmread(path)
        held[str(image.SOPInstanceUID)] = hashlib.sha256(image.PixelData).hexdigest()
    lost = [uid for uid, digest in soak.ledger.acknowledged.items() if held.get(uid) != digest]
    if lost:
        wrong.append(f"{len(lost)} acknowledged images are not held, the first {lost[0]}")
    rows = {row["study_instance_uid"]: row for row in soak.worklist()}
    for study in soak.ledger.sent_studies:
        status = rows.get(study, {"status": "unknown", "why": "the node does not know it"})
        if status["status"] not in DONE:
            wrong.append(f"study {study} is {status['status']}: {status['why']}")
    assert soak.pacs is not None
    at_pacs = {path.stem for path in soak.pacs.files()}
    for study in soak.ledger.sent_studies:
        detail = soak.node.json(f"/api/v1/studies/{study}") or {"deliveries": [], "revision": 0}
        newest = [entry for entry in detail["deliveries"] if entry["revision"] == detail["revision"]]
        objects = {entry["sop_instance_uid"] for delivery in newest for entry in delivery["objects"] if entry["held"]}
        if rows.get(study, {}).get("status") == "DELIVERED" and (not objects or not objects <= at_pacs):
            wrong.append(f"the PACS lacks {len(objects - at_pacs)} objects of study {study}")
    return wrong


def report(soak: Soak, wrong: list[str], settled_s: float) -> None:
    """Write it down, then fail where something is wrong."""
    assert soak.pacs is not None
    arrivals = soak.arrivals + soak.pacs.requests
    life = max(soak.lives, key=lambda samples: samples[-1].at_s - samples[0].at_s if samples else 0.0)
    verdict = judge(life)
    text = written(soak, wrong, settled_s, arrivals, life, verdict)
    REPORT.write_text(text)
    place = ROOT / "docs" / "RELIABILITY.md"
    if place.exists() and BEGIN in (page := place.read_text()):
        place.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{text}{END}", page, count=1, flags=re.DOTALL))
    assert not wrong, "\n".join(wrong)
    assert verdict.is_flat is not False, verdict.why
    assert soak.ledger.sent_studies, "not a single study was sent"


def written(
    soak: Soak, wrong: list[str], settled_s: float, arrivals: Counter[str], life: list[Sample], verdict: Verdict
) -> str:
    again = sum(count > 1 for count in arrivals.values())
    lines = [
        f"Soak of {SECONDS:.0f} s, {SCANNERS} senders, {platform.machine()}, {os.cpu_count()} CPUs.",
        "",
        "| what | figure |",
        "| --- | --- |",
        f"| studies sent whole | {len(soak.ledger.sent_studies)} |",
        f"| images acknowledged | {len(soak.ledger.acknowledged)}, and {soak.ledger.repeated} of them again |",
        f"| associations broken off by a sender | {soak.ledger.aborted} |",
        f"| associations that could not be had (node away or full) | {soak.ledger.refused} |",
        *(f"| {_words(name)} | {count} |" for name, count in sorted(soak.faults.items())),
        f"| times a study whose analysis was killed thrice was analysed again by hand | {soak.retried} |",
        f"| objects at the PACS | {len(arrivals)}, {again} of them sent more than once, as the same instance |",
        f"| until every study had its result, after the last fault | {settled_s:.0f} s |",
        f"| lost, missing or unfinished | {len(wrong)} |",
        f"| memory and handles flat | {_verdict(verdict)} |",
        *(f"| longest life, {name} | {_range(values)} |" for name, values in _series(life).items()),
        "",
        *(f"- {sentence}" for sentence in wrong),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _words(fault: str) -> str:
    return {
        "kill_node": "kills of the node (SIGKILL)",
        "kill_child": "kills of the analysis child",
        "take_pacs_away": "times the PACS was away for 5 to 30 s",
        "stay_silent": "times 20 connections stayed silent",
    }[fault]


def _verdict(verdict: Verdict) -> str:
    return {True: "yes", False: "NO", None: "not judged"}[verdict.is_flat] + f": {verdict.why}"


def _series(life: list[Sample]) -> dict[str, list[float]]:
    return {
        "memory in MiB": [entry.memory_mib for entry in life],
        "open files": [float(entry.handles) for entry in life],
        "threads": [float(entry.threads) for entry in life],
    }


def _range(values: list[float]) -> str:
    if not values:
        return "no sample"
    return f"first {values[0]:.0f}, least {min(values):.0f}, most {max(values):.0f}, last {values[-1]:.0f}"
