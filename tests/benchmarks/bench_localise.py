"""Seconds to localise a 300-slice 512 x 512 study that is in memory; target: 2 s on two cores.

`python tests/benchmarks/bench_localise.py [--bundle default] [--slices 300] [--rounds 3] [--threads 2]`

Beside it, in the same run and interleaved: what no localiser with this network could do without, SimpleITK's
resampling of the volume to 2 mm and one bare pass of the network over that (float32). The ratio to it counts; machines
drift. Float32 and bfloat16 must name the same levels with the same statuses; how far their masks differ is printed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from inference.bundle import load_bundle  # noqa: E402
from inference.localise import STRIDE, NetworkLocaliser, Precision  # noqa: E402
from inference.precision import has_bfloat16  # noqa: E402
from inference.preprocess import LOCALISER_SPACING_MM, localiser_input  # noqa: E402
from inference.spine import Spine  # noqa: E402
from inference.synthetic import draw_spec, make_phantom  # noqa: E402
from inference.volume import Volume  # noqa: E402

CPU = torch.device("cpu")
TARGET_S = 2.0
PEER = "SimpleITK resampling + bare network"


def study(slices: int) -> Volume:
    """The phantom that the benchmark of the analysis uses."""
    spec = draw_spec(4, coverage="cspine", slices=slices)
    scanner = replace(spec.scanner, spacing_mm=0.7, slice_mm=0.7, tilt_deg=0.0)
    return make_phantom(replace(spec, scanner=scanner)).volume


def peer(volume: Volume, net: torch.nn.Module) -> None:
    """The volume at the localiser's spacing by SimpleITK, and one float32 pass over it."""
    image = sitk.GetImageFromArray(volume.hu)
    image.SetSpacing(volume.spacing_mm_zyx[::-1])
    size = [
        max(1, round(n * s / LOCALISER_SPACING_MM)) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    grid = ([LOCALISER_SPACING_MM] * 3, image.GetDirection())
    coarse = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), *grid, -1024.0, sitk.sitkFloat32
    )
    hu = torch.from_numpy(sitk.GetArrayFromImage(coarse))
    padded = torch.full([-(-n // STRIDE) * STRIDE for n in hu.shape], -1024.0)
    padded[: hu.shape[0], : hu.shape[1], : hu.shape[2]] = hu
    with torch.inference_mode():
        net(localiser_input(padded)[None, None])


def measure(rounds: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Median seconds of each after one warm-up, rounds interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in rounds}
    for number in range(times + 1):
        for name, call in rounds.items():
            begin = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(measured) for name, measured in seconds.items()}


def memory_mb(field: str) -> float:
    """A line of /proc/self/status; getrusage would answer with the parent's peak after fork and exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def growth_mb(volume: Volume, bundle: str) -> float:
    """How much a fresh process that holds volume and network grows at most while it localises."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.npz"
        np.savez(file, hu=volume.hu, affine=volume.affine_lps)
        command = [sys.executable, __file__, "--bundle", bundle, "--grow", str(file)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def grow(file: Path, bundle: str) -> None:
    stored = np.load(file)
    volume = Volume(hu=stored["hu"], affine_lps=stored["affine"])
    loaded = load_bundle(bundle)
    localiser = NetworkLocaliser(loaded.localiser, CPU, place_net=loaded.place, shape_net=loaded.shape)
    before = memory_mb("VmRSS")
    localiser.locate(volume)
    print(memory_mb("VmHWM") - before)


def answers(spine: Spine | None) -> list[tuple[str, str]]:
    return [] if spine is None else [(v.level, v.status) for v in spine.levels]


def main(bundle: str, slices: int, rounds: int, threads: int) -> int:
    torch.set_num_threads(threads)
    volume, loaded = study(slices), load_bundle(bundle)
    net = loaded.localiser
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    found: dict[str, Spine | None] = {}

    def locate(precision: Precision) -> None:
        localiser = NetworkLocaliser(net, CPU, precision, place_net=loaded.place, shape_net=loaded.shape)
        found[precision] = localiser.locate(volume)

    calls: dict[str, Callable[[], object]] = {p: lambda p=p: locate(p) for p in precisions}
    seconds = measure({**calls, PEER: lambda: peer(volume, net)}, rounds)
    used = "bfloat16" if has_bfloat16(CPU) else "float32"
    shape = "x".join(map(str, volume.hu.shape))
    table = Table(title=f"Localising {shape} in memory, {threads} threads: median of {rounds}; used here: {used}")
    for heading in ("", "seconds", f"times as long as {PEER}"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f}", f"{value / seconds[PEER]:.2f}")
    same = answers(found["float32"]) == answers(found["bfloat16"])
    masks = [np.zeros(1, np.uint8) if s is None else s.mask for s in found.values()]
    console = Console(width=110)
    console.print(table)
    console.print(
        f"growth of memory {growth_mb(volume, bundle):.0f} MB beside a volume of {volume.hu.nbytes / 1e6:.0f} MB"
    )
    if same and masks[0].shape == masks[1].shape:
        apart = float((masks[0] != masks[1]).sum() / max(1, int((masks[0] > 0).sum())))
        console.print(f"levels and statuses are the same in both; their masks differ in {apart:.2%} of the voxels")
    console.print(f"target {TARGET_S:g} s: {'met' if seconds[used] <= TARGET_S else 'not met'} ({seconds[used]:.2f} s)")
    if not same:
        console.print(f"float32 {answers(found['float32'])}\nbfloat16 {answers(found['bfloat16'])}: NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grow", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.grow:
        grow(args.grow, args.bundle)
        sys.exit(0)
    sys.exit(main(args.bundle, args.slices, args.rounds, args.threads))
