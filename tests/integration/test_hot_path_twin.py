"""The same bytes to this receiver and to pynetdicom's own acceptor: both store, answer and end alike.

What is different on purpose has a test of its own. The clients of others (DCMTK's, pynetdicom's SCU) drive the
receiver in test_dimse_receive; here it is raw streams, in one piece and in small ones.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_node.dimse import statuses
from dicom_node.dimse.contexts import encoding_of
from dicom_node.dimse.data_set import DataSetUnreadable, read_head
from dicom_node.dimse.server import ReceiverLimits
from tests.builders.dicom_streams import ABORT, RELEASE, VERIFICATION, Conversation, echo, request, store
from tests.integration.dimse_support import (
    CT_IMAGE,
    OWN_AET,
    data_set_bytes,
    encode,
    instance,
    open_socket,
    running_node,
)
from tests.integration.test_dimse_bad_input import command, element, pdata
from tests.integration.test_dimse_fuzz import some

DEFLATED = "1.2.840.10008.1.2.1.99"
LIMITS = ReceiverLimits(requests_per_second_per_address=100_000.0, acse_timeout_s=5.0, network_timeout_s=5.0)
WHOLE = data_set_bytes(encode(instance(1, rows=4)))
PATIENCE_S = 6.0
ASKED_AGAIN = 10
COMMAND = command(sop_instance=str(instance(1).SOPInstanceUID).encode())


def value(control: int, fragment: bytes, context_id: int = 3) -> bytes:
    return pdata(context_id, control, fragment)[6:]


def pdu(*values: bytes) -> bytes:
    whole = b"".join(values)
    return struct.pack(">BBL", 0x04, 0, len(whole)) + whole


def cancel() -> bytes:
    """C-CANCEL-RQ of message 7 (PS3.7 9.3.2.3)."""
    body = element(0x0100, b"\xff\x0f") + element(0x0120, b"\x07\x00") + element(0x0800, b"\x01\x01")
    return element(0x0000, struct.pack("<L", len(body))) + body


CONVERSATIONS: dict[str, Conversation] = {
    "three stores": [*store(1), *store(2), *store(3, fragment_bytes=50)],
    "echoes between stores": [*echo(), *store(1), *echo(), *echo(), *store(2)],
    "a whole message in one PDU": [pdu(value(3, COMMAND), value(0, WHOLE[:100]), value(2, WHOLE[100:]))],
    "a command in pieces over PDUs": [
        pdu(value(1, COMMAND[:10])),
        pdu(value(1, COMMAND[10:40]), value(3, COMMAND[40:])),
        *store(1)[1:],
    ],
    "the command's end and the data's begin in one PDU": [
        pdu(value(1, COMMAND[:10])),
        pdu(value(3, COMMAND[10:]), value(0, WHOLE[:64])),
        pdu(value(2, WHOLE[64:])),
    ],
    "fragments of no length": [pdu(value(1, b""), value(3, COMMAND)), pdu(value(0, b"")), *store(1)[1:]],
    "a last fragment of no length": [pdu(value(3, COMMAND)), pdu(value(0, WHOLE)), pdu(value(2, b""))],
    "a PDU of no length": [pdu(value(3, COMMAND)), pdu(), pdu(value(2, WHOLE))],
    "C-CANCEL before and after": [pdu(value(3, cancel())), *store(1), pdu(value(3, cancel())), *store(2)],
    "C-CANCEL inside a data set": [*store(1)[:2], pdu(value(3, cancel()))],
    "a command inside a data set": [*store(1)[:2], *store(2)],
    "a second command before the data": [pdu(value(3, COMMAND)), *store(1)],
    "data of another context than the command": [pdu(value(3, COMMAND)), pdu(value(2, WHOLE, 1))],
    "data of a context nobody accepted": [pdu(value(3, COMMAND)), pdu(value(2, WHOLE, 99))],
    "a command of a context nobody accepted": [*store(1), pdu(value(3, COMMAND, 99)), pdu(value(2, WHOLE, 99))],
    "a command in two contexts": [pdu(value(1, COMMAND[:20], 1)), pdu(value(3, COMMAND[20:])), pdu(value(2, WHOLE))],
    "data without a command": [*store(1), pdu(value(2, WHOLE))],
    "data behind half a command": [pdu(value(1, COMMAND[:20])), pdu(value(2, WHOLE))],
    "control bits that mean nothing": [
        pdu(value(0xF3, COMMAND)),
        pdu(value(0xF0, WHOLE[:50]), value(0xFE, WHOLE[50:])),
    ],
    "a fragment longer than its PDU": [*store(1), pdu(struct.pack(">LBB", 1000, 3, 3) + b"abcd")],
    "a fragment of length nought": [*store(1), pdu(struct.pack(">L", 0))],
    "a broken fragment behind a whole message": [pdu(value(3, COMMAND), value(2, WHOLE), b"\0\0\0\x09\3\0")],
    "an unknown PDU": [*store(1), b"\x0a\x00\x00\x00\x00\x02ab"],
    "an unknown PDU inside a data set": [*store(1)[:-1], b"\x0a\x00\x00\x00\x00\x02ab"],
    "a second request": [*store(1), request()],
    "a release inside a data set": [*store(1)[:-1]],
    "an abort inside a data set": [*store(1)[:-1], ABORT],
    "an answer to a release nobody asked for": [*store(1), b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"],
    "a store behind the release": [*store(1), RELEASE, *store(2)],
    "an abort behind the release": [*store(1), RELEASE, ABORT],
    "nothing": [],
}


DEADLY: dict[str, Conversation] = {
    "noise for a command": [*store(1), pdu(value(3, bytes(range(200))))],
    "an unknown operation": [*store(1), pdu(value(3, command(field=b"\x99\x99")))],
    "a fragment without a control header": [*store(1), pdu(struct.pack(">LB", 1, 3))],
}
"""pynetdicom's reactor ends over these without a word; ours says A-ABORT."""


class Stock:
    """pynetdicom's acceptor with handlers that keep what they get."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes]] = []
        entity = AE(OWN_AET)
        entity.maximum_pdu_size = 131_072
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = 5.0
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(CT_IMAGE, [ExplicitVRLittleEndian, DEFLATED])
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda event: 0x0000)]
        self.server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    def _store(self, event: Any) -> Any:
        """As our own handler: a data set that is not whole is refused."""
        data_set = event.encoded_dataset(include_meta=False)
        try:
            read_head(data_set, encoding_of(str(event.context.transfer_syntax)))
        except DataSetUnreadable as error:
            refused = Dataset()
            refused.Status, refused.ErrorComment = 0xC000, statuses.comment(str(error))
            return refused
        self.stored.append((str(event.request.AffectedSOPInstanceUID), data_set))
        return 0x0000

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextmanager
def stock() -> Iterator[Stock]:
    running = Stock()
    try:
        yield running
    finally:
        running.server.shutdown()


def answers(stream: bytes) -> list[Any]:
    """What an acceptor sent: every message's elements, and every other PDU's type, up to the first A-ABORT.

    pynetdicom sends another one for whatever still comes.
    """
    found: list[Any] = []
    at = 0
    while at < len(stream):
        length = struct.unpack_from(">L", stream, at + 2)[0]
        body = stream[at + 6 : at + 6 + length]
        found.append(elements(body[6:]) if stream[at] == 0x04 else f"PDU {stream[at]}")
        at += 6 + length
        if found[-1] == "PDU 7":
            break
    return found


def elements(encoded: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(encoded):
        _, number, length = struct.unpack_from("<HHL", encoded, at)
        found[number] = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def said(port: int, conversation: Conversation, *, in_pieces: bool) -> list[Any]:
    """Everything that is answered to it, with a release behind it; each answer is awaited, as a sender does."""
    answer = b""
    with open_socket(port) as connection, suppress(OSError):
        for sent in (request(), *conversation, RELEASE):
            for start, end in pairwise((0, *(range(7, len(sent), 97) if in_pieces else ()), len(sent))):
                connection.sendall(sent[start:end])
            if expects_an_answer(sent):
                answer += some(connection, PATIENCE_S)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20.0)
        while more := connection.recv(65_536):
            answer += more
    return answers(answer)


def expects_an_answer(sent: bytes) -> bool:
    """Whether a message, or a request of the upper layer, ends with this PDU."""
    if sent[0] != 0x04:
        return sent[0] in (0x01, 0x05)
    at, context_and_flags, fragment = 6, b"", b""
    while at + 6 <= len(sent):
        length = struct.unpack_from(">L", sent, at)[0]
        context_and_flags, fragment = sent[at + 4 : at + 6], sent[at + 6 : at + 4 + length]
        at += 4 + max(length, 2)
    is_last = bool(context_and_flags) and bool(context_and_flags[1] & 2)
    is_command = bool(context_and_flags) and bool(context_and_flags[1] & 1)
    ends = struct.pack("<HHLH", 0, 0x0800, 2, 0x0101) in fragment and b"\xff\x0f" not in fragment
    return is_last and (ends or not is_command)


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Any, Stock]]:
    with running_node(limits=LIMITS) as node, stock() as other:
        yield node, other


@pytest.mark.parametrize("in_pieces", [False, True], ids=["in one piece", "in pieces"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_both_store_and_answer_and_end_alike(twins: tuple[Any, Stock], name: str, in_pieces: bool) -> None:
    node, other = twins
    node.receiving.instances.clear()
    other.stored.clear()
    ours = said(node.port, CONVERSATIONS[name], in_pieces=in_pieces)
    theirs = said(other.port, CONVERSATIONS[name], in_pieces=in_pieces)
    for _ in range(ASKED_AGAIN):
        if ours != [*theirs, "PDU 7"]:
            break
        # It closes at once after an A-ABORT, and what was still being sent to it resets that away.
        other.stored.clear()
        theirs = said(other.port, CONVERSATIONS[name], in_pieces=in_pieces)
    node.wait_until_idle()
    assert ours == theirs
    stored = [(kept.sop_instance_uid, kept.data_set) for kept in node.receiving.instances]
    assert stored == other.stored
    assert node.server.receiving_memory.held_bytes == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", DEADLY)
def test_what_kills_pynetdicoms_reactor_is_aborted(twins: tuple[Any, Stock], name: str) -> None:
    node, other = twins
    ours = said(node.port, DEADLY[name], in_pieces=False)
    assert ours == [*said(other.port, DEADLY[name], in_pieces=False), "PDU 7"]
    node.wait_until_idle()


def test_the_next_message_in_a_pdu_is_served_where_pynetdicom_drops_it(twins: tuple[Any, Stock]) -> None:
    node, _ = twins
    node.receiving.instances.clear()
    second = command(sop_instance=str(instance(2).SOPInstanceUID).encode())
    other = data_set_bytes(encode(instance(2, rows=4)))
    said(
        node.port,
        [pdu(value(3, COMMAND), value(2, WHOLE), value(3, second)), pdu(value(2, other))],
        in_pieces=False,
    )
    node.wait_until_idle()
    assert [kept.data_set for kept in node.receiving.instances] == [WHOLE, other]
