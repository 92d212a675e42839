"""What decoding ahead costs those who send: a node that does it beside one that does not, round by round.

`python -m tests.benchmarks.bench_arrival [--instances 300] [--rounds 3]` sends a JPEG 2000 study as fast
as the node takes it, first to the one, then to the other, each time when nothing is left to decode. The table has
images a second and how long after the last answer everything was decoded.
"""

from __future__ import annotations

import argparse
import io
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from tests.benchmarks.sending import OWN_AET, Scanner, all_at_once, uid
from tests.peers import NodeProcess, get_bytes, sender, wait_for

ROWS = 512


def data_set() -> bytes:
    """A CT slice with the noise of a bone kernel, JPEG 2000 Lossless; its UIDs are those of peer 0, instance 0."""
    noise = 60 * gaussian_filter(np.random.default_rng(7).normal(size=(ROWS, ROWS)), 0.7)
    y, x = np.mgrid[:ROWS, :ROWS] - ROWS / 2
    stored = np.clip(np.where(np.hypot(x, y) < 180, 1064.0, 24.0) + noise, 0, 4095).astype(np.uint16)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, uid(0, 0, 0)
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, uid(0, 0, 0)
    made.Modality, made.StudyInstanceUID, made.SeriesInstanceUID = "CT", uid(0, 1), uid(0, 2)
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [0.5, 0.5], 1
    made.Rows = made.Columns = ROWS
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW"
    made.compress(JPEG2000Lossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    whole = buffer.getvalue()
    return whole[144 + struct.unpack_from("<L", whole, 140)[0] :]


@contextmanager
def node(folder: Path, limit_mb: int, peers: int) -> Iterator[NodeProcess]:
    """`cspine-node serve` whose studies never close."""
    running = NodeProcess(
        folder=folder,
        peers=[sender(f"peer{number:02}", f"PEER{number:02}") for number in range(peers)],
        settings={
            "study": {"quiet_period_s": 3600.0, "hard_limit_s": 86_400.0},
            "log": {"level": "warning"},
            "inference": {"device": "cpu", "decode_ahead_mb": limit_mb},
        },
        ae_title=OWN_AET,
        ready_within_s=300.0,
    ).start()
    try:
        yield running
    finally:
        running.stop()


def decoded(running: NodeProcess) -> int:
    """How many images it has decoded ahead."""
    line = b'cspine_images_decoded_ahead_total{outcome="decoded"} '
    page = get_bytes(f"{running.url}/metrics")
    return int(float(page.partition(line)[2].partition(b"\n")[0] or 0))


def measure(
    nodes: dict[str, NodeProcess], content: bytes, peers: int, count: int, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Images a second of each node, round by round; and for the first how long it went on decoding, in seconds."""
    first = next(iter(nodes))
    rates: dict[str, list[float]] = {name: [] for name in nodes}
    went_on_s: list[float] = []
    for study in range(1, rounds + 1):
        for name in list(nodes)[:: 1 if study % 2 else -1]:
            port = nodes[name].port
            scanners = [
                Scanner(port, peer, content, count, study=study, called=OWN_AET, syntax=JPEG2000Lossless)
                for peer in range(peers)
            ]
            sent = all_at_once(scanners, len(content), count, lambda: None)
            if sent.refused:
                raise SystemExit(f"{sent.refused} images were refused")
            rates[name].append(sent.instances / sent.seconds)
            if name == first:
                began = time.perf_counter()
                wait_for_all(nodes[name], study * peers * count)
                went_on_s.append(time.perf_counter() - began)
    return rates, went_on_s


def wait_for_all(running: NodeProcess, wanted: int) -> None:
    """So many images are decoded."""
    wait_for("all to be decoded", lambda: decoded(running) >= wanted, timeout_s=600.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=300, help="sent by each association")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--associations", type=int, default=1)
    options = parser.parse_args()
    content, count, peers = data_set(), options.instances, options.associations
    with tempfile.TemporaryDirectory(prefix="bench-arrival-") as folder, ExitStack() as running:
        nodes = {
            name: running.enter_context(node(Path(folder) / name, limit_mb, peers))
            for name, limit_mb in (("decoded ahead", 16_384), ("not", 0))
        }
        rates, went_on_s = measure(nodes, content, peers, count, options.rounds)
    table = Table(
        title=f"{peers} at once, {count} images of {len(content) / 1e3:.0f} kB each; every round, and medians"
    )
    for column in ("images/s, decoded ahead", "not", "ratio", "all decoded after the last answer, s"):
        table.add_column(column, justify="right")
    rows = list(zip(*rates.values(), went_on_s, strict=True))
    for ahead, without, seconds in [*rows, tuple(map(statistics.median, zip(*rows, strict=True)))]:
        table.add_row(f"{ahead:.0f}", f"{without:.0f}", f"{ahead / without:.2f}", f"{seconds:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
