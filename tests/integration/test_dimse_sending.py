"""Many objects over one association, in PDUs as long as the peer takes; connections that end or stall within one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pynetdicom.ae import ApplicationEntity as AE

from dicom_node.core.errors import AssociationAborted
from dicom_node.demo.stand_in_pacs import StandInPacs
from dicom_node.dimse.echo import echo
from dicom_node.dimse.part10 import Part10File, data_set_in, read_part10
from dicom_node.dimse.requestor import VERIFICATION_PROPOSALS, Session, Timeouts, associated
from dicom_node.dimse.sender import proposals_for, send_files
from tests.builders.stock_scu import keeping_answers
from tests.integration.dimse_support import (
    CT_IMAGE,
    OWN_AET,
    data_set_bytes,
    instance,
    peer,
    running_node,
    wait_for,
    write,
)
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


def with_a_gap(association: Any) -> Any:
    """The association, whose reactor is late between its leave to go on and its look at what has come, and whose
    caller is later still to ask for the answer."""
    checkpoint, wait = association._reactor_checkpoint, association._reactor_checkpoint.wait
    dimse, get = association.dimse, association.dimse.get_msg

    def waits_and_is_late(*how: Any) -> bool:
        is_set = wait(*how)
        time.sleep(0.06)  # more than a delayed acknowledgement of TCP, for which pynetdicom's sender waits
        return bool(is_set)

    def asks_late(block: bool = False) -> Any:
        time.sleep(0.15 if block else 0.0)
        return get(block)

    checkpoint.wait, dimse.get_msg = waits_and_is_late, asks_late
    return association


def test_a_reactor_that_is_late_takes_no_answer_from_the_one_who_waits(tmp_path: Path) -> None:
    files = [read_part10(write(tmp_path, instance(number))) for number in range(5)]
    with running_node() as node:
        receiver = peer(OWN_AET, port=node.port)
        asked = associated(receiver, own_aet=peer().ae_title, proposals=proposals_for(files), timeouts=QUICK)
        with asked as session:
            with_a_gap(session._association)
            assert [store(session, file) for file in files] == [0x0000] * 5
        assert len(node.receiving.instances) == 5


def test_neither_does_the_scanner_of_our_tests() -> None:
    entity = AE(peer().ae_title)
    entity.add_requested_context(CT_IMAGE)
    entity.dimse_timeout = 2
    with running_node() as node:
        association = with_a_gap(entity.associate("127.0.0.1", node.port, ae_title=OWN_AET))
        keeping_answers(association)
        assert [association.send_c_store(instance(number)).Status for number in range(5)] == [0x0000] * 5
        association.release()
