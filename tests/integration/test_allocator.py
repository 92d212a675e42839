"""What many threads allocated and freed does not stay with each of them."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

THREADS = 12
PROGRAM = f"""
import re, sys, threading
from dicom_node.bootstrap.allocator import give_memory_back

if sys.argv[1] == "set":
    assert give_memory_back()
together = threading.Barrier({THREADS})

def work():
    blocks = [bytes(100_000) for _ in range(50)]
    together.wait()
    del blocks
    together.wait()

threads = [threading.Thread(target=work) for _ in range({THREADS})]
[t.start() for t in threads]
[t.join() for t in threads]
# An arena of a thread begins at a multiple of 64 MiB, and what it may still grow into follows without permissions.
lines = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (rw-p|---p)", open("/proc/self/maps").read(), re.M)
starts = [
    int(low, 16)
    for (low, high, mode), (after, _, mode_after) in zip(lines, lines[1:])
    if (mode, mode_after, high) == ("rw-p", "---p", after)
]
print(sum(start % (64 << 20) == 0 for start in starts))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_threads_share_the_memory_that_they_free() -> None:
    arenas = {
        how: int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True).stdout)
        for how in ("as it comes", "set")
    }
    assert arenas["as it comes"] > arenas["set"]
    assert arenas["set"] <= 1  # the first of the two is the heap


def test_what_is_there_before_the_receiver_listens_is_no_work_for_the_collector() -> None:
    program = """
import gc
from dicom_node.collector import spare_the_collector
import dicom_node.bootstrap.node
before = len(gc.get_objects())
spare_the_collector()
print(before, gc.get_freeze_count(), len(gc.get_objects()))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    before, frozen, looked_at = map(int, ran.stdout.split())
    assert before > 50_000
    assert frozen > 0.9 * before
    assert looked_at < 0.05 * before
