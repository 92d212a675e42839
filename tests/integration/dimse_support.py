"""A receiver on loopback with a use case that records, and small DICOM objects to send to it."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.app.receive_instance import IncomingInstance, checked_header
from dicom_node.core.errors import RejectedInput
from dicom_node.core.identifiers import AETitle, derived_uid
from dicom_node.core.peer import Peer
from dicom_node.dimse.server import DicomServer, ReceiverLimits

OWN_AET = "CSPINE_AI"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def peer(ae_title: str = "SCANNER", **changes: object) -> Peer:
    values: dict[str, object] = {
        "name": ae_title.lower(), "ae_title": AETitle(ae_title), "host": "127.0.0.1", "port": 104, "may_send": True,
    }  # fmt: skip
    return Peer(**(values | changes))  # type: ignore[arg-type]


@dataclass
class Directory:
    """Peers in a list that a test may change."""

    entries: list[Peer] = field(default_factory=lambda: [peer()])

    def peers(self) -> tuple[Peer, ...]:
        return tuple(self.entries)

    def by_name(self, name: str) -> Peer | None:
        return next((entry for entry in self.entries if entry.name == name), None)


class Clock:
    def now(self) -> datetime:
        return datetime(2024, 5, 17, 8, 30, tzinfo=UTC)


@dataclass
class Counts:
    counted: Counter = field(default_factory=Counter)

    def count(self, name: str, **labels: str) -> None:
        self.counted[(name, *labels.values())] += 1

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass


@dataclass
class Associations:
    opened_: list[tuple[str, str, str]] = field(default_factory=list)
    closed_: list[tuple[str, str]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.opened_.append((association_id, calling_aet, address))

    def closed(self, association_id: str, *, how: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.closed_.append((association_id, how))

    def endings(self) -> list[str]:
        return [how for _, how in self.closed_]


class Receiving:
    """Checks UIDs as the real use case does, keeps what it was given, and fails when told to."""

    def __init__(self) -> None:
        self.instances: list[IncomingInstance] = []
        self.refused: list[str] = []
        self.hook: Callable[[IncomingInstance], None] = lambda incoming: None
        self.data_set_of: Callable[[IncomingInstance], bytes] = lambda incoming: bytes(incoming.data_set)

    def __call__(self, incoming: IncomingInstance) -> None:
        try:
            checked_header(incoming)
        except RejectedInput as rejection:
            self.refused.append(rejection.reason)
            raise
        self.hook(incoming)
        # The buffer belongs to the association: keep a copy.
        kept = IncomingInstance(**{**vars(incoming), "data_set": self.data_set_of(incoming)})
        self.instances.append(kept)

    def file_bytes(self) -> list[bytes]:
        return [bytes(incoming.head) + bytes(incoming.data_set) for incoming in self.instances]


@dataclass
class Node:
    server: DicomServer
    receiving: Receiving
    directory: Directory
    associations: Associations
    counts: Counts

    @property
    def port(self) -> int:
        return self.server.port

    def wait_until_idle(self) -> None:
        wait_for(lambda: not self.server.open_connections, "every connection to end")

    def wait_until_counted(self, *names: str, times: int = 1) -> None:
        """The other side may see an answer, or its connection's end, before we have counted why."""
        wait_for(lambda: self.counts.counted[names] == times, f"{' '.join(names)} to be counted {times} times")


@contextmanager
def running_node(
    peers: list[Peer] | None = None,
    limits: ReceiverLimits | None = None,
    *,
    host: str = "127.0.0.1",
    counts: Counts | None = None,
    **more: Any,
) -> Iterator[Node]:
    """`more` goes to DicomServer: `tls`, `environ`, `port`."""
    directory = Directory(peers) if peers is not None else Directory()
    receiving, associations, counts = Receiving(), Associations(), counts or Counts()
    server = DicomServer(
        ae_title=OWN_AET,
        host=host,
        peers=directory,
        receive=receiving,
        associations=associations,
        counters=counts,
        clock=Clock(),
        limits=limits or ReceiverLimits(acse_timeout_s=3.0, network_timeout_s=5.0),
        **{"port": 0, **more},
    )
    server.start()
    try:
        yield Node(server, receiving, directory, associations, counts)
    finally:
        server.stop(5.0)


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
    ends_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends_at:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.005)


def instance(number: int = 1, *, sop_class_uid: str = CT_IMAGE, study: str = "study", rows: int = 16) -> Dataset:
    """A small object of a SOP class; the same number gives the same UIDs."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = derived_uid(study, "instance", sop_class_uid, str(number))
    dataset.StudyDate = "20240517"
    dataset.AccessionNumber = "A1"
    dataset.Modality = "CT" if sop_class_uid == CT_IMAGE else "OT"
    dataset.StudyDescription = "Halswirbelsäule"
    dataset.PatientName = "Müller^Jörg"
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = derived_uid(study)
    dataset.SeriesInstanceUID = derived_uid(study, "series", sop_class_uid)
    dataset.InstanceNumber = number
    if sop_class_uid == CT_IMAGE:
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows = dataset.Columns = rows
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        row = bytes(range(256)) * ((rows * rows * 2) // 256 + 1)
        dataset.add_new(0x7FE00010, "OW", row[: rows * rows * 2])
    return dataset


def encode(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """A Part 10 file."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def write(folder: Path, dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    path.write_bytes(encode(dataset, transfer_syntax_uid))
    return path


def data_set_bytes(part_10: bytes) -> bytes:
    """What follows the file meta information."""
    length = int.from_bytes(part_10[140:144], "little")
    return part_10[144 + length :]


def open_socket(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def dicom_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "Acceptor" in thread.name or "dicom" in thread.name]
