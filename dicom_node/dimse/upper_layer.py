"""pynetdicom's association, made fit for an open port.

pynetdicom negotiates, runs the state machine (PS3.8 9.2) and speaks DIMSE. What it leaves open is closed here, and
nothing else is changed:

- It reads as many bytes as a PDU header claims: 4 GiB for 0xFFFFFFFF. Here a PDU longer than anything sensible is an
  invalid PDU (Evt19: we send A-ABORT).
- It reads 4096 bytes at a time; here a PDU is read into one buffer.
- An accepted socket has no timeout, so half a PDU blocks its thread for good, and a byte now and then keeps any
  timeout away. Here a PDU has a time in which it must be whole.
- A peer that goes away before its A-ASSOCIATE-RQ keeps two threads waiting for `acse_timeout`. Here the request is
  there before the threads (waiting_room); one that is no use ends them by a None in `to_user_queue`.
- Both of its threads look for work a thousand times a second, so that thirty silent associations take a core from
  those that send. Here they wait until there is some (bell), and look four times a second for what rings no bell.
- Shutting an encrypted socket down makes it a plain one for a moment, in which another thread may write. Here `cut`
  shuts down the connection below the encryption, and a connection's own thread says goodbye (close_notify).
- An exception in its reactor thread ends that thread and leaves the socket open. Here it becomes an abort.
- It reads requests as fast as they come, whether they can be served or not. Here two may wait, and the connection does.
- A C-STORE-RQ without its mandatory elements is passed over in silence, and the sender waits. Here it is answered.
- Nobody is told reliably that an association is over. Here `run_reactor` ends with `host.ended(association)`, always.

How to edit safely: these classes override private methods of pynetdicom 3.0.4 (`_read_pdu_data`, `_serve_request`,
`receive_primitive`, `run_reactor`, `get_msg`, `_shutdown_socket`) and two of its queues; the integration tests drive
each with raw sockets and are the contract for an upgrade. Whatever is to be done in one of the two threads must ring:
a primitive to send rings the reactor's bell, a message or a primitive received sets `something_came`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from dicom_node.dimse.bell import Bell
from dicom_node.dimse.contexts import PUSH_MODEL
from dicom_node.dimse.handlers import contained
from dicom_node.dimse.receiving_memory import ReceivingMemory
from dicom_node.dimse.tls import Secured

# What happens is told once, by us, with a name for it and without data sets.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
# Python keeps each warning it has shown, and a peer may send a new wrong UID in each message.
warnings.filterwarnings("ignore", message="Invalid value for VR", category=UserWarning)

_PDU_TYPES = range(0x01, 0x08)
_SENSIBLE_PDU_BYTES = 1 << 20
_LONGEST_PDU_S = 60.0
_LOOK_AGAIN_S = 0.25
_LOOK_AGAIN_AHEAD_S = 0.05
_MOST_UNSERVED = 2
_AWAITING_REQUEST = ("Sta1", "Sta2")  # before and after the reactor has seen the new connection
_AWAITING_CLOSE = "Sta13"
_CONNECTION_CLOSED = "Evt17"
_INVALID_PDU = "Evt19"


class Ending(StrEnum):
    """How an association came to its end."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"


class AssociationHost(Protocol):
    """What an association tells its server. Called from the association's own threads."""

    @property
    def maximum_instance_bytes(self) -> int: ...

    @property
    def receiving_memory(self) -> ReceivingMemory: ...

    def store(self, association: NodeAssociation, request: C_STORE, context: PresentationContext) -> tuple[int, str]:
        """The status and the Error Comment to answer a C-STORE-RQ with. Never raises."""

    def commitment(
        self, association: NodeAssociation, request: N_ACTION | N_EVENT_REPORT, context: PresentationContext
    ) -> None:
        """Answer a request about storage commitment. Never raises."""

    def ended(self, association: NodeAssociation) -> None:
        """The association and its connection are over; called once for every connection."""


class _RingingQueue(queue.Queue[Any]):
    """A queue that tells somebody that something was put into it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._ring()


class NodeSocket(AssociationSocket):
    """A connection of which `first` was read already, plain or encrypted.

    Asks with poll, which unlike select knows file descriptors above 1023.
    """

    def __init__(self, association: NodeAssociation, client_socket: socket.socket, first: bytes = b"") -> None:
        super().__init__(association, client_socket=client_socket)
        self._first = memoryview(first)
        self._upper_layer = association.dul

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the connection is closed; waits for it a while if nothing else is up.

        Only for the reactor's thread.
        """
        if self.socket is None or not self._is_connected:
            return False
        if self._upper_layer.is_ahead:
            self._upper_layer.bell.wait(_LOOK_AGAIN_AHEAD_S)
            return False
        if self._first or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        try:
            return self._upper_layer.bell.wait_beside(self.socket, self._upper_layer.patience_s)
        except (OSError, ValueError):
            self.event_queue.put(_CONNECTION_CLOSED)
            return False

    def receive_into(self, view: memoryview, until: float) -> int:
        """Bytes read, 0 at the end of the connection. Raises OSError; TimeoutError at `until` (of time.monotonic)."""
        if self._first:
            count = min(len(view), len(self._first))
            view[:count] = self._first[:count]
            self._first = self._first[count:]
            return count
        if self.socket is None:
            return 0
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.socket.settimeout(left_s)
        return self.socket.recv_into(view)

    def restore_timeout(self, timeout_s: float | None) -> None:
        """Give what is sent its own time again."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.settimeout(timeout_s)

    def _shutdown_socket(self) -> None:
        if isinstance(self.socket, ssl.SSLSocket):
            # close_notify (RFC 8446 6.1); without waiting for the other side's.
            with contextlib.suppress(OSError, ValueError):
                self.socket.settimeout(0.0)
                self.socket.unwrap()
        super()._shutdown_socket()


class NodeUpperLayer(DULServiceProvider):
    """Reads PDUs with limits and keeps the first trouble it met, for the log."""

    def __init__(self, association: NodeAssociation, maximum_pdu_bytes: int) -> None:
        super().__init__(association)
        self.daemon = True
        self.bell = Bell()
        self.to_provider_queue = _RingingQueue(self.bell.ring)
        self.to_user_queue = _RingingQueue(association.something_came.set)
        self.trouble: tuple[str, str] | None = None
        self.peer_aborted = False
        self._longest = max(_SENSIBLE_PDU_BYTES, 2 * maximum_pdu_bytes)

    def note(self, rule: str, detail: str) -> None:
        """Keep why this association cannot go on; the first reason counts."""
        if self.trouble is None:
            self.trouble = (rule, detail)

    @property
    def is_ahead(self) -> bool:
        """Whether requests wait to be served: reading more of them would only fill the memory."""
        return self.assoc.dimse.msg_queue.qsize() >= _MOST_UNSERVED

    @property
    def patience_s(self) -> float:
        """How long the reactor may wait for the connection: not at all where it has something to do."""
        is_busy = not (self.event_queue.empty() and self.to_provider_queue.empty())
        return 0.0 if is_busy or self.state_machine.current_state == _AWAITING_CLOSE else _LOOK_AGAIN_S

    def run_reactor(self) -> None:
        try:
            contained(super().run_reactor, self._reactor_failed)
        finally:
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
        return association.must_end.is_set() or super().idle_timer_expired()

    def give_up_waiting(self) -> None:
        """Wake a thread that waits for an A-ASSOCIATE-RQ: none will come."""
        if self.state_machine.current_state in _AWAITING_REQUEST:
            self.to_user_queue.put(None)  # type: ignore[arg-type]

    def _reactor_failed(self, error: Exception) -> None:
        self.note("reactor", f"{type(error).__name__}: {error}")
        self.to_user_queue.put(A_P_ABORT())
        if self.socket is not None:
            self.socket.send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")  # A-ABORT, service provider (PS3.8 9.3.8)
            self.socket._shutdown_socket()
        self.assoc.dimse.msg_queue.put((None, None))

    def _read_pdu_data(self) -> None:
        if self.state_machine.current_state == _AWAITING_CLOSE:
            self._drain()
            return
        head = self._receive(6)
        if head is None:
            return
        pdu_type, length = head[0], struct.unpack(">L", head[2:])[0]
        if pdu_type not in _PDU_TYPES:
            self._invalid("unknown_pdu_type", f"PDU type 0x{pdu_type:02X}")
        elif length > self._longest:
            self._invalid("pdu_too_long", f"a PDU of type 0x{pdu_type:02X} claims {length} bytes")
        else:
            self._read_body(head, length)

    def _read_body(self, head: bytearray, length: int) -> None:
        body = self._receive(length, is_inside=True)
        if body is None:
            return
        decoded: list[Any] = []
        contained(
            lambda: decoded.extend(self._decode_pdu(head + body)),
            lambda error: self._invalid("undecodable_pdu", f"{type(error).__name__}: {error}"),
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
        self.event_queue.put(_CONNECTION_CLOSED)
        self.give_up_waiting()
        return None

    def _invalid(self, rule: str, detail: str) -> None:
        self.note(rule, detail)
        self.event_queue.put(_INVALID_PDU)
        self.give_up_waiting()

    def _drain(self) -> None:
        """After the end only the closing of the connection is awaited: what still comes is thrown away."""
        sock = self.socket.socket if self.socket is not None else None
        try:
            if sock is not None and sock.recv(65_536):
                return
        except OSError:
            pass
        self.event_queue.put(_CONNECTION_CLOSED)


class NodeDimse(DIMSEServiceProvider):
    """Puts messages together, with a limit, and turns a message that makes no sense into an abort."""

    def __init__(self, association: NodeAssociation) -> None:
        super().__init__(association)
        self._something_came = association.something_came
        self.msg_queue = _RingingQueue(self._something_came.set)

    def get_msg(self, block: bool = False) -> Any:
        """As pynetdicom's; the association's thread, which asks without blocking, is kept here while nothing comes."""
        if not block and self._something_came.wait(_LOOK_AGAIN_S):
            self._something_came.clear()
        return super().get_msg(block=block)

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


def _data_set_bytes(message: Any) -> int:
    data_set = getattr(message, "DataSet", None)
    return data_set.getbuffer().nbytes if data_set is not None else 0


class NodeAssociation(Association):
    """An association we accepted. `association_id` and `peer_name` are empty until it is admitted; `secured` is None
    without TLS.
    """

    dul: NodeUpperLayer

    def __init__(self, ae: ApplicationEntity, host: AssociationHost) -> None:
        self.something_came = threading.Event()
        super().__init__(ae, MODE_ACCEPTOR)
        self.host = host
        self.dul = NodeUpperLayer(self, ae.maximum_pdu_size)
        self.dimse = NodeDimse(self)
        # The timers live in the upper layer that was just replaced; the setters carry the values over.
        self.acse_timeout, self.network_timeout = self.ae.acse_timeout, self.ae.network_timeout
        self.association_id = ""
        self.calling_aet = ""
        self.called_aet = ""
        self.peer_name = ""
        self.is_reporting = False
        self._message_id = 0
        self.secured: Secured | None = None
        self.must_end = threading.Event()

    @property
    def address(self) -> str:
        """Where the connection comes from."""
        return self.requestor.address

    @property
    def ending(self) -> Ending:
        """How it ended; meaningful once it has."""
        if self.is_released:
            return Ending.RELEASED
        if self._sent_abort or self.dul.peer_aborted or isinstance(self.dul.peek_next_pdu(), A_ABORT):
            return Ending.ABORTED
        return Ending.LOST

    def end(self) -> None:
        """Make the association abort itself soon, from its own thread; a request under way is finished."""
        self.must_end.set()
        self.something_came.set()
        if self.dul.state_machine.current_state in _AWAITING_REQUEST:
            self.cut()

    def cut(self) -> None:
        """Shut the connection down under whatever is going on; its own thread notices and closes it."""
        connection = self.dul.socket.socket if self.dul.socket is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self.host.ended(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if threading.current_thread() is not self:
            # pynetdicom begins a thread for each N-EVENT-REPORT, which a peer could do to us without end.
            self.dimse.msg_queue.put((context_id, msg))
            return
        try:
            self._serve(msg, context_id)
        finally:
            self.host.receiving_memory.give_back(self, self.address, _data_set_bytes(msg))

    def _serve(self, msg: Any, context_id: int) -> None:
        if not self.association_id or self.must_end.is_set():
            self.abort()
        elif isinstance(msg, C_STORE) and msg.MessageIDBeingRespondedTo is None:
            self._serve_store(msg, context_id)
        elif isinstance(msg, N_ACTION | N_EVENT_REPORT) and msg.MessageIDBeingRespondedTo is None:
            self._serve_commitment(msg, context_id)
        else:
            super()._serve_request(msg, context_id)

    def serve(self, message: Any, context_id: int) -> None:
        """Serve what came while an answer was awaited; only from the association's own thread."""
        self._serve_request(message, context_id)

    def next_message_id(self) -> int:
        """Another number for a request of ours (PS3.7 E.1)."""
        self._message_id = self._message_id % 65_535 + 1
        return self._message_id

    def _serve_commitment(self, request: N_ACTION | N_EVENT_REPORT, context_id: int) -> None:
        context = self._accepted_cx.get(context_id)
        if context is None or context.abstract_syntax != PUSH_MODEL or not request.is_valid_request:
            self.dul.note("invalid_message", f"{type(request).__name__}-RQ under presentation context {context_id}")
            self.abort()
            return
        self.host.commitment(self, request, context)

    def _serve_store(self, request: C_STORE, context_id: int) -> None:
        context = self._accepted_cx.get(context_id)
        if context is None or request.MessageID is None:
            self.dul.note("invalid_message", f"C-STORE-RQ under presentation context {context_id}")
            self.abort()
            return
        response = C_STORE()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
        response.Status, comment = self.host.store(self, request, context)
        if comment:
            response.ErrorComment = comment  # type: ignore[assignment]
        self.dimse.send_msg(response, context_id)
