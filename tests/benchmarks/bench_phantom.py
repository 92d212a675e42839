"""Seconds of the phantom generator: `python tests/benchmarks/bench_phantom.py [--slices 300] [--repeats 3]`.

A study of 512 x 512 with its truth on two threads (goal 15 s), the same with slices of 1.25 mm, which are averaged
from thinner ones, and a sample of the neck at 2 mm for training on one (goal 1 s, with its anatomy). Wall seconds and,
because a machine is seldom idle, those of the processor. As a measure of the machine: filtering as much white noise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.fft
from rich.console import Console
from rich.table import Table

from inference.synthetic import Grid, build_anatomy, draw_spec, make_phantom, render


def study(slices: int, slice_mm: float) -> None:
    """Make a whole cervical study."""
    scanner = {"spacing_mm": slice_mm, "slice_mm": slice_mm, "tilt_deg": 0.0}
    make_phantom(draw_spec(4, coverage="cspine", slices=slices, scanner=scanner), workers=2)


def sample() -> None:
    """Make a neck at 2 mm as a localiser trains on it."""
    anatomy = build_anatomy(draw_spec(7, coverage="neck"))
    render(anatomy, Grid.around(anatomy.curve.frames["C4"][:3, 3], (192, 192, 240), 2.0))


def white_noise(slices: int) -> None:
    """Draw and filter as many values as a study has."""
    rng = np.random.default_rng(1)
    for _ in range(slices):
        scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal((512, 512), dtype=np.float32)))


def measured(work: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Medians of wall seconds and processor seconds."""
    runs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    n = options.slices
    rows = (
        (f"study, {n} x 512 x 512 at 0.7 mm", lambda: study(n, 0.7)),
        (f"study, {n} x 512 x 512 at 1.25 mm", lambda: study(n, 1.25)),
        ("neck at 2 mm, 120 x 96 x 96", sample),
        (f"white noise, {n} x 512 x 512, filtered", lambda: white_noise(n)),
    )
    table = Table("what", "wall", "processor", title="phantoms on 2 threads")
    sample()
    for name, work in rows:
        wall, cpu = measured(work, options.repeats)
        table.add_row(name, f"{wall:.2f} s", f"{cpu:.2f} s")
    Console().print(table)


if __name__ == "__main__":
    main()
