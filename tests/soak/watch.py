"""Memory and open handles of a process over time, and whether they stay flat."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median

SETTLING_SHARE = 0.25
SHORTEST_S = 600.0
MEMORY_GROWTH_SHARE, MEMORY_GROWTH_MIB = 0.10, 32.0
HANDLE_GROWTH = 16


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at the process; `at_s` is seconds since the soak began."""

    at_s: float
    memory_mib: float
    handles: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`is_flat` is None where the life was too short to say."""

    is_flat: bool | None
    why: str


def sample(pid: int, at_s: float) -> Sample | None:
    """None where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        handles = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in fields:
        return None
    memory_kib = int(fields["VmRSS"].split()[0])
    return Sample(at_s=at_s, memory_mib=memory_kib / 1024, handles=handles, threads=int(fields["Threads"]))


def judge(samples: Sequence[Sample]) -> Verdict:
    """Of one life of the process: the last three quarters of it, so that caches and pools may fill first.

    Flat is a straight line through the memory that rises over the judged time by less than 10 % of the median or
    32 MiB, whichever is more, and a last quarter of it with at most 16 open files or threads more than its first.
    """
    if not samples or samples[-1].at_s - samples[0].at_s < SHORTEST_S:
        return Verdict(is_flat=None, why=f"the longest life was shorter than {SHORTEST_S:.0f} s: too short to say")
    begins_at = samples[0].at_s + SETTLING_SHARE * (samples[-1].at_s - samples[0].at_s)
    judged = [entry for entry in samples if entry.at_s >= begins_at]
    memory = [entry.memory_mib for entry in judged]
    slope, _ = linear_regression([entry.at_s for entry in judged], memory)
    growth = slope * (judged[-1].at_s - judged[0].at_s)
    allowed = max(MEMORY_GROWTH_MIB, MEMORY_GROWTH_SHARE * median(memory))
    quarter = max(1, len(judged) // 4)
    first, last = judged[:quarter], judged[-quarter:]
    more = {
        "open files": max(e.handles for e in last) - max(e.handles for e in first),
        "threads": max(e.threads for e in last) - max(e.threads for e in first),
    }
    why = (
        f"memory grew by {growth:+.0f} MiB along a straight line over {judged[-1].at_s - judged[0].at_s:.0f} s"
        f" (allowed {allowed:.0f}), {', '.join(f'{name} by {count:+d}' for name, count in more.items())}"
        f" (allowed {HANDLE_GROWTH})"
    )
    return Verdict(is_flat=growth <= allowed and max(more.values()) <= HANDLE_GROWTH, why=why)
