"""Seconds and memory of the analysis of a 300-slice 512 x 512 study: `python tests/benchmarks/bench_analysis.py`.

The stages here are those of the pipeline (localise with the mask, classify); reading and encoding are measured
by the benchmark of the node. Runs in a process of its own so that the peak memory is the analysis's.

Then one pipeline analyses `--studies` scans of three sizes in turn: what it still holds after each round must not grow.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

from inference.bundle import load_bundle
from inference.pipeline import Pipeline
from inference.synthetic import draw_spec, make_phantom


def measure(bundle: str, *, slices: int, repeats: int, threads: int) -> dict[str, float | str]:
    """Best of `repeats` runs on one phantom, in seconds; peak resident memory of the process in MB."""
    spec = draw_spec(4, coverage="cspine", slices=slices)
    scanner = replace(spec.scanner, spacing_mm=0.7, slice_mm=0.7, tilt_deg=0.0)
    phantom = make_phantom(replace(spec, scanner=scanner))
    volume = phantom.volume
    del phantom
    begin = time.perf_counter()
    pipeline = Pipeline(load_bundle(bundle), "cpu", threads)
    loading = time.perf_counter() - begin
    runs = [pipeline.predict(volume).timings_s for _ in range(repeats)]
    return {
        "shape": "x".join(str(n) for n in volume.hu.shape),
        "threads": str(threads),
        "load_s": round(loading, 2),
        "localise_s": round(min(r["localise"] for r in runs), 2),
        "classify_s": round(min(r["classify"] for r in runs), 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def held_memory(bundle: str, *, studies: int, threads: int) -> dict[str, float]:
    """MB that the process holds after the first six studies and after the last, and the seconds of a study."""
    volumes = []
    for seed, (slices, side) in enumerate(((60, 192), (90, 224), (120, 256))):
        spec = draw_spec(seed, coverage="cspine", slices=slices, matrix=side)
        volumes.append(make_phantom(spec).volume)
    pipeline = Pipeline(load_bundle(bundle), "cpu", threads)
    held = []
    begin = time.perf_counter()
    for number in range(studies):
        pipeline.predict(volumes[number % len(volumes)])
        held.append(_resident_mb())
    return {
        "studies": studies,
        "study_s": round((time.perf_counter() - begin) / studies, 2),
        "held_after_6_mb": round(max(held[3:6])),
        "held_after_all_mb": round(max(held[-3:])),
    }


def _resident_mb() -> float:
    """What this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print two lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--studies", type=int, default=50)
    args = parser.parse_args()
    print(json.dumps(measure(args.bundle, slices=args.slices, repeats=args.repeats, threads=args.threads)), flush=True)
    if args.studies:
        print(json.dumps(held_memory(args.bundle, studies=args.studies, threads=args.threads)))


if __name__ == "__main__":
    main()
