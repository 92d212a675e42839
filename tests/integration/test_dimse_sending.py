"""Many objects over one association, in PDUs as long as the peer takes; connections that end or stall within one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core.errors import AssociationAborted
from dicom_node.demo.stand_in_pacs import StandInPacs
from dicom_node.dimse.echo import echo
from dicom_node.dimse.part10 import Part10File, data_set_in, read_part10
from dicom_node.dimse.requestor import VERIFICATION_PROPOSALS, Session, Timeouts, associated
from dicom_node.dimse.sender import proposals_for, send_files
from tests.integration.dimse_support import OWN_AET, data_set_bytes, instance, peer, running_node, wait_for, write
from tests.peers import DcmtkStorescp

QUICK = Timeouts(connect_s=2.0, associate_s=2.0, answer_s=2.0)


def large_instances(folder: Path, count: int, size: int = 300) -> list[Path]:
    """Files of so many instances with noise for pixels."""
    random = np.random.default_rng(3)
    files = []
    for number in range(count):
        dataset = instance(number)
        dataset.Rows, dataset.Columns = size, size
        dataset.PixelData = random.integers(0, 4096, (size, size)).astype("<u2").tobytes()
        files.append(write(folder, dataset))
    return files


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("longest_pdu", ["4096", "16382", "131072"])
def test_storescp_of_dcmtk_keeps_every_byte(tmp_path: Path, longest_pdu: str) -> None:
    files = large_instances(tmp_path / "in", 8)
    pacs = DcmtkStorescp(tmp_path / "pacs", "+B", "--max-pdu", longest_pdu)
    to = peer(pacs.ae_title, port=pacs.port)
    try:
        wait_for(lambda: echo(to, OWN_AET, 2.0).ok, "storescp to answer", 30.0)
        report = send_files(to, [tmp_path / "in"])
        assert report.is_complete
        assert report.associations == 1
        kept = {data_set_bytes(file.read_bytes()) for file in pacs.files()}
        assert kept == {data_set_bytes(file.read_bytes()) for file in files}
    finally:
        pacs.close()


def test_our_own_receiver_gets_every_byte_over_one_association(tmp_path: Path) -> None:
    files = large_instances(tmp_path / "in", 12)
    with running_node() as node:
        report = send_files(peer(OWN_AET, port=node.port), [tmp_path / "in"], own_aet=peer().ae_title)
        assert (report.stored, report.associations) == (12, 1)
        received = {data_set_bytes(content) for content in node.receiving.file_bytes()}
        assert received == {data_set_bytes(file.read_bytes()) for file in files}


class Relay:
    """Passes a conversation on, and after so many bytes of the client's closes the connection or falls silent."""

    def __init__(self, port: int, *, limit: int, closes: bool) -> None:
        self._limit, self._closes, self._to = limit, closes, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._to))
        back = threading.Thread(target=self._pass_back, args=(server, client))
        back.start()
        passed = 0
        while passed < self._limit and (data := client.recv(8192)):
            server.sendall(data)
            passed += len(data)
        if not self._closes:
            self._over.wait(30.0)
        for connection in (client, server):
            connection.shutdown(socket.SHUT_RDWR)
        back.join()
        client.close()
        server.close()

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        while data := server.recv(8192):
            client.sendall(data)

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()


@contextmanager
def relay(to: StandInPacs, **how: object) -> Iterator[Relay]:
    between = Relay(to.port, **how)  # type: ignore[arg-type]
    try:
        yield between
    finally:
        between.end()


def store(session: Session, file: Part10File) -> int:
    answer = session.store(
        context_id=session.accepted()[file.sop_class_uid, file.transfer_syntax_uid],
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        data_set=data_set_in(file, file.transfer_syntax_uid),
    )
    return answer.status


@pytest.mark.parametrize("closes", [True, False])
def test_a_connection_that_ends_or_stalls_within_an_object_is_an_association_aborted(tmp_path, closes) -> None:
    """The object is larger than what the two systems' buffers hold, so that the writer itself waits."""
    (file,) = map(read_part10, large_instances(tmp_path / "in", 1, size=3000))
    timeouts = Timeouts(connect_s=2.0, associate_s=2.0, answer_s=0.5)
    with StandInPacs(tmp_path / "pacs") as to, relay(to, limit=60_000, closes=closes) as between:
        receiver = peer("PACS", port=between.port)
        asked = associated(receiver, own_aet="US", proposals=proposals_for([file]), timeouts=timeouts)
        with asked as session, pytest.raises(AssociationAborted):
            store(session, file)
    assert not [thread for thread in threading.enumerate() if "RequestorThread" in thread.name]


def test_what_follows_an_object_that_was_sent_directly_still_works(tmp_path: Path) -> None:
    """C-ECHO goes through pynetdicom, between two objects that do not."""
    files = [read_part10(file) for file in large_instances(tmp_path / "in", 2)]
    proposals = (*proposals_for(files), *VERIFICATION_PROPOSALS)
    with StandInPacs(tmp_path / "pacs") as to:
        receiver = peer("PACS", port=to.port)
        with associated(receiver, own_aet="US", proposals=proposals, timeouts=QUICK) as session:
            for file in files:
                assert store(session, file) == 0
                assert session.echo() == 0
