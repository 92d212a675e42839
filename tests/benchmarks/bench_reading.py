"""How fast a series becomes Hounsfield units: ours beside SimpleITK and a pydicom loop.

`python tests/benchmarks/bench_reading.py [SLICES]` writes a CT-like series in several transfer syntaxes to a
temporary folder, reads it interleaved with each reader and prints medians, ratios and the peak of our own memory.
Each reader starts from the folder and ends with int16 Hounsfield units in one array. One more row is what is left of
that when the study closes and its images were decoded while they came in; what decoding them took then is told apart.

Machines drift: the ratios count. On a machine with other work the seconds do not even give those, because each reader
has another number of threads: there the processor seconds say what each costs, on as many processors as it can use.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from inference.decoded import store_frames  # noqa: E402
from inference.decoding import is_encapsulated  # noqa: E402
from inference.headers import scan_folder  # noqa: E402
from inference.reading import read_series  # noqa: E402
from tests.builders.stored_ct import ct_slice, to_jpeg_lossless, write  # noqa: E402

SIZE = 512
ROUNDS = 3
PLAIN = "Explicit VR"
ON_ARRIVAL = "ours, decoded on arrival"
WANTED = {PLAIN: 3.0}  # times as fast as SimpleITK; others:
WANTED_COMPRESSED = 1.5
SYNTAXES = {"RLE Lossless": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}


def ours(folder: Path) -> NDArray[np.int16]:
    return read_series(scan_folder(folder).instances).volume.hu


def simpleitk(folder: Path) -> NDArray[np.int16]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return np.clip(sitk.GetArrayFromImage(reader.Execute()), -1024, 32767).astype(np.int16)


def pydicom_loop(folder: Path) -> NDArray[np.int16]:
    data_sets = sorted((dcmread(file) for file in folder.iterdir()), key=lambda each: each.ImagePositionPatient[2])
    slices = [each.pixel_array * each.RescaleSlope + each.RescaleIntercept for each in data_sets]
    return np.clip(np.stack(slices), -1024, 32767).astype(np.int16)


def ours_decoded_on_arrival(folder: Path) -> NDArray[np.int16]:
    """What is left to do when the study closes and its images were decoded while they came in."""
    return read_series(scan_folder(folder).instances, decoded=DECODED).volume.hu


def decode_ahead(folder: Path, into: Path) -> float:
    """Every compressed image lies decoded, as the node's decoding child leaves it; the processor seconds it took."""
    into.mkdir()
    began = time.process_time()
    for number, header in enumerate(scan_folder(folder).instances):
        if is_encapsulated(header):
            DECODED[header.file] = into / f"{number:064x}.frames"
            store_frames(header, DECODED[header.file], most_bytes=1 << 30)
    return time.process_time() - began


# An image's file to where its frames lie decoded.
DECODED: dict[Path, Path] = {}
READERS: dict[str, Callable[[Path], NDArray[np.int16]]] = {
    "ours": ours,
    ON_ARRIVAL: ours_decoded_on_arrival,
    "SimpleITK": simpleitk,
    "pydicom loop": pydicom_loop,
}


def make_series(root: Path, slices: int) -> dict[str, Path]:
    """The same slices in each syntax: a body in air with the noise of a bone kernel."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    body = np.where(np.hypot(x, y) < 180, 40.0, -1000.0) + 700 * (np.hypot(x - 20, y - 40) < 25)
    noise = [60 * gaussian_filter(random.normal(size=body.shape), 0.7) for _ in range(8)]
    for k in range(slices):
        stored = np.clip(np.roll(body, k, 1) + noise[k % 8] + 1024, 0, 4095).astype(np.uint16)
        name = f"{k:04d}.dcm"
        placed = ct_slice(stored, k, BitsStored=12, HighBit=11, RescaleIntercept=-1024)
        plain = write(placed, root / PLAIN / name)
        to_jpeg_lossless(plain, root / "JPEG Lossless SV1" / name)
        for syntax, uid in SYNTAXES.items():
            data_set = dcmread(plain)
            data_set.compress(uid, generate_instance_uid=False)
            (root / syntax).mkdir(exist_ok=True)
            data_set.save_as(root / syntax / name)
    return {folder.name: folder for folder in sorted(root.iterdir())}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Median seconds by the clock and of all processors."""

    seconds: float
    processor_s: float


def measure(folder: Path) -> dict[str, Cost]:
    """What each reader costs, their rounds interleaved. All must agree on the voxels."""
    expected = ours(folder)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in READERS}
    for _ in range(ROUNDS):
        for name, read in READERS.items():
            start, used = time.perf_counter(), time.process_time()
            volume = read(folder)
            times[name].append((time.perf_counter() - start, time.process_time() - used))
            if not np.array_equal(volume, expected):
                raise SystemExit(f"{name} reads other voxels from {folder.name}")
    return {name: Cost(seconds=_median(each, 0), processor_s=_median(each, 1)) for name, each in times.items()}


def _median(measured: list[tuple[float, float]], which: int) -> float:
    return statistics.median(pair[which] for pair in measured)


def peak_mb(folder: Path) -> float:
    """How much a fresh process grows at most while it reads the folder with `ours`."""
    answer = subprocess.run(
        [sys.executable, __file__, "--peak", str(folder)], check=True, capture_output=True, text=True
    )
    return float(answer.stdout)


def memory_mb(field: str) -> float:
    """A line of /proc/self/status; getrusage would answer with the parent's peak after fork and exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main(slices: int) -> None:
    title = f"Reading {slices} slices of {SIZE} x {SIZE}: seconds, and times as long as ours"
    by_clock, by_processor = Table(title=title), Table(title="The same: processor seconds of all threads")
    headings = ("transfer syntax", *READERS)
    notes = ("wanted of SimpleITK", "our peak MB", "volume MB")
    for table, more in ((by_clock, notes), (by_processor, ("decoding on arrival",))):
        for heading in (*headings, *more):
            table.add_column(heading, justify="left" if heading == "transfer syntax" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for name, series in make_series(Path(folder) / "series", slices).items():
            ahead_s = decode_ahead(series, Path(folder) / name)
            costs = measure(series)
            wanted = f"{WANTED.get(name, WANTED_COMPRESSED):.1f}x"
            memory = (f"{peak_mb(series):.0f}", f"{slices * SIZE * SIZE * 2 / 1e6:.0f}")
            by_clock.add_row(name, *_beside([cost.seconds for cost in costs.values()]), wanted, *memory)
            by_processor.add_row(name, *_beside([cost.processor_s for cost in costs.values()]), f"{ahead_s:.2f}")
    console = Console(width=130)
    console.print(by_clock)
    console.print(by_processor)


def _beside(values: list[float]) -> list[str]:
    """Each with its ratio to the first."""
    return [f"{value:.2f} ({value / values[0]:.2g}x)" for value in values]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        before = memory_mb("VmRSS")
        ours(Path(sys.argv[2]))
        print(memory_mb("VmHWM") - before)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 150)
