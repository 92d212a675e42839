"""Senders that keep a receiver busy: everything is made ready before, then it is sockets and nothing else.

TCP_NODELAY, PDUs as large as the receiver takes (128 KiB at most), one request after the other as a scanner sends
them. All but the first kilobyte of an instance is the same memory for each.
"""

from __future__ import annotations

import io
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

OWN_AET = "CSPINE_AI"
UID_LENGTH = 48
SEED = 20240517
LONGEST_PDU = 131_072
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_VERIFICATION = "1.2.840.10008.1.1"
_SUCCESS = struct.pack("<HHLH", 0x0000, 0x0900, 2, 0x0000)


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


@dataclass(frozen=True, kw_only=True)
class Sent:
    """`seconds` from the first connection to the last release; `refused` were not answered with Success."""

    seconds: float
    instances: int
    bytes: int
    refused: int

    @property
    def mb_per_s(self) -> float:
        """Data sets alone, in units of 10^6 bytes."""
        return self.bytes / self.seconds / 1e6


class Scanner:
    """One association of one peer that sends `count` instances of its study `study`."""

    def __init__(
        self,
        port: int,
        peer: int,
        data_set: bytes,
        count: int,
        *,
        study: int,
        called: str,
        syntax: str = ExplicitVRLittleEndian,
    ) -> None:
        self._port, self._peer, self._count, self._called, self._syntax = port, peer, count, called, syntax
        of_series = data_set.replace(uid(0, 2).encode(), uid(peer, study, 2).encode())
        self._data_set = of_series.replace(uid(0, 1).encode(), uid(peer, study).encode())
        self._study = study
        self._requests: tuple[list[bytes], bytes] = ([], b"")
        self._longest = 0
        self.refused = self.answered = 0

    def make_ready(self) -> None:
        """Ask on an association of its own how long PDUs may be, and make all that will be sent."""
        with self._associated() as (_, self._longest):
            pass
        self._requests = self._prepared(self._longest)

    def send(self) -> None:
        """From the connection to the release."""
        if not self._longest:
            self.make_ready()
        firsts, rest = self._requests
        with self._associated() as (connection, longest):
            if longest != self._longest:
                raise RuntimeError(f"the receiver took PDUs of {self._longest} bytes and takes {longest} now")
            for first in firsts:
                connection.sendall(first)
                connection.sendall(rest)
                self.refused += _SUCCESS not in receive_pdu(connection)
                self.answered += 1

    def _associated(self) -> associated:
        return associated(self._port, f"PEER{self._peer:02}", self._called, self._syntax)

    def _prepared(self, longest: int) -> tuple[list[bytes], bytes]:
        """Of each instance command and first fragment; and what all have in common."""
        data, step = self._data_set, longest - 6
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        firsts = []
        for number in range(self._count):
            own = uid(self._peer, self._study, number).encode()
            first = pieces[0].replace(uid(0, 0, 0).encode(), own, 1)
            request = pdata(0x03, command(own, number % 60_000 + 1))
            firsts.append(request + pdata(0x00 if len(pieces) > 1 else 0x02, first))
        rest = [pdata(0x00, piece) for piece in pieces[1:-1]] + [pdata(0x02, piece) for piece in pieces[1:][-1:]]
        return firsts, b"".join(rest)


class Bare:
    """The same bytes to a program that is no DICOM: length, data set, one byte back."""

    def __init__(self, port: int, data_set: bytes, count: int) -> None:
        self._port, self._data_set, self._count = port, data_set, count
        self.refused = 0

    def make_ready(self) -> None:
        """Nothing is to be asked or made."""

    def send(self) -> None:
        """From the connection to its end."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=120) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = struct.pack(">Q", len(self._data_set))
            for _ in range(self._count):
                connection.sendall(head)
                connection.sendall(self._data_set)
                self.refused += connection.recv(1) != b"!"


def all_at_once(senders: list[Scanner] | list[Bare], size: int, count: int, watch: Callable[[], None]) -> Sent:
    """Every sender in a thread of its own. `watch` is called ten times a second meanwhile."""
    for sender in senders:
        sender.make_ready()
    failures: list[Exception] = []
    threads = [threading.Thread(target=_guarded, args=(sender, failures)) for sender in senders]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            watch()
    seconds = time.perf_counter() - begun
    if failures:
        raise failures[0]
    sent = len(senders) * count
    return Sent(seconds=seconds, instances=sent, bytes=sent * size, refused=sum(each.refused for each in senders))


def _guarded(sender: Scanner | Bare, failures: list[Exception]) -> None:
    try:
        sender.send()
    except Exception as error:
        failures.append(error)


class associated:
    """An open association and the longest PDU to send on it; released at the end."""

    def __init__(self, port: int, calling: str, called: str, syntax: str = ExplicitVRLittleEndian) -> None:
        self._port, self._calling, self._called, self._syntax = port, calling, called, syntax

    def __enter__(self) -> tuple[socket.socket, int]:
        self._connection = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sendall(associate_request(self._calling, self._called, self._syntax))
        answer = receive_pdu(self._connection)
        if answer[0] != 0x02:
            self._connection.close()
            raise RuntimeError(f"the association of {self._calling} was not accepted")
        return self._connection, min(_maximum_length(answer) or LONGEST_PDU, LONGEST_PDU)

    def __exit__(self, kind: object, *_: object) -> None:
        with self._connection:
            if kind is None:
                self._connection.sendall(RELEASE)
                receive_pdu(self._connection)


def echo_s(port: int, called: str, count: int) -> float:
    """The median round trip of a C-ECHO on one association."""
    request = pdata(0x03, _command(_VERIFICATION.encode(), 0x0030, 1, 0x0101), context_id=3)
    times = []
    with associated(port, "PEER00", called) as (connection, _):
        for _ in range(count):
            begun = time.perf_counter()
            connection.sendall(request)
            receive_pdu(connection)
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def association_s(port: int, called: str, count: int) -> float:
    """The median time from the connect to the accepted association."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        with associated(port, "PEER00", called):
            times.append(time.perf_counter() - begun)
        time.sleep(0.05)  # a receiver may pace those who come again and again
    return statistics.median(times)


def associate_request(calling: str, called: str, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A-ASSOCIATE-RQ for CT images in this transfer syntax (context 1) and verification (3)."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    contexts = [build_context(CTImageStorage, syntax), build_context(_VERIFICATION)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = LONGEST_PDU, "1.2.3"
    primitive.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(primitive).encode()


def _maximum_length(accept: bytes) -> int:
    """Of the Maximum Length sub-item (PS3.8 D.1) in an A-ASSOCIATE-AC."""
    return int(struct.unpack_from(">L", accept, accept.index(b"\x51\x00\x00\x04") + 4)[0])


def command(sop_instance_uid: bytes, message_id: int) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1.1)."""
    more = _element(0x0700, b"\x00\x00"), _element(0x1000, sop_instance_uid)
    return _command(CTImageStorage.encode(), 0x0001, message_id, 0x0001, *more)


def _command(sop_class: bytes, field: int, message_id: int, data_set_type: int, *more: bytes) -> bytes:
    body = (
        _element(0x0002, sop_class)
        + _element(0x0100, struct.pack("<H", field))
        + _element(0x0110, struct.pack("<H", message_id))
        + b"".join(more[:1])
        + _element(0x0800, struct.pack("<H", data_set_type))
        + b"".join(more[1:])
    )
    return _element(0x0000, struct.pack("<L", len(body))) + body


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def pdata(control: int, fragment: bytes, context_id: int = 1) -> bytes:
    """A P-DATA-TF of one fragment."""
    return struct.pack(">BBLLBB", 0x04, 0, len(fragment) + 6, len(fragment) + 2, context_id, control) + fragment


def receive_pdu(connection: socket.socket) -> bytes:
    """The next PDU, whole."""
    head = _receive(connection, 6)
    return head + _receive(connection, struct.unpack(">L", head[2:])[0])


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the receiver ended the association")
        data += more
    return data
