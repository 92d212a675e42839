"""Receiving processes under a whole node: killed in the middle of a study, orphaned by a kill of the node, and two of
them that are sent the same images at once. What was answered has its file and its row.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.sending import OWN_AET, Scanner, template, uid
from tests.peers import NodeProcess, get_bytes, sender, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill")]

IMAGES = 1_500
DATA_SET = template(rows=64)


@contextlib.contextmanager
def node_with_hands(folder: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(
        folder=folder,
        peers=[sender("peer00", "PEER00")],
        settings={
            "node": {"receiving_processes": 2, "min_free_bytes": 0, "receiving_memory_mb": 64},
            "study": {"quiet_period_s": 3600.0, "hard_limit_s": 86_400.0},
            "log": {"level": "warning"},
        },
        ae_title=OWN_AET,
        ready_within_s=300.0,
    ).start()
    try:
        wait_until_up(node)
        yield node
    finally:
        node.stop()


def gauge(node: NodeProcess, name: str) -> float:
    page = get_bytes(f"{node.url}/metrics").decode()
    return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"cspine_{name}"))


def wait_until_up(node: NodeProcess) -> None:
    wait_for("both hands to be up", lambda: gauge(node, "receiving_processes_up") == 2.0, timeout_s=300.0)


def hands_of(node: NodeProcess) -> dict[int, int]:
    """The process ids of the hands that serve this node's folder, and how many connections each has."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if b"dicom_node.bootstrap.hand" in words and str(node.folder).encode() in b"".join(words):
                links = [os.readlink(link) for link in (entry / "fd").iterdir()]
                found[int(entry.name)] = sum(link.startswith("socket:") for link in links) // 2
    return found


def sending(scanners: list[Scanner]) -> list[threading.Thread]:
    def send(scanner: Scanner) -> None:
        with contextlib.suppress(OSError):
            scanner.send()

    threads = [threading.Thread(target=send, args=(scanner,), daemon=True) for scanner in scanners]
    for thread in threads:
        thread.start()
    wait_for("the first answers", lambda: all(scanner.answered > 50 for scanner in scanners), every_s=0.01)
    return threads


def scanner(node: NodeProcess, study: int) -> Scanner:
    return Scanner(node.port, 0, DATA_SET, IMAGES, study=study, called=OWN_AET)


def files_of(node: NodeProcess) -> int:
    return sum(1 for _ in (node.folder / "var" / "received").rglob("*.dcm"))


def count_of(node: NodeProcess, study: int) -> int:
    return int(node.study(uid(0, study)).get("instance_count", 0))


def test_a_killed_hand_loses_nothing_and_the_node_goes_on(tmp_path: Path) -> None:
    with node_with_hands(tmp_path / "node") as node:
        scanners = [scanner(node, study) for study in (1, 2)]
        threads = sending(scanners)
        killed = max(hands_of(node).items(), key=lambda item: item[1])[0]
        os.kill(killed, signal.SIGKILL)
        for thread in threads:
            thread.join(120.0)
        stored = [each.answered - each.refused for each in scanners]  # the last answer of one may be an A-ABORT
        assert sorted(count == IMAGES for count in stored) == [False, True], "one was cut off, one was not"
        for study, count in enumerate(stored, start=1):
            wait_for("the rows", lambda study=study, count=count: count_of(node, study) >= count)
            assert count_of(node, study) - count in (0, 1)  # one may not have been answered any more
        again = [scanner(node, study) for study in (1, 2)]  # without a restart: what is held already, and the rest
        for thread in sending(again):
            thread.join(120.0)
        assert [(each.answered, each.refused) for each in again] == [(IMAGES, 0)] * 2
        assert [count_of(node, study) for study in (1, 2)] == [IMAGES, IMAGES]
        wait_until_up(node)
        assert killed not in hands_of(node)
        assert gauge(node, "receiving_processes_lost_total") == 1.0
    assert not hands_of(node), "a stop leaves none behind"


def test_a_kill_of_the_node_ends_its_hands_and_what_was_answered_is_held_after_a_start(tmp_path: Path) -> None:
    with node_with_hands(tmp_path / "node") as node:
        scanners = [scanner(node, study) for study in (1, 2)]
        threads = sending(scanners)
        node.kill()
        for thread in threads:
            thread.join(30.0)
        wait_for("the hands to end", lambda: not hands_of(node))
        assert all(50 < each.answered < IMAGES for each in scanners)
        node.start()
        counts = [count_of(node, study) for study in (1, 2)]
        assert [count - each.answered for count, each in zip(counts, scanners, strict=True)] in (
            [[a, b] for a in (0, 1) for b in (0, 1)]
        )
        assert files_of(node) == sum(counts)
        assert not [path for path in (node.folder / "var" / "ready-hands").rglob("*.part") if path.stat().st_size]


def test_the_same_images_on_two_associations_at_once_are_held_once(tmp_path: Path) -> None:
    with node_with_hands(tmp_path / "node") as node:
        scanners = [scanner(node, 1) for _ in range(2)]
        threads = sending(scanners)
        assert gauge(node, "associations_lent") == 2.0
        for thread in threads:
            thread.join(300.0)
        assert [(each.answered, each.refused) for each in scanners] == [(IMAGES, 0)] * 2
        assert count_of(node, 1) == files_of(node) == IMAGES
