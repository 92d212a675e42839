"""How fast the node takes a study, beside DCMTK's storescp in the same run; and that nothing is lost at twenty at once.

`python tests/benchmarks/bench_receive.py [--peers 20] [--instances 300] [--rows 512] [--rounds 1]`

The receiver is `cspine-node serve` as it is shipped: SQLite, files, each instance durable before its answer. storescp
writes the bytes and answers without making them durable, so the ratio is the price of both Python and durability.
The sender is ours and does nothing but send: TCP_NODELAY, PDUs as large as the receiver takes, data sets from memory.
Machines drift: the ratio counts.
"""

from __future__ import annotations

import argparse
import io
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.peers import DCMTK_ENVIRONMENT, NodeProcess, free_port, get_bytes, require, stop, wait_for  # noqa: E402

OWN_AET = "CSPINE_AI"
UID_LENGTH = 48
SEED = 20240517


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`seconds` from the first connection to the last release; `peak_mb` is resident memory, children included."""

    seconds: float
    instances: int
    bytes: int
    peak_mb: float
    refused: int


def uid(*numbers: int) -> str:
    """A UID of a fixed length, so that one template serves for every instance."""
    text = "1.2.826.0.1.3680043.10.1338." + ".".join(f"1{number:04}" for number in numbers)
    return text + ".1" + "0" * (UID_LENGTH - len(text) - 2)


def template(rows: int) -> bytes:
    """The data set of a CT slice with noise for pixels; its three UIDs are those of peer 0, instance 0."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, uid(0, 0, 0)
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid(0, 0, 0)
    dataset.Modality, dataset.PatientID = "CT", "BENCH"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(0, 1), uid(0, 2)
    dataset.Rows = dataset.Columns = rows
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    noise = np.random.default_rng(SEED).integers(-1000, 2000, rows * rows, dtype=np.int16)
    dataset.add_new(0x7FE00010, "OW", noise.tobytes())
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    whole = buffer.getvalue()
    return whole[144 + struct.unpack_from("<L", whole, 140)[0] :]


class Sender:
    """One association of one peer, straight on a socket."""

    def __init__(self, port: int, number: int, study: bytes) -> None:
        self._port, self._number = port, number
        self._study = study.replace(uid(0, 1).encode(), uid(number, 1).encode()).replace(
            uid(0, 2).encode(), uid(number, 2).encode()
        )
        self.refused = 0

    def send(self, count: int) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=120) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(associate_request(f"PEER{self._number:02}"))
            answer = receive_pdu(connection)
            if answer[0] != 0x02:
                raise RuntimeError(f"the association of peer {self._number} was not accepted")
            longest = min(maximum_length(answer) or 1 << 20, 1 << 20)
            for instance in range(count):
                self._store(connection, instance, longest)
            connection.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
            receive_pdu(connection)

    def _store(self, connection: socket.socket, instance: int, longest: int) -> None:
        own = uid(self._number, 0, instance).encode()
        data = self._study.replace(uid(0, 0, 0).encode(), own, 1)
        parts = [pdata(0x03, command(own, instance % 60_000 + 1))]
        step = longest - 6
        for start in range(0, len(data), step):
            parts.append(pdata(0x02 if start + step >= len(data) else 0x00, data[start : start + step]))
        connection.sendall(b"".join(parts))
        answer = receive_pdu(connection)
        at = answer.index(struct.pack("<HHL", 0x0000, 0x0900, 2))
        self.refused += struct.unpack_from("<H", answer, at + 8)[0] != 0x0000


def associate_request(calling: str) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, OWN_AET
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 131_072, "1.2.3"
    primitive.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(primitive).encode()


def maximum_length(accept: bytes) -> int:
    """Of the Maximum Length sub-item (PS3.8 D.1) in an A-ASSOCIATE-AC."""
    return struct.unpack_from(">L", accept, accept.index(b"\x51\x00\x00\x04") + 4)[0]


def command(sop_instance_uid: bytes, message_id: int) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1.1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0x0000, number, len(value)) + value

    body = (
        element(0x0002, CTImageStorage.encode())
        + element(0x0100, b"\x01\x00")
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, b"\x00\x00")
        + element(0x0800, b"\x01\x00")
        + element(0x1000, sop_instance_uid)
    )
    return element(0x0000, struct.pack("<L", len(body))) + body


def pdata(control: int, fragment: bytes) -> bytes:
    return struct.pack(">BBLLBB", 0x04, 0, len(fragment) + 6, len(fragment) + 2, 1, control) + fragment


def receive_pdu(connection: socket.socket) -> bytes:
    head = receive(connection, 6)
    return head + receive(connection, struct.unpack(">L", head[2:])[0])


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the receiver ended the association")
        data += more
    return data


def run(port: int, pid: int, peers: int, instances: int, data_set: bytes) -> Outcome:
    """Every peer sends its study at the same time."""
    senders = [Sender(port, number, data_set) for number in range(peers)]
    failures: list[Exception] = []
    threads = [threading.Thread(target=guarded, args=(sender, instances, failures)) for sender in senders]
    watch = PeakMemory(pid)
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            watch.look()
    seconds = time.perf_counter() - begun
    if failures:
        raise failures[0]
    return Outcome(
        seconds=seconds,
        instances=peers * instances,
        bytes=peers * instances * len(data_set),
        peak_mb=watch.peak_mb,
        refused=sum(sender.refused for sender in senders),
    )


def guarded(sender: Sender, instances: int, failures: list[Exception]) -> None:
    try:
        sender.send(instances)
    except Exception as error:
        failures.append(error)


class PeakMemory:
    """Resident memory of a process and its children, as far as it was looked at."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_mb = 0.0

    def look(self) -> None:
        pids = [self._pid, *children_of(self._pid)]
        self.peak_mb = max(self.peak_mb, sum(resident_mb(pid) for pid in pids))


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    except OSError:
        return 0.0


@contextmanager
def our_node(folder: Path, peers: int, expected: int) -> Iterator[tuple[int, int]]:
    names = [f"PEER{number:02}" for number in range(peers)]
    node = NodeProcess(
        folder=folder,
        peers=[
            {"name": name.lower(), "ae_title": name, "host": "127.0.0.1", "port": 104, "may_send": True}
            for name in names
        ],
        settings={
            "study": {"quiet_period_s": 3600.0, "hard_limit_s": 86_400.0},
            "log": {"level": "warning"},
        },
        ae_title=OWN_AET,
    ).start()
    try:
        assert node._process is not None
        yield node.port, node._process.pid
        counted = what_the_node_counted(node)
        if counted != {"received": expected, "rejected": 0}:
            raise RuntimeError(f"{expected} instances were sent, the node counted {counted}")
    finally:
        node.stop()


def what_the_node_counted(node: NodeProcess) -> dict[str, float]:
    """Instances received and rejected, from its metrics page."""
    page = get_bytes(f"{node.url}/metrics").decode()
    return {
        name: sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith(f"cspine_instances_{name}_total")
        )
        for name in ("received", "rejected")
    }


@contextmanager
def dcmtk(folder: Path, peers: int, expected: int) -> Iterator[tuple[int, int]]:
    folder.mkdir(parents=True)
    port = free_port()
    command_line = [require("storescp", "dcmtk"), "-aet", OWN_AET, "+B", "--max-pdu", "131072", "-od", str(folder)]
    process = subprocess.Popen(
        [*command_line, "--fork", str(port)],
        env=DCMTK_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for("storescp to listen", lambda: is_listening(port))
        yield port, process.pid
        kept = sum(1 for _ in folder.iterdir())
        if kept != expected:
            raise RuntimeError(f"{expected} instances were sent, storescp kept {kept}")
    finally:
        stop(process)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


RECEIVERS = {"cspine-node serve": our_node, "DCMTK storescp --fork": dcmtk}


def measure(peers: int, instances: int, data_set: bytes, rounds: int) -> dict[str, list[Outcome]]:
    """Every receiver in turn, round by round, each in a fresh folder."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in RECEIVERS}
    for _ in range(rounds):
        for name, receiver in RECEIVERS.items():
            with (
                tempfile.TemporaryDirectory(prefix="bench-receive-") as folder,
                receiver(Path(folder) / "receiver", peers, peers * instances) as (port, pid),
            ):
                outcomes[name].append(run(port, pid, peers, instances, data_set))
    return outcomes


def table(title: str, outcomes: dict[str, list[Outcome]]) -> Table:
    shown = Table(title=title)
    for column in ("receiver", "durable", "seconds", "instances/s", "MB/s", "of storescp", "peak MB", "refused"):
        shown.add_column(column, justify="left" if column == "receiver" else "right")
    reference = statistics.median(outcome.seconds for outcome in outcomes["DCMTK storescp --fork"])
    for name, runs in outcomes.items():
        seconds = statistics.median(outcome.seconds for outcome in runs)
        shown.add_row(
            name,
            "yes" if name.startswith("cspine") else "no",
            f"{seconds:.1f}",
            f"{runs[0].instances / seconds:.0f}",
            f"{runs[0].bytes / seconds / 1e6:.0f}",
            f"{reference / seconds:.2f}",
            f"{max(outcome.peak_mb for outcome in runs):.0f}",
            str(sum(outcome.refused for outcome in runs)),
        )
    return shown


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--instances", type=int, default=300, help="sent by each peer")
    parser.add_argument("--rows", type=int, default=512, help="rows and columns of a slice, int16")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(arguments)
    console = Console(width=110)
    data_set = template(options.rows)
    size_mb = options.instances * len(data_set) / 1e6
    for peers in (1, options.peers):
        outcomes = measure(peers, options.instances, data_set, options.rounds)
        plural = "s" if peers > 1 else ""
        console.print(
            table(
                f"{peers} association{plural} at once, {options.instances} instances each ({size_mb:.0f} MB)", outcomes
            )
        )


if __name__ == "__main__":
    main()
