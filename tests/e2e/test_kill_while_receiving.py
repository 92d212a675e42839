"""`kill -9` of the node while images come in: whatever was acknowledged has its file and its row after the next start.

The rows are written behind the answers, so a kill finds some that are not written yet.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from tests.benchmarks.sending import OWN_AET, Scanner, template, uid
from tests.peers import NodeProcess, sender, wait_for

pytestmark = pytest.mark.xdist_group("kill")

IMAGES = 4_000
KILLED_AFTER_S = (0.02, 0.3, 1.1)


@pytest.mark.slow
def test_what_was_acknowledged_before_a_kill_is_held_after_it(tmp_path: Path) -> None:
    node = NodeProcess(
        folder=tmp_path / "node",
        peers=[sender("peer00", "PEER00")],
        settings={"study": {"quiet_period_s": 3600.0, "hard_limit_s": 86_400.0}, "log": {"level": "warning"}},
        ae_title=OWN_AET,
        ready_within_s=300.0,
    ).start()
    data_set = template(rows=64)
    try:
        for study, delay_s in enumerate(KILLED_AFTER_S, start=1):
            scanner = Scanner(node.port, 0, data_set, IMAGES, study=study, called=OWN_AET)
            thread = threading.Thread(target=_send, args=(scanner,), daemon=True)
            thread.start()
            wait_for("the first answers", lambda scanner=scanner: scanner.answered > 10, every_s=0.01)
            time.sleep(delay_s)  # how far the node gets is what is tried, not waited for
            node.kill()
            thread.join(30.0)
            assert 10 < scanner.answered < IMAGES
            assert scanner.refused == 0
            node.start()
            shown = node.study(uid(0, study))
            files = [path for path in (node.folder / "var" / "received").rglob("*.dcm") if _is_of(path, study)]
            # One more may have been stored and not answered any more.
            assert shown["instance_count"] == len(files)
            assert len(files) - scanner.answered in (0, 1)
    finally:
        node.stop()


def _send(scanner: Scanner) -> None:
    with contextlib.suppress(OSError):
        scanner.send()


def _is_of(path: Path, study: int) -> bool:
    return uid(0, study).encode() in path.read_bytes()
