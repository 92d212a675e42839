"""Seconds and peak memory of `cspine-node analyse` on a 300-slice 512 x 512 study, from files to SR and SEG.

    python tests/benchmarks/bench_study.py [--slices 300] [--repeats 3] [--syntax NAME]

The stages are those of result.json; "process" is the whole command with the interpreter's start and the weights.
Medians over the repeats, after one run that only warms the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

COMMAND = str(Path(sys.executable).with_name("cspine-node"))
STAGES = ("read", "localise", "classify", "encode", "total", "process")


def one_run(study: Path, out: Path) -> tuple[dict[str, float], float]:
    """Seconds by stage, and peak resident memory in MB."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [COMMAND, "analyse", str(study), "--out", str(out), "--device", "cpu"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"cspine-node analyse ended with status {os.waitstatus_to_exitcode(status)}")
    seconds = json.loads((out / "result.json").read_text())["timings_s"]
    return {**seconds, "process": time.perf_counter() - begin}, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--syntax", default="explicit-vr-little-endian")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        study, out = Path(scratch) / "study", Path(scratch) / "out"
        phantom = [COMMAND, "phantom", str(study), "--seed", "4", "--slices", str(options.slices), "--spacing", "0.7"]
        subprocess.run([*phantom, "--syntax", options.syntax], check=True, stdout=subprocess.DEVNULL)
        runs = [one_run(study / "dicom", out) for _ in range(options.repeats + 1)][1:]
    table = Table(*STAGES, "peak MB", title=f"analyse: {options.slices} slices of 512 x 512, {options.syntax}, CPU")
    medians = [statistics.median(seconds[stage] for seconds, _ in runs) for stage in STAGES]
    table.add_row(*(f"{value:.2f} s" for value in medians), f"{max(peak for _, peak in runs):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
