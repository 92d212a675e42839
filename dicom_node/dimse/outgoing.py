"""A C-STORE request on its way out: from the encoded data set to the connection, in the thread that sends it.

pynetdicom negotiates, reads what the peer says and ends the association. What it does with a data set to be sent costs
more than the network: it is copied into a message, cut into fragments, each fragment is put into a queue, taken out by
another thread, made a PDU, and sliced again while it is written; and that thread sleeps a millisecond before it looks
for the answer. Here the fragments are views of the caller's bytes, as long as the peer allows (PS3.8 D.1.1), several
PDUs go to the kernel in one call, and the reading thread waits for the connection in the place of sleeping.

Two threads hold the connection, so:

- All writing is under one lock: a release or an abort by the state machine never lands within a PDU of ours.
- Closing waits for the writer, which the shutdown before it wakes: a file descriptor is never written to by a number
  that means something else by then.
- An encrypted connection is not written to by one thread while another reads it (OpenSSL forbids that): there
  pynetdicom sends.
- A connection that fails while it is written to becomes the event that pynetdicom has for it, and the one who waits for
  the answer learns of it as of any other end.

How to edit safely: `adopt` makes pynetdicom's socket one of ours while it reports the new connection, in its own
reactor thread, before any other thread can use it. It overrides `ready`, `send` and `_shutdown_socket` of pynetdicom
3.0.4; `tests/integration/test_dimse_sending.py` is the contract for an upgrade.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from select import POLLIN, poll
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from dicom_node.dimse.node_socket import CONNECTION_CLOSED

_P_DATA = 0x04
_PDV_HEAD = 6  # length, context id, control header
_HEAD = struct.Struct(">BxLLBB").pack
_COMMAND, _LAST = 0x01, 0x02
_C_STORE_RQ, _MEDIUM, _DATA_SET_FOLLOWS = 0x0001, 0x0000, 0x0001
# For peers that set no limit, or one beyond sense.
_LONGEST_PDU = 1 << 18
_MOST_BUFFERS = 64
_AWAITING_CLOSE = "Sta13"
_TURN_MS = 1  # a primitive to be sent waits for it at most, as in pynetdicom

Buffer = bytes | memoryview


def store_request(*, message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 9.3.1.1), Implicit VR Little Endian. Raises UnicodeEncodeError."""
    elements = b"".join(
        (
            _element(0x0002, _uid(sop_class_uid)),
            _element(0x0100, _us(_C_STORE_RQ)),
            _element(0x0110, _us(message_id)),
            _element(0x0700, _us(_MEDIUM)),
            _element(0x0800, _us(_DATA_SET_FOLLOWS)),
            _element(0x1000, _uid(sop_instance_uid)),
        )
    )
    return _element(0x0000, struct.pack("<L", len(elements))) + elements


def p_data(context_id: int, message: Buffer, *, is_command: bool, maximum_length: int) -> Iterator[Buffer]:
    """The message as P-DATA-TF PDUs of one fragment each (PS3.8 9.3.5, E.2): heads and fragments, in turn.

    `maximum_length` is what the peer announced for a PDU without its head, 0 for any. Fragments are views.
    """
    longest = min(maximum_length, _LONGEST_PDU) if maximum_length else _LONGEST_PDU
    size = max((longest - _PDV_HEAD) & ~1, 2)
    view, kind = memoryview(message), _COMMAND if is_command else 0
    for at in range(0, max(len(view), 1), size):
        fragment = view[at : at + size]
        control = kind | (_LAST if at + size >= len(view) else 0)
        yield _HEAD(_P_DATA, len(fragment) + _PDV_HEAD, len(fragment) + 2, context_id, control)
        yield fragment


def adopt(association: Association, *, timeout_s: float) -> None:
    """The association's new connection is an `OutgoingSocket`; each write to it has so many seconds."""
    connection: Any = association.dul.socket
    connection.__class__ = OutgoingSocket
    connection.begin(timeout_s)


class OutgoingSocket(AssociationSocket):
    """A connection that one thread reads, waiting, and another may write to."""

    def begin(self, timeout_s: float) -> None:
        """What `__init__` would do. Bytes are sent as soon as they are there (TCP_NODELAY).

        pynetdicom leaves the socket without a timeout: a peer that stops reading would hold its thread for good.
        """
        self._writing = threading.Lock()
        self._upper_layer: Any = self.assoc.dul
        self._upper_layer._run_loop_delay = 0.0  # it waits in `ready`
        if self.socket is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.settimeout(timeout_s)

    @property
    def takes_writes(self) -> bool:
        """Whether `write` may be used."""
        return self.socket is not None and not isinstance(self.socket, ssl.SSLSocket)

    def write(self, buffers: Iterable[Buffer]) -> None:
        """Write them all, from any thread; a connection that fails is over, which is told as pynetdicom tells it."""
        waiting = [buffer for buffer in buffers if len(buffer)]
        with self._writing:
            try:
                while waiting:
                    if self.socket is None:
                        return
                    sent = self.socket.sendmsg(waiting[:_MOST_BUFFERS])
                    waiting = _rest(waiting, sent)
            except OSError:
                self.event_queue.put(CONNECTION_CLOSED)

    def send(self, bytestream: bytes) -> None:
        with self._writing:
            super().send(bytestream)

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the connection is closed; waits a while where nothing else is up."""
        if self.socket is None or not self._is_connected:
            time.sleep(_TURN_MS / 1000)
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        waiting = poll()
        try:
            waiting.register(self.socket, POLLIN)
            return bool(waiting.poll(0 if self._has_work else _TURN_MS))
        except (OSError, ValueError):
            self.event_queue.put(CONNECTION_CLOSED)
            return False

    @property
    def _has_work(self) -> bool:
        layer = self._upper_layer
        is_idle = layer.event_queue.empty() and layer.to_provider_queue.empty()
        return not is_idle or layer.state_machine.current_state == _AWAITING_CLOSE

    def _shutdown_socket(self) -> None:
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with self._writing, contextlib.suppress(OSError):
                connection.close()


def _rest(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """What is left of the buffers after so many bytes."""
    for number, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[number + 1 :]]
        sent -= len(buffer)
    return []


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _uid(value: str) -> bytes:
    encoded = value.encode("ascii")
    return encoded + b"\0" * (len(encoded) % 2)
