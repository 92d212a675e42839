"""What a port meets in a hospital besides DICOM: scanners of ports, cut connections, lies about lengths."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from dicom_node.app import counting
from dicom_node.dimse import counted
from dicom_node.dimse.echo import echo
from dicom_node.dimse.server import ReceiverLimits
from tests.integration.dimse_support import (
    CT_IMAGE,
    OWN_AET,
    Node,
    data_set_bytes,
    dicom_threads,
    encode,
    instance,
    open_socket,
    peer,
    running_node,
    wait_for,
)

QUICK = ReceiverLimits(acse_timeout_s=1.0, network_timeout_s=1.0)
VERIFICATION = "1.2.840.10008.1.1"


def associate_request(calling: str = "SCANNER", called: str = OWN_AET) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    contexts = [build_context(VERIFICATION), build_context(CT_IMAGE, ExplicitVRLittleEndian)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16_384
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(primitive).encode()


def associated(node: Node):
    connection = open_socket(node.port)
    connection.sendall(associate_request())
    assert receive_pdu(connection)[0] == 0x02
    return connection


def receive_pdu(connection) -> bytes:
    head = receive(connection, 6)
    return head + receive(connection, struct.unpack(">L", head[2:])[0]) if len(head) == 6 else head


def receive(connection, count: int) -> bytes:
    data = b""
    try:
        while len(data) < count:
            more = connection.recv(count - len(data))
            if not more:
                break
            data += more
    except ConnectionResetError:
        pass
    return data


def pdata(context_id: int, control: int, fragment: bytes) -> bytes:
    value = struct.pack(">LBB", len(fragment) + 2, context_id, control) + fragment
    return struct.pack(">BBL", 0x04, 0, len(value)) + value


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)


def command(**changes: bytes | None) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1.1); an element given as None is left out."""
    uid = str(instance(1).SOPInstanceUID).encode()
    elements: dict[str, tuple[int, bytes | None]] = {
        "sop_class": (0x0002, CT_IMAGE.encode()),
        "field": (0x0100, b"\x01\x00"),
        "message_id": (0x0110, b"\x07\x00"),
        "priority": (0x0700, b"\x00\x00"),
        "data_set_type": (0x0800, b"\x01\x00"),
        "sop_instance": (0x1000, uid),
    }
    for name, value in changes.items():
        elements[name] = (elements[name][0], value)
    body = b"".join(element(number, value) for number, value in elements.values() if value is not None)
    return element(0x0000, struct.pack("<L", len(body))) + body


def status_of(answer: bytes) -> int:
    at = answer.index(struct.pack("<HHL", 0x0000, 0x0900, 2))
    return struct.unpack_from("<H", answer, at + 8)[0]


def assert_goes_on(node: Node) -> None:
    """The node still serves, and has let go of whatever the bad input took."""
    node.wait_until_idle()
    assert echo(peer(OWN_AET, port=node.port), "SCANNER", 5.0).ok
    node.wait_until_idle()
    wait_for(lambda: sorted(dicom_threads()) == ["dicom-listener", "dicom-waiting-room"], "the threads to end", 3.0)


def errors(node: Node) -> set[str]:
    return {names[1] for names in node.counts.counted if names[0] == counted.PROTOCOL_ERRORS}


def test_garbage_on_the_port_is_aborted_and_counted():
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n")
        assert receive_pdu(connection)[:1] in (b"\x07", b"")
        assert_goes_on(node)
        assert errors(node) == {"unknown_pdu_type"}


def test_a_port_that_is_only_knocked_at_costs_nothing():
    with running_node(limits=QUICK) as node:
        for _ in range(20):
            open_socket(node.port).close()
        assert_goes_on(node)
        assert errors(node) == set()


def test_a_silent_connection_is_closed_after_the_timeout():
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        begun = time.monotonic()
        assert receive(connection, 1) == b""
        assert time.monotonic() - begun < 4.0
        assert_goes_on(node)


@pytest.mark.parametrize("pdu_type", range(1, 8))
def test_a_pdu_that_claims_four_gigabytes_is_aborted_without_reading_on(pdu_type):
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(struct.pack(">BBL", pdu_type, 0, 0xFFFFFFFF) + b"x" * 100)
        assert receive_pdu(connection)[:1] in (b"\x07", b"")
        assert_goes_on(node)
        assert errors(node) == {"pdu_too_long"}


def test_a_request_that_is_cut_is_counted():
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(associate_request()[:60])
        connection.close()
        assert_goes_on(node)
        assert errors(node) == {"truncated_pdu"}


def test_a_request_that_stalls_half_way_is_given_up():
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(associate_request()[:60])
        assert receive(connection, 1) == b""
        assert_goes_on(node)
        assert errors(node) == {"stalled_pdu"}


@pytest.mark.parametrize("offset", [6, 10, 26, 74, 78, 80, 100, 140])
def test_a_request_with_a_damaged_byte_is_answered_in_some_way_and_leaves_nothing(offset):
    request = bytearray(associate_request())
    request[offset] ^= 0xFF
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(bytes(request))
        assert receive_pdu(connection)[:1] in (b"\x02", b"\x03", b"\x07", b"")
        connection.close()
        assert_goes_on(node)


def test_data_before_an_association_is_aborted():
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(pdata(3, 0x03, command()))
        assert receive_pdu(connection)[:1] == b"\x07"
        assert_goes_on(node)


def test_a_data_pdu_that_is_cut_ends_the_association_and_nothing_is_stored():
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        connection.sendall(pdata(3, 0x03, command()))
        connection.sendall(pdata(3, 0x00, data_set_bytes(encode(instance(1))))[:200])
        connection.close()
        assert_goes_on(node)
        assert errors(node) == {"truncated_pdu"}
        assert node.associations.endings()[0] == "lost"
        assert not node.receiving.instances


def test_a_data_set_without_its_last_fragment_is_not_stored():
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        connection.sendall(pdata(3, 0x03, command()))
        connection.sendall(pdata(3, 0x00, data_set_bytes(encode(instance(1)))))
        assert receive_pdu(connection)[:1] == b"\x07"
        assert_goes_on(node)
        assert node.associations.endings()[0] == "aborted"
        assert not node.receiving.instances


DAMAGED = {
    "a fragment longer than its PDU": struct.pack(">BBL", 4, 0, 10) + struct.pack(">LBB", 1000, 3, 3) + b"abcd",
    "a fragment of no length": struct.pack(">BBL", 4, 0, 4) + struct.pack(">L", 0),
    "a PDU of no length": struct.pack(">BBL", 4, 0, 0),
    "a fragment without a control header": struct.pack(">BBL", 4, 0, 5) + struct.pack(">LB", 1, 3),
    "a command that is noise": pdata(3, 0x03, bytes(range(200))),
    "an empty command": pdata(3, 0x03, b""),
    "an unknown command": pdata(3, 0x03, command(field=b"\x99\x99")),
    "a command without its field": pdata(3, 0x03, command(field=None)),
    "a store without a message id": pdata(3, 0x03, command(message_id=None)) + pdata(3, 0x02, b"x" * 8),
    "a store under a context nobody accepted": pdata(9, 0x03, command()) + pdata(9, 0x02, b"x" * 8),
    "a second request": associate_request(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_inside_an_association_is_aborted(name):
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        connection.sendall(DAMAGED[name])
        assert receive_pdu(connection)[:1] in (b"\x07", b"")
        assert_goes_on(node)
        assert node.associations.endings()[0] in ("aborted", "lost")
        assert not node.receiving.instances


REFUSED = {
    "no data set": (pdata(3, 0x03, command(data_set_type=b"\x01\x01")), 0xC000, "empty"),
    "an empty data set": (pdata(3, 0x03, command()) + pdata(3, 0x02, b""), 0xC000, "empty"),
    "no SOP Instance UID": (
        pdata(3, 0x03, command(sop_instance=None)) + pdata(3, 0x02, b"x" * 8), 0x0117, "missing_uid",
    ),
    "no SOP Class UID": (
        pdata(3, 0x03, command(sop_class=None)) + pdata(3, 0x02, b"x" * 8), 0x0122, "context_mismatch",
    ),
    "a SOP Instance UID that is none": (
        pdata(3, 0x03, command(sop_instance=b"../../etc/passwd")) + pdata(3, 0x02, b"x" * 8), 0x0117, "missing_uid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_store_that_lacks_something_is_answered_and_the_association_goes_on(name):
    sent, status, reason = REFUSED[name]
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        connection.sendall(sent)
        assert f"0x{status_of(receive_pdu(connection)):04X}" == f"0x{status:04X}"
        node.wait_until_counted(counting.INSTANCES_REJECTED, reason)
        whole = data_set_bytes(encode(instance(1)))
        connection.sendall(pdata(3, 0x03, command()) + pdata(3, 0x02, whole))
        assert status_of(receive_pdu(connection)) == 0x0000
        assert len(node.receiving.instances) == 1
        connection.close()
        assert_goes_on(node)


def test_fragments_of_any_size_are_put_together():
    whole = data_set_bytes(encode(instance(1)))
    order = command()
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        stream = b"".join(pdata(3, 0x01, order[i : i + 7]) for i in range(0, 70, 7)) + pdata(3, 0x03, order[70:])
        stream += b"".join(pdata(3, 0x00, whole[i : i + 11]) for i in range(0, 110, 11))
        stream += pdata(3, 0x00, b"") + pdata(3, 0x02, whole[110:])
        for start in range(0, len(stream), 97):
            connection.sendall(stream[start : start + 97])
        assert status_of(receive_pdu(connection)) == 0x0000
        assert bytes(node.receiving.instances[0].data_set) == whole
        connection.close()


def test_an_abort_is_read_by_a_peer_that_is_still_sending():
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        assert_hears_the_abort_while_it_sends(connection)
        assert_goes_on(node)


def assert_hears_the_abort_while_it_sends(connection: socket.socket) -> None:
    """Closed over what comes in, the connection would be reset and what we said lost with it."""
    connection.sendall(b"\x0a\x00\x00\x00\x00\x00")
    for _ in range(20):
        connection.sendall(pdata(3, 0, bytes(1000)))
        time.sleep(0.01)
    assert receive_pdu(connection)[:1] == b"\x07"
    assert receive(connection, 1) == b""
    connection.close()


def test_a_peer_that_sends_on_after_an_abort_is_cut_off():
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        connection.sendall(b"\x0a\x00\x00\x00\x00\x00")
        connection.settimeout(0.05)
        wait_for(lambda: not is_sent(connection, bytes(1000)), "the connection to be cut", 10.0)
        assert_goes_on(node)


def is_sent(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def test_an_instance_longer_than_allowed_is_aborted():
    limits = ReceiverLimits(acse_timeout_s=1.0, network_timeout_s=1.0, maximum_instance_bytes=10_000)
    with running_node(limits=limits) as node:
        connection = associated(node)
        connection.sendall(pdata(3, 0x03, command()))
        connection.sendall(b"".join(pdata(3, 0x00, b"\0" * 8_000) for _ in range(3)))
        assert receive_pdu(connection)[:1] in (b"\x07", b"")
        assert_goes_on(node)
        assert errors(node) == {"instance_too_long"}


def test_data_sets_that_need_more_memory_than_there_is_are_aborted_and_those_of_another_are_not():
    limits = ReceiverLimits(acse_timeout_s=5.0, network_timeout_s=5.0, receiving_memory_bytes=20_000)
    with running_node(limits=limits) as node:
        greedy = associated(node)
        greedy.sendall(pdata(3, 0x03, command()))
        greedy.sendall(b"".join(pdata(3, 0x00, b"\0" * 4_000) for _ in range(3)))
        assert receive_pdu(greedy)[:1] in (b"\x07", b"")
        assert_goes_on(node)
        assert errors(node) == {"out_of_memory"}
        modest = associated(node)
        for _ in range(8):  # what was stored is given back
            modest.sendall(pdata(3, 0x03, command()) + pdata(3, 0x02, data_set_bytes(encode(instance(1, rows=30)))))
            assert status_of(receive_pdu(modest)) == 0x0000
        modest.close()
        node.wait_until_idle()
        assert node.server.receiving_memory.held_bytes == 0


def test_requests_that_nobody_waits_for_are_read_no_faster_than_they_are_served():
    free = threading.Event()
    with running_node(limits=ReceiverLimits()) as node:
        node.receiving.hook = lambda incoming: free.wait(20.0)
        connection = associated(node)
        one = pdata(3, 0x03, command()) + pdata(3, 0x02, data_set_bytes(encode(instance(1, rows=250))))
        connection.setblocking(False)
        sent = 0
        for _ in range(400):
            try:
                sent += connection.send(one[sent % len(one) :])
            except BlockingIOError:
                time.sleep(0.005)
        # One is served, two wait, one may be half read; the rest stays with the system, or with the sender.
        assert node.server.receiving_memory.held_bytes <= 4 * len(one)
        free.set()
        connection.close()
        node.wait_until_idle()
        assert node.server.receiving_memory.held_bytes == 0


def test_an_idle_association_is_aborted_after_the_network_timeout():
    with running_node(limits=QUICK) as node:
        connection = associated(node)
        assert receive_pdu(connection)[:1] == b"\x07"
        assert_goes_on(node)
        assert node.associations.endings()[0] == "aborted"


def test_an_address_with_too_many_silent_connections_loses_the_one_that_waits_longest():
    limits = ReceiverLimits(maximum_waiting_per_address=4, acse_timeout_s=30.0, network_timeout_s=1.0)
    with running_node(limits=limits) as node:
        silent = [open_socket(node.port) for _ in range(5)]
        assert receive(silent[0], 1) == b""
        assert node.server.open_connections == 4
        node.wait_until_counted(counted.CONNECTIONS_REFUSED, "too_many_waiting")
        assert echo(peer(OWN_AET, port=node.port), "SCANNER", 5.0).ok
        for connection in silent:
            connection.close()
        assert_goes_on(node)


def test_a_waiting_room_that_stumbles_goes_on():
    with running_node(limits=QUICK) as node:
        stumbled, tell = [], node.server.turned_away

        def turned_away(address: str, rule: str, why: str) -> None:
            stumbled.append(rule)
            raise RuntimeError("the log is full")

        node.server.turned_away = turned_away
        assert receive(open_socket(node.port), 1) == b""
        wait_for(lambda: stumbled == ["silent"], "the silent connection to be told of")
        node.server.turned_away = tell
        assert_goes_on(node)


def test_a_request_beyond_what_may_have_threads_is_rejected_for_now():
    limits = ReceiverLimits(maximum_associations_per_address=1, acse_timeout_s=5.0, network_timeout_s=5.0)
    with running_node(limits=limits) as node:
        held = [associated(node)]
        node.server.may_associate = lambda address: False
        refused = open_socket(node.port)
        refused.sendall(associate_request())
        assert receive_pdu(refused)[6:10] == bytes((0, 2, 3, 2))
        node.wait_until_counted(counted.CONNECTIONS_REFUSED, "too_many_connections")
        del node.server.may_associate
        held[0].close()
        assert_goes_on(node)


def test_an_unsupported_protocol_version_is_rejected():
    request = bytearray(associate_request())
    request[6:8] = b"\x00\x02"
    with running_node(limits=QUICK) as node:
        connection = open_socket(node.port)
        connection.sendall(bytes(request))
        assert receive_pdu(connection)[:1] == b"\x03"
        assert_goes_on(node)


def test_a_query_is_not_answered_by_a_storage_server():
    with running_node(limits=QUICK) as node:
        entity = AE("SCANNER")
        entity.add_requested_context("1.2.840.10008.5.1.4.1.2.2.1")
        association = entity.associate("127.0.0.1", node.port, ae_title=OWN_AET)
        assert not association.is_established
        assert_goes_on(node)
