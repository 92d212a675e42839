"""pynetdicom's association, made fit for an open port.

pynetdicom negotiates, runs the state machine (PS3.8 9.2) and speaks DIMSE. What it leaves open is closed here, and
nothing else is changed:

- It reads as many bytes as a PDU header claims: 4 GiB for 0xFFFFFFFF. Here a PDU longer than anything sensible is an
  invalid PDU (Evt19: we send A-ABORT).
- It reads 4096 bytes at a time; here a PDU is read into one buffer.
- An accepted socket has no timeout, so half a PDU blocks its thread for good. Here it has one.
- A peer that goes away before its A-ASSOCIATE-RQ keeps two threads waiting for `acse_timeout`. Here a None in
  `to_user_queue` ("no request came") ends them at once.
- An exception in its reactor thread ends that thread and leaves the socket open. Here it becomes an abort.
- A C-STORE-RQ without its mandatory elements is passed over in silence, and the sender waits. Here it is answered.
- Nobody is told reliably that an association is over. Here `run_reactor` ends with `host.ended(association)`, always.

How to edit safely: these classes override private methods of pynetdicom 3.0.4 (`_read_pdu_data`, `_serve_request`,
`receive_primitive`, `run_reactor`); the integration tests drive each with raw sockets and are the contract for an
upgrade.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
from enum import StrEnum
from typing import Any, Protocol

from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from dicom_node.dimse.handlers import contained

# What happens is told once, by us, with a name for it and without data sets.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

_PDU_TYPES = range(0x01, 0x08)
_SENSIBLE_PDU_BYTES = 1 << 20
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

    def store(self, association: NodeAssociation, request: C_STORE, context: PresentationContext) -> tuple[int, str]:
        """The status and the Error Comment to answer a C-STORE-RQ with. Never raises."""

    def ended(self, association: NodeAssociation) -> None:
        """The association and its connection are over; called once for every connection."""


class NodeSocket(AssociationSocket):
    """Asks with poll, which unlike select knows file descriptors above 1023."""

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the connection is closed."""
        if self.socket is None or not self._is_connected:
            return False
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            self.event_queue.put(_CONNECTION_CLOSED)
            return False


class NodeUpperLayer(DULServiceProvider):
    """Reads PDUs with limits and keeps the first trouble it met, for the log."""

    def __init__(self, association: NodeAssociation, maximum_pdu_bytes: int) -> None:
        super().__init__(association)
        self.daemon = True
        self.trouble: tuple[str, str] | None = None
        self.peer_aborted = False
        self._longest = max(_SENSIBLE_PDU_BYTES, 2 * maximum_pdu_bytes)

    def note(self, rule: str, detail: str) -> None:
        """Keep why this association cannot go on; the first reason counts."""
        if self.trouble is None:
            self.trouble = (rule, detail)

    def run_reactor(self) -> None:
        contained(super().run_reactor, self._reactor_failed)

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
        sock = self.socket.socket if self.socket is not None else None
        try:
            while sock is not None and filled < count:
                got = sock.recv_into(view[filled:])
                if not got:
                    break
                filled += got
        except OSError as error:
            self.note("stalled_pdu" if isinstance(error, TimeoutError) else "connection_lost", str(error))
        if filled == count and sock is not None:
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

    def receive_primitive(self, primitive: P_DATA) -> None:
        contained(lambda: super(NodeDimse, self).receive_primitive(primitive), self._invalid)
        association: Any = self.assoc
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


class NodeAssociation(Association):
    """An association we accepted. `association_id` and `peer_name` are empty until it is admitted."""

    dul: NodeUpperLayer

    def __init__(self, ae: ApplicationEntity, host: AssociationHost) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self.host = host
        self.dul = NodeUpperLayer(self, ae.maximum_pdu_size)
        self.dimse = NodeDimse(self)
        # The timers live in the upper layer that was just replaced; the setters carry the values over.
        self.acse_timeout, self.network_timeout = self.ae.acse_timeout, self.ae.network_timeout
        self.association_id = ""
        self.calling_aet = ""
        self.called_aet = ""
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
        if self.dul.state_machine.current_state in _AWAITING_REQUEST:
            self.cut()

    def cut(self) -> None:
        """Shut the connection down under whatever is going on; its own thread notices and closes it."""
        connection = self.dul.socket.socket if self.dul.socket is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self.host.ended(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if not self.association_id or self.must_end.is_set():
            self.abort()
        elif isinstance(msg, C_STORE) and msg.MessageIDBeingRespondedTo is None:
            self._serve_store(msg, context_id)
        else:
            super()._serve_request(msg, context_id)

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
