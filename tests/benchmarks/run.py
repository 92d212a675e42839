"""`make bench`: every benchmark in turn, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = (
    "bench_phantom",
    "bench_study",
    "bench_reading",
    "receive",
    "bench_localise",
    "bench_analysis",
    "bench_encode",
    "bench_pages",
)


def main() -> int:
    """The number of benchmarks that failed."""
    failed = 0
    for name in BENCHMARKS:
        run = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], cwd=ROOT)
        failed += run.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
