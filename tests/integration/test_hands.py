"""Associations that another process reads: as stored, answered and ended as if the node itself had read them."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dicom_node.app.keep_instance import KeepInstance
from dicom_node.core.errors import RejectedInput
from dicom_node.dimse import counted, statuses
from dicom_node.dimse.hands import Hands
from dicom_node.dimse.server import ReceiverLimits
from tests.builders.dicom_streams import RELEASE, Conversation, commitment, corpus, echo, request, store
from tests.integration.dimse_support import Node, data_set_bytes, encode, instance, open_socket, peer, wait_for
from tests.integration.hands_support import in_a_process, in_a_thread, node_with_hands
from tests.integration.test_dimse_bad_input import command, pdata, receive_pdu, status_of
from tests.integration.test_hot_path_twin import CONVERSATIONS, DEADLY, Stock, answers, said, stock


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Hands, Stock]]:
    root = tmp_path_factory.mktemp("kept")
    with node_with_hands(root, in_a_thread(root)) as (node, hands), stock() as other:
        yield node, hands, other


@pytest.mark.parametrize("in_pieces", [False, True], ids=["in one piece", "in pieces"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_hand_and_pynetdicom_store_and_answer_and_end_alike(
    twins: tuple[Node, Hands, Stock], name: str, in_pieces: bool
) -> None:
    node, hands, other = twins
    node.receiving.instances.clear()
    other.stored.clear()
    ours = said(node.port, CONVERSATIONS[name], in_pieces=in_pieces)
    theirs = said(other.port, CONVERSATIONS[name], in_pieces=in_pieces)
    node.wait_until_idle()
    assert ours == theirs
    stored = [(kept.sop_instance_uid, kept.data_set) for kept in node.receiving.instances]
    assert stored == other.stored
    assert node.server.receiving_memory.held_bytes == 0
    assert hands.lent == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", DEADLY)
def test_what_kills_pynetdicoms_reactor_is_aborted(twins: tuple[Node, Hands, Stock], name: str) -> None:
    node, _, other = twins
    assert said(node.port, DEADLY[name], in_pieces=False) == [*said(other.port, DEADLY[name], in_pieces=False), "PDU 7"]
    node.wait_until_idle()


def test_plain_images_are_read_by_the_hand_and_a_request_with_a_fault_is_judged_by_the_node(
    twins: tuple[Node, Hands, Stock],
) -> None:
    node, _, _ = twins
    node.receiving.instances.clear()
    node.receiving.refused.clear()
    contradicts = [*store(1)[:1], *store(2)[1:]]
    answered = said(node.port, [*store(1), *contradicts, *store(3)], in_pieces=False)
    node.wait_until_idle()
    assert [struct.unpack("<H", answer[0x0900])[0] for answer in answered[1:4]] == [
        statuses.SUCCESS,
        statuses.DOES_NOT_MATCH_SOP_CLASS,
        statuses.SUCCESS,
    ]
    assert node.receiving.refused == ["command_mismatch"]
    assert [kept.stored is not None for kept in node.receiving.instances] == [True, True]


def test_streams_that_are_spoilt_in_every_way_leave_nothing_open(twins: tuple[Node, Hands, Stock]) -> None:
    node, hands, _ = twins
    for _, stream in corpus(each=1):
        with open_socket(node.port) as connection, suppress(OSError):
            connection.sendall(stream)
            connection.shutdown(socket.SHUT_WR)
    node.wait_until_idle()
    assert hands.lent == 0
    assert node.server.receiving_memory.held_bytes == 0
    assert said(node.port, store(1), in_pieces=False)[1][0x0900] == b"\0\0"


def associated(node: Node) -> socket.socket:
    connection = open_socket(node.port)
    connection.sendall(request())
    assert receive_pdu(connection)[0] == 0x02
    return connection


def store_one(connection: socket.socket, number: int, *, rows: int = 4) -> int:
    uid = str(instance(number).SOPInstanceUID).encode()
    whole = data_set_bytes(encode(instance(number, rows=rows)))
    connection.sendall(pdata(3, 0x03, command(sop_instance=uid)))
    for at in range(0, len(whole), 65_536):
        flags = 0x02 if at + 65_536 >= len(whole) else 0x00
        connection.sendall(pdata(3, flags, whole[at : at + 65_536]))
    return status_of(receive_pdu(connection))


def test_an_association_stays_with_the_node_until_it_has_brought_images(tmp_path: Path) -> None:
    with node_with_hands(tmp_path, in_a_thread(tmp_path), lend_after=1) as (node, _):
        with associated(node) as connection:
            assert [store_one(connection, number) for number in (1, 2, 3)] == [0, 0, 0]
        node.wait_until_idle()
        assert [kept.stored is not None for kept in node.receiving.instances] == [False, True, True]


def test_what_is_no_hands_work_comes_back_and_the_node_goes_on(tmp_path: Path) -> None:
    asked: list[Any] = []

    class Commitment:
        def asked(self, association: Any, message: Any, context: Any, *, may_ask: bool) -> None:
            asked.append(may_ask)
            association.abort()

    service: Any = Commitment()
    with node_with_hands(tmp_path, in_a_thread(tmp_path), commitment=service) as (node, hands):
        conversation: Conversation = [*store(1), *commitment()]
        assert said(node.port, conversation, in_pieces=False)[-1] == "PDU 7"
        node.wait_until_idle()
        assert asked == [True]
        assert hands.lent == 0


def test_a_peer_that_loses_its_right_is_refused_and_its_file_is_removed(tmp_path: Path) -> None:
    with node_with_hands(tmp_path, in_a_thread(tmp_path)) as (node, hands), associated(node) as connection:
        assert store_one(connection, 1) == 0
        assert hands.lent == 1
        node.directory.entries = [peer(may_send=False)]
        assert store_one(connection, 2) == statuses.NOT_AUTHORISED
        assert len(list((tmp_path / "received").rglob("*.dcm"))) == 1
        node.directory.entries = [peer()]
        assert store_one(connection, 3) == 0


def test_an_image_that_the_node_refuses_is_answered_with_its_status(tmp_path: Path) -> None:
    with node_with_hands(tmp_path, in_a_thread(tmp_path)) as (node, _), associated(node) as connection:

        def refuse(incoming: Any) -> None:
            raise RejectedInput(statuses.OUT_OF_RESOURCES, "low_space", "no")

        node.receiving.hook = refuse
        assert store_one(connection, 1) == statuses.OUT_OF_RESOURCES


def test_a_hand_that_has_no_room_on_the_disk_asks_the_node(tmp_path: Path) -> None:
    with node_with_hands(tmp_path, in_a_process(tmp_path, needed_bytes=1 << 60)) as (node, hands):
        with associated(node) as connection:
            assert store_one(connection, 1) == 0
            assert hands.lent == 1
        node.wait_until_idle()
        assert [kept.stored for kept in node.receiving.instances] == [None]


def test_images_larger_than_what_an_association_is_granted_are_received_while_there_is_memory(tmp_path: Path) -> None:
    limits = ReceiverLimits(receiving_memory_bytes=10 << 20, network_timeout_s=5.0)
    with node_with_hands(tmp_path, in_a_thread(tmp_path), limits=limits) as (node, hands):
        with associated(node) as connection:
            assert store_one(connection, 1, rows=1_000) == 0  # 2 MB: more than the grant with its tags
            assert store_one(connection, 2, rows=1_400) == 0  # 3.9 MB
            assert hands.lent == 1
            connection.sendall(pdata(3, 0x03, command()))
            with suppress(OSError):
                for _ in range(90):  # 5.9 MB: half of the memory is for one address
                    connection.sendall(pdata(3, 0x00, b"\0" * 65_530))
        node.wait_until_idle()
        node.wait_until_counted(counted.PROTOCOL_ERRORS, "out_of_memory")
        assert node.server.receiving_memory.held_bytes == 0


def test_silence_and_half_a_pdu_end_an_association_that_a_hand_reads(tmp_path: Path) -> None:
    limits = ReceiverLimits(network_timeout_s=0.6, acse_timeout_s=2.0)
    with node_with_hands(tmp_path, in_a_thread(tmp_path), limits=limits) as (node, _):
        with associated(node) as silent, associated(node) as stalled:
            assert store_one(silent, 1) == 0
            assert store_one(stalled, 2) == 0
            stalled.sendall(pdata(3, 0x03, command())[:10])
            assert receive_pdu(silent)[:1] == b"\x07"
            node.wait_until_idle()
        node.wait_until_counted(counted.PROTOCOL_ERRORS, "stalled_pdu")
        assert sorted(node.associations.endings()) == ["aborted", "lost"]


def test_the_stop_of_the_node_waits_for_the_request_under_way(tmp_path: Path) -> None:
    is_storing, may_go_on = threading.Event(), threading.Event()
    answered: list[int] = []
    with node_with_hands(tmp_path, in_a_thread(tmp_path)) as (node, _), associated(node) as connection:
        assert store_one(connection, 1) == 0

        def wait(incoming: Any) -> None:
            is_storing.set()
            may_go_on.wait(10.0)

        node.receiving.hook = wait
        sender = threading.Thread(target=lambda: answered.append(store_one(connection, 2)))
        sender.start()
        assert is_storing.wait(10.0)
        stopping = threading.Thread(target=node.server.stop, args=(10.0,))
        stopping.start()
        wait_for(lambda: node.server.is_stopping, "the stop to begin")
        may_go_on.set()
        sender.join(10.0)
        stopping.join(10.0)
        assert answered == [0]
        assert receive_pdu(connection)[:1] == b"\x07"
        assert len(node.receiving.instances) == 2


def test_a_hand_that_is_killed_ends_its_associations_and_is_replaced_and_nothing_answered_is_lost(
    tmp_path: Path,
) -> None:
    with node_with_hands(tmp_path, in_a_process(tmp_path)) as (node, hands):
        with associated(node) as connection:
            assert [store_one(connection, number) for number in (1, 2)] == [0, 0]
            killed = hands.pids[0]
            connection.sendall(pdata(3, 0x03, command()))
            os.kill(killed, signal.SIGKILL)
            assert receive_pdu(connection)[:1] in (b"\x07", b"")
        node.wait_until_idle()
        assert [kept.stored is not None for kept in node.receiving.instances] == [True, True]
        assert all((tmp_path / kept.stored.path).exists() for kept in node.receiving.instances if kept.stored)
        node.wait_until_counted(counted.PROTOCOL_ERRORS, "hand_lost")
        assert node.server.receiving_memory.held_bytes == 0
        with associated(node) as connection:  # the node reads by itself, or the next hand does
            assert store_one(connection, 3) == 0
        wait_for(lambda: killed not in hands.pids and hands.up == 1, "another hand", 60.0)
        node.wait_until_counted(counted.HANDS_LOST)
        with associated(node) as connection:
            assert store_one(connection, 4) == 0
            assert hands.lent == 1


def test_associations_are_spread_over_the_hands_and_a_flood_of_images_of_all_is_received(tmp_path: Path) -> None:
    results: list[list[int]] = [[] for _ in range(6)]
    with node_with_hands(tmp_path, in_a_thread(tmp_path), count=2) as (node, hands):
        connections = [associated(node) for _ in results]

        def send(which: int) -> None:
            for number in range(20):
                results[which].append(store_one(connections[which], 100 * which + number))

        threads = [threading.Thread(target=send, args=(which,)) for which in range(len(results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60.0)
        assert hands.lent == len(results)
        for connection in connections:
            connection.sendall(RELEASE)
            assert receive_pdu(connection)[0] == 0x06
            connection.close()
        node.wait_until_idle()
        assert [result for of_one in results for result in of_one] == [0] * 120
        assert len({kept.sop_instance_uid for kept in node.receiving.instances}) == 120
        assert node.associations.endings() == ["released"] * len(results)


def test_what_nobody_foresaw_in_a_hand_is_left_to_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, incoming: Any) -> None:
        raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr(KeepInstance, "__call__", fail)
    with node_with_hands(tmp_path, in_a_thread(tmp_path)) as (node, hands), associated(node) as connection:
        assert [store_one(connection, number) for number in (1, 2)] == [0, 0]
        assert hands.lent == 1
        assert [kept.stored for kept in node.receiving.instances] == [None, None]


def test_echoes_that_a_hand_answers_are_counted(tmp_path: Path) -> None:
    with node_with_hands(tmp_path, in_a_thread(tmp_path)) as (node, _), associated(node) as connection:
        connection.sendall(b"".join(echo()) * 3)
        came = b"".join(receive_pdu(connection) for _ in range(3))
        assert [answer[0x0900] for answer in answers(came)] == [b"\0\0"] * 3
        wait_for(lambda: node.counts.counted[counted.ECHOES, "SCANNER"] == 3, "the echoes to be counted")


def test_a_request_with_a_fault_for_which_the_node_has_no_memory_is_aborted_as_such(tmp_path: Path) -> None:
    limits = ReceiverLimits(receiving_memory_bytes=8 << 20, network_timeout_s=5.0)
    with node_with_hands(tmp_path, in_a_process(tmp_path, needed_bytes=1 << 60), limits=limits) as (node, hands):
        with associated(node) as connection:
            assert store_one(connection, 1) == 0
            assert hands.lent == 1
            whole = data_set_bytes(encode(instance(2, rows=1_100)))  # 2.4 MB there, and as much here
            connection.sendall(pdata(3, 0x03, command(sop_instance=str(instance(2).SOPInstanceUID).encode())))
            for at in range(0, len(whole), 65_536):
                connection.sendall(pdata(3, 0x02 if at + 65_536 >= len(whole) else 0, whole[at : at + 65_536]))
            assert receive_pdu(connection)[:1] in (b"\x07", b"")
        node.wait_until_idle()
        node.wait_until_counted(counted.PROTOCOL_ERRORS, "out_of_memory")
        assert node.server.receiving_memory.held_bytes == 0
        assert hands.up == 1
