"""Receivers to compare with, each a process: `python -m tests.benchmarks.plain_receivers KIND PORT FOLDER`.

`bare` and `bare-fsync` are no DICOM: a length, so many bytes into a new file (and to the disk), one byte back. `stock`
is pynetdicom as its documentation shows it. `rowless` and `rowless-os` are our receiver with its file store and
without a database, durable or not.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.app.counting import NoCounters
from dicom_node.core.identifiers import AETitle, study_key
from dicom_node.core.peer import Peer
from dicom_node.dimse.server import DicomServer
from storage.direct_disk import DirectDisk, UnsyncedDisk
from storage.disk import CACHED_AT_ONCE
from storage.files import DiskFileStore
from tests.benchmarks.sending import OWN_AET

_PEERS = 20


def bare(port: int, folder: Path, *, is_synced: bool) -> None:
    """Serves for ever."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        number = 0
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            arguments = (connection, folder / str(number), is_synced)
            threading.Thread(target=_bare_connection, args=arguments, daemon=True).start()


def _bare_connection(connection: socket.socket, folder: Path, is_synced: bool) -> None:
    folder.mkdir()
    buffer, count = bytearray(1 << 20), 0
    while head := connection.recv(8, socket.MSG_WAITALL):
        length = struct.unpack(">Q", head)[0]
        view, filled = memoryview(buffer)[:length], 0
        while filled < length:
            filled += connection.recv_into(view[filled:])
        descriptor = os.open(folder / f"{count}.dcm", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for at in range(0, length, CACHED_AT_ONCE):  # four times as fast as all at once
            os.write(descriptor, view[at : at + CACHED_AT_ONCE])
        if is_synced:
            os.fdatasync(descriptor)
        os.close(descriptor)
        count += 1
        connection.sendall(b"!")


def stock(port: int, folder: Path) -> None:
    """Serves for ever."""

    def store(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0x0000

    entity = AE(OWN_AET)
    entity.maximum_associations = 64
    entity.add_supported_context(CTImageStorage)
    entity.add_supported_context(Verification)
    entity.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


class _Everybody:
    """PeerDirectory: the benchmark's senders."""

    def __init__(self) -> None:
        self._peers = tuple(
            Peer(name=f"peer{n:02}", ae_title=AETitle(f"PEER{n:02}"), host="127.0.0.1", port=104, may_send=True)
            for n in range(_PEERS)
        )

    def peers(self) -> tuple[Peer, ...]:
        return self._peers

    def by_name(self, name: str) -> Peer | None:
        return next((peer for peer in self._peers if peer.name == name), None)


class _Nowhere:
    """AssociationLog that forgets."""

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None:
        pass

    def closed(self, association_id: str, *, how: str) -> None:
        pass


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def rowless(port: int, folder: Path, *, is_synced: bool) -> None:
    """Serves for ever."""
    files = DiskFileStore(folder, clock=_Clock(), disk=DirectDisk() if is_synced else UnsyncedDisk())
    server = DicomServer(
        ae_title=OWN_AET,
        host="127.0.0.1",
        port=port,
        peers=_Everybody(),
        receive=lambda incoming: files.write(
            study_key(incoming.header.study_instance_uid if incoming.header else ""),
            incoming.head,
            incoming.data_set,
            digest=incoming.digest,
        ),
        associations=_Nowhere(),
        counters=NoCounters(),
        clock=_Clock(),
    )
    server.start()
    threading.Event().wait()


KINDS: dict[str, Callable[[int, Path], None]] = {
    "bare": lambda port, folder: bare(port, folder, is_synced=False),
    "bare-fsync": lambda port, folder: bare(port, folder, is_synced=True),
    "stock": stock,
    "rowless": lambda port, folder: rowless(port, folder, is_synced=True),
    "rowless-os": lambda port, folder: rowless(port, folder, is_synced=False),
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
