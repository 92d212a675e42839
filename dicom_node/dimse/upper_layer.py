"""pynetdicom's association, made fit for an open port.

pynetdicom negotiates, runs the state machine (PS3.8 9.2) and speaks DIMSE. What it leaves open is closed here, and
nothing else is changed:

- It reads as many bytes as a PDU header claims: 4 GiB for 0xFFFFFFFF. Here a PDU longer than anything sensible is an
  invalid PDU (Evt19: we send A-ABORT).
- It reads 4096 bytes at a time; here a PDU is read into one buffer, and a data set past all queues (hot_path).
- An accepted socket has no timeout, so half a PDU blocks its thread for good, and a byte now and then keeps any
  timeout away. Here a PDU has a time in which it must be whole.
- A peer that goes away before its A-ASSOCIATE-RQ keeps two threads waiting for `acse_timeout`. Here the request is
  there before the threads (waiting_room); one that is no use ends them by a None in `to_user_queue`.
- Both of its threads look for work a thousand times a second, so that thirty silent associations take a core from
  those that send. Here they wait until there is some (bell), and look four times a second for what rings no bell.
- Shutting an encrypted socket down makes it a plain one for a moment, in which another thread may write. Here `cut`
  shuts down the connection below the encryption, and a connection's own thread says goodbye (close_notify).
- After an abort it closes the connection as soon as nothing is there to read: to a peer that is still sending, that is
  a reset, which takes the A-ABORT with it. Here the peer has a second to read it and to close (node_socket).
- An exception in its reactor thread ends that thread and leaves the socket open. Here it becomes an abort.
- It reads requests as fast as they come, whether they can be served or not. Here two may wait, and the connection does.
- A C-STORE-RQ without its mandatory elements is passed over in silence, and the sender waits. Here it is answered.
- Nobody is told reliably that an association is over. Here `run_reactor` ends with `host.ended(association)`, always.

These two are the upper layer and DIMSE of `association`; `node_socket` is the connection under them.

How to edit safely: the classes of the three modules override private methods of pynetdicom 3.0.4 (`_read_pdu_data`,
`_serve_request`, `receive_primitive`, `run_reactor`, `get_msg`, `send_msg`, `_shutdown_socket`) and two of its queues;
the integration tests drive each with raw sockets and are the contract for an upgrade. Whatever is to be done in one of
the two threads must ring: a primitive to send rings the reactor's bell, a message or a primitive received sets
`something_came`.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from pynetdicom import _config
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, P_DATA

from dicom_node.dimse.bell import Bell
from dicom_node.dimse.handlers import contained
from dicom_node.dimse.hot_reader import HotReader
from dicom_node.dimse.node_socket import CONNECTION_CLOSED, RingingQueue

if TYPE_CHECKING:
    from dicom_node.dimse.association import NodeAssociation

# What happens is told once, by us, with a name for it and without data sets.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
# pydicom quotes values in its warnings, and Python keeps each warning it has shown: a peer may send another in each
# message.
warnings.filterwarnings("ignore", module="pydicom", category=UserWarning)

_PDU_TYPES = range(0x01, 0x08)
_SENSIBLE_PDU_BYTES = 1 << 20
_LONGEST_PDU_S = 60.0
_LOOK_AGAIN_S = 0.25
_MOST_UNSERVED = 2
AWAITING_REQUEST = ("Sta1", "Sta2")  # before and after the reactor has seen the new connection
_ESTABLISHED = "Sta6"
_AWAITING_CLOSE = "Sta13"
_INVALID_PDU = "Evt19"


class NodeUpperLayer(DULServiceProvider):
    """Reads PDUs with limits and keeps the first trouble it met, for the log."""

    def __init__(self, association: NodeAssociation, maximum_pdu_bytes: int) -> None:
        super().__init__(association)
        self.daemon = True
        self.bell = Bell()
        self._run_loop_delay = 0.0  # the reactor waits in `NodeSocket.ready` instead, and is woken
        self.to_provider_queue = RingingQueue(self.bell.ring)
        self.to_user_queue = RingingQueue(association.something_came.set)
        self.trouble: tuple[str, str] | None = None
        self.peer_aborted = False
        self._longest = max(_SENSIBLE_PDU_BYTES, 2 * maximum_pdu_bytes)
        self._hot = HotReader(association, self, longest_pdu=self._longest)

    def note(self, rule: str, detail: str) -> None:
        """Keep why this association cannot go on; the first reason counts."""
        if self.trouble is None:
            self.trouble = (rule, detail)

    @property
    def is_ahead(self) -> bool:
        """Whether requests wait to be served: reading more of them would only fill the memory."""
        return self.assoc.dimse.msg_queue.qsize() >= _MOST_UNSERVED

    @property
    def has_time(self) -> bool:
        """Whether nothing is to be sent or done, and the end is not wanted."""
        return not self._kill_thread and self.event_queue.empty() and self.to_provider_queue.empty()

    @property
    def patience_s(self) -> float:
        """How long the reactor may wait for the connection: not at all where it has something to do."""
        return _LOOK_AGAIN_S if self.has_time else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the association has ended, and only the end of its connection is awaited."""
        return self.state_machine.current_state == _AWAITING_CLOSE

    # Until an association is accepted there is nothing to do at the same time. So the association's thread does the
    # reactor's work itself, and the reactor's own begins when the first answer is out: four changes of thread less.

    def take_request(self) -> None:
        """The A-ASSOCIATE-RQ that came with the connection has come to the association, or the reactor sees to it."""
        self._work_off()
        if self.state_machine.current_state in AWAITING_REQUEST and self.event_queue.empty():
            contained(self._read_pdu, self._failed_early)
            self._work_off()
        if self.to_user_queue.empty():
            self.go_on()

    def go_on(self) -> None:
        """The reactor's thread does its work from here on. Twice is once; only from the association's thread."""
        if self.ident is None:
            self._work_off()
            self.start()

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        if threading.current_thread() is self.assoc:
            self.go_on()

    def _work_off(self) -> None:
        contained(self._do_what_waits, self._failed_early)

    def _do_what_waits(self) -> None:
        while self._process_recv_primitive() or not self.event_queue.empty():
            self.state_machine.do_action(self.event_queue.get(block=False))

    def _failed_early(self, error: Exception) -> None:
        self._reactor_failed(error)
        self.kill_dul()

    def run_reactor(self) -> None:
        try:
            contained(super().run_reactor, self._reactor_failed)
        finally:
            self._hot.leave()
            association: Any = self.assoc
            association.something_came.set()
            self.bell.close()

    def kill_dul(self) -> None:
        super().kill_dul()
        self.bell.ring()

    def stop_dul(self) -> bool:
        self.bell.ring()
        return super().stop_dul()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        primitive = super().receive_pdu(wait, timeout)
        if isinstance(primitive, A_ABORT):
            self.peer_aborted = True
        return primitive

    def idle_timer_expired(self) -> bool:
        """Asked by the association's thread between two requests: whether it is to abort."""
        association: Any = self.assoc
        return not self._hot.is_occupied and (association.must_end.is_set() or super().idle_timer_expired())

    @property
    def is_killed(self) -> bool:
        """Whether the reactor is to end."""
        return self._kill_thread

    def is_alive_again(self) -> None:
        """The other side has said something, or was made to wait by us: its silence counts from now."""
        self._idle_timer.restart()

    def give_up_waiting(self) -> None:
        """Wake a thread that waits for an A-ASSOCIATE-RQ: none will come."""
        if self.state_machine.current_state in AWAITING_REQUEST:
            self.to_user_queue.put(None)  # type: ignore[arg-type]

    def _reactor_failed(self, error: Exception) -> None:
        self.note("reactor", f"{type(error).__name__}: {error}")
        self.to_user_queue.put(A_P_ABORT())
        if self.socket is not None:
            self.socket.send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")  # A-ABORT, service provider (PS3.8 9.3.8)
            self.socket._shutdown_socket()
        self.assoc.dimse.msg_queue.put((None, None))

    def _read_pdu_data(self) -> None:
        state = self.state_machine.current_state
        if state == _AWAITING_CLOSE:
            self._drain()
        elif state == _ESTABLISHED:
            self._hot.read(self.network_timeout or _LONGEST_PDU_S)
        else:
            self._read_pdu()

    def _read_pdu(self) -> None:
        """While an association is negotiated or released."""
        head = self._receive(6)
        if head is None:
            return
        pdu_type, length = head[0], struct.unpack(">L", head[2:])[0]
        if pdu_type not in _PDU_TYPES:
            self.break_off("unknown_pdu_type", f"PDU type 0x{pdu_type:02X}")
        elif length > self._longest:
            self.break_off("pdu_too_long", f"a PDU of type 0x{pdu_type:02X} claims {length} bytes")
        else:
            self._read_body(head, length)

    def _read_body(self, head: bytearray, length: int) -> None:
        body = self._receive(length, is_inside=True)
        if body is not None:
            self.take_unit(head + body)

    def take_unit(self, whole: bytes | bytearray) -> None:
        """A whole PDU has come: the state machine gets it, or hears that it is none."""
        decoded: list[Any] = []
        contained(
            lambda: decoded.extend(self._decode_pdu(bytearray(whole))),
            lambda error: self.break_off("undecodable_pdu", f"{type(error).__name__}: {error}"),
        )
        if decoded:
            pdu, event = decoded
            self.event_queue.put(event)
            self._recv_pdu.put(pdu)

    def _receive(self, count: int, *, is_inside: bool = False) -> bytearray | None:
        """`count` bytes; None where the connection ended or stalled first, with the event for that."""
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        connection: Any = self.socket
        until = time.monotonic() + (self.network_timeout or _LONGEST_PDU_S)
        try:
            while connection is not None and filled < count:
                got = connection.receive_into(view[filled:], until)
                if not got:
                    break
                filled += got
        except OSError as error:
            self.note("stalled_pdu" if isinstance(error, TimeoutError) else "connection_lost", str(error))
        if connection is not None:
            connection.restore_timeout(self.network_timeout)
        if filled == count and connection is not None:
            return buffer
        if is_inside or filled:
            self.note("truncated_pdu", f"the connection ended {filled} bytes into the {count} that were announced")
        self.event_queue.put(CONNECTION_CLOSED)
        self.give_up_waiting()
        return None

    def break_off(self, rule: str, detail: str) -> None:
        """What came is no valid PDU: the state machine aborts."""
        self.note(rule, detail)
        self.event_queue.put(_INVALID_PDU)
        self.give_up_waiting()

    def _drain(self) -> None:
        """After the end only the closing of the connection is awaited: what still comes is thrown away."""
        sock = self.socket.socket if self.socket is not None else None
        try:
            if sock is not None and socket.socket.recv(sock, 65_536):  # of TLS not what is inside
                return
        except OSError:
            pass
        self.event_queue.put(CONNECTION_CLOSED)


class NodeDimse(DIMSEServiceProvider):
    """Puts messages together, with a limit, and turns a message that makes no sense into an abort."""

    def __init__(self, association: NodeAssociation) -> None:
        super().__init__(association)
        self._something_came = association.something_came
        self.msg_queue = RingingQueue(self._came)
        self._lock = threading.Lock()
        self._unanswered = 0
        self._is_in_hand = False  # of the association's thread: a message it took and has not answered

    @property
    def is_idle(self) -> bool:
        """Whether no message is coming in, waits to be served, or is served without an answer yet."""
        return self.message is None and self._unanswered == 0

    def _came(self) -> None:
        with self._lock:
            self._unanswered += 1
        self._something_came.set()

    def settle(self) -> None:
        """The message in hand is answered, or needs no answer; only for the association's thread."""
        if self._is_in_hand:
            self._is_in_hand = False
            with self._lock:
                self._unanswered -= 1

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """As pynetdicom's. Before the answer is out, the message counts as answered: the next one comes at once."""
        if primitive.MessageIDBeingRespondedTo is not None:
            self.settle()
        super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> Any:
        """As pynetdicom's; the association's thread, which asks without blocking, is kept here while nothing comes."""
        if not block and self._something_came.wait(_LOOK_AGAIN_S):
            self._something_came.clear()
        self.settle()
        context_id, message = super().get_msg(block=block)
        self._is_in_hand = message is not None
        return context_id, message

    def receive_primitive(self, primitive: P_DATA) -> None:
        association: Any = self.assoc
        fragments = sum(len(data) - 1 for _, data in primitive.presentation_data_value_list if not data[0] & 1)
        if not association.host.receiving_memory.take(association, association.address, fragments):
            association.dul.note("out_of_memory", "more is being received than may be held in memory")
            self.message = None
            self.dul.event_queue.put(_INVALID_PDU)
            return
        contained(lambda: super(NodeDimse, self).receive_primitive(primitive), self._invalid)
        received = self.message.data_set.tell() if self.message is not None and self.message.data_set else 0
        if received > association.host.maximum_instance_bytes:
            association.dul.note("instance_too_long", f"more than {association.host.maximum_instance_bytes} bytes")
            self.message = None
            self.dul.event_queue.put(_INVALID_PDU)

    def _invalid(self, error: Exception) -> None:
        association: Any = self.assoc
        association.dul.note("invalid_message", f"{type(error).__name__}: {error}")
        self.message = None
        self.dul.event_queue.put(_INVALID_PDU)
