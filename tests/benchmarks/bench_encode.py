"""Seconds and peak memory of making every kind of result from an analysis, on one core.

    python -m tests.benchmarks.bench_encode [--slices 300 1000] [--repeats 5]

Each line is a process of its own that makes the objects of a 512 x 512 study `repeats` times after one run that loads
libraries, fonts and catalogues. "cpu" is the processor's time; "wall" also holds the disk's, which keeps every object
before the next step. Medians. Of all the objects, "MB" is the size on disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dicom_node.core.finding import LEVELS
from tests.builders.results import make_result
from tests.builders.views import make_views

CASES = {"negative": (), "one level": ("C2",), "all levels": LEVELS}
AT = datetime(2026, 1, 2, tzinfo=UTC)


def child(folder: Path, repeats: int) -> None:
    """Print what each run took, as JSON."""
    from dicom_node.results.encoder import DicomResultEncoder

    result = pickle.loads((folder / "result.pickle").read_bytes())
    encoder = DicomResultEncoder(manufacturer="bench", software_version="1", device_serial="1")
    runs = []
    for _ in range(repeats + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        made = encoder.encode(result, revision=1, created_at=AT, out_dir=folder / "out")
        runs.append((time.process_time() - cpu, time.perf_counter() - wall))
    size = sum(entry.file.stat().st_size for entry in made)
    print(json.dumps({"runs": runs[1:], "objects": len(made), "bytes": size}))


def measure(folder: Path, repeats: int) -> tuple[dict[str, Any], float]:
    """What the child printed, and its peak resident memory in MB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.bench_encode", "--child", str(folder), "--repeats", str(repeats)],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"encoding ended with status {os.waitstatus_to_exitcode(status)}")
    return json.loads(said), usage.ru_maxrss / 1024


def prepare(folder: Path, slices: int) -> None:
    """A study of so many slices of 512 x 512 with an analysis of each case, in a folder by the case's name."""
    whole = make_result(folder, n=slices, rows=512, columns=512, spacing=(0.6, 0.4, 0.4), positive=LEVELS)
    for case, positive in CASES.items():
        own = folder / case
        views = make_views(own / "views", key_levels=positive, shape=(350, 280))
        findings = tuple(f if f.level in positive else dataclasses.replace(f, probability=0.01) for f in whole.findings)
        overall = 0.9 if positive else 0.1
        result = dataclasses.replace(whole, views_path=views, findings=findings, overall_probability=overall)
        (own / "result.pickle").write_bytes(pickle.dumps(result))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.repeats)
        return
    table = Table("slices", "suspicious", "objects", "MB", "cpu", "wall", "peak MB", title="encoding, 512 x 512")
    for slices in options.slices:
        with tempfile.TemporaryDirectory() as scratch:
            prepare(Path(scratch), slices)
            for case in CASES:
                said, peak = measure(Path(scratch) / case, options.repeats)
                cpu, wall = (statistics.median(run[k] for run in said["runs"]) for k in (0, 1))
                sizes = str(said["objects"]), f"{said['bytes'] / 1e6:.0f}"
                table.add_row(str(slices), case, *sizes, f"{cpu:.2f} s", f"{wall:.2f} s", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
