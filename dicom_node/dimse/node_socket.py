"""The connection under an association: bytes that were read before it began, TLS, and waiting instead of polling."""

from __future__ import annotations

import contextlib
import math
import queue
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    from dicom_node.dimse.association import NodeAssociation

CONNECTION_CLOSED = "Evt17"
"""The event of PS3.8 9.2.1."""

_LOOK_AGAIN_AHEAD_S = 0.05
_LINGER_S = 1.0
_time = struct.Struct("@ll")  # struct timeval


class RingingQueue(queue.Queue[Any]):
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
        self._kernel_waits_s: float | None = None
        self._leaves_at: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the connection is closed; waits for it a while if nothing else is up.

        Only for the reactor's thread.
        """
        if self._upper_layer.is_over:
            return self._has_more_to_drain()
        if self.socket is None or not self._is_connected:
            self._upper_layer.bell.wait(self._upper_layer.patience_s)
            return False
        if self._upper_layer.is_ahead:
            self._upper_layer.bell.wait(_LOOK_AGAIN_AHEAD_S)
            return False
        if self._first or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        try:
            return self._upper_layer.bell.wait_beside(self.socket, self._upper_layer.patience_s)
        except (OSError, ValueError):
            self.event_queue.put(CONNECTION_CLOSED)
            return False

    def _has_more_to_drain(self) -> bool:
        """After the association's end: whether there is something to throw away, or the other side has closed.

        It is given a second to read our last PDU: closing over bytes that are not read would reset the connection,
        and the PDU would be lost with it.
        """
        if self.socket is None or not self._is_connected:
            return False
        if self._leaves_at is None:
            self._leaves_at = time.monotonic() + _LINGER_S
            self._say_goodbye(self.socket)
        left_s = self._leaves_at - time.monotonic()
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return left_s > 0.0 and bool(poller.poll(left_s * 1000.0))
        except (OSError, ValueError):
            return False

    def _say_goodbye(self, connection: socket.socket) -> None:
        """Nothing follows from us."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(connection, ssl.SSLSocket):
                # close_notify (RFC 8446 6.1); without waiting for the other side's.
                connection.settimeout(0.0)
                with contextlib.suppress(OSError, ValueError):
                    connection.unwrap()
            # Not SSLSocket's own, which forgets that the connection is encrypted.
            socket.socket.shutdown(connection, socket.SHUT_WR)

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

    def receive_before(self, view: memoryview, until: float, limit_s: float) -> int:
        """As `receive_into`, where `until` is `limit_s` away at first; sets the time anew only when it runs out.

        On a plain connection the kernel does the waiting from here to `restore_timeout`: Python's own takes a second
        system call for each read and each answer, and lets go of the interpreter twice.
        """
        connection = self.socket
        if self._first or connection is None or isinstance(connection, ssl.SSLSocket):
            return self.receive_into(view, until)
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        if self._kernel_waits_s is None or not self._kernel_waits_s <= limit_s < 2.0 * left_s:
            self._wait_in_kernel(connection, left_s)
        try:
            return connection.recv_into(view)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    def _wait_in_kernel(self, connection: socket.socket, limit_s: float) -> None:
        """Each read and each write takes `limit_s` at most (SO_RCVTIMEO of socket(7)); 0 would be for ever."""
        microseconds = max(1, math.ceil(limit_s * 1e6))
        limit = _time.pack(*divmod(microseconds, 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, limit)
        if self._kernel_waits_s is None:
            connection.settimeout(None)
        self._kernel_waits_s = limit_s

    @property
    def lendable(self) -> socket.socket | None:
        """The connection, where another process may read on from here: plain, and nothing was read ahead."""
        is_plain = self.socket is not None and not isinstance(self.socket, ssl.SSLSocket)
        return self.socket if is_plain and not self._first else None

    def put_back(self, data: bytes) -> None:
        """`data` was read and is to be read again."""
        self._first = memoryview(data + bytes(self._first))

    def send_all(self, data: bytes) -> None:
        """`data` is on its way. Raises OSError. Only for the reactor's thread."""
        if self.socket is None:
            raise ConnectionError("the connection is closed")
        self.socket.sendall(data)

    def restore_timeout(self, timeout_s: float | None) -> None:
        """Give what is sent its own time again."""
        self._kernel_waits_s = None
        if self.socket is not None and self.socket.gettimeout() != timeout_s:
            with contextlib.suppress(OSError):
                self.socket.settimeout(timeout_s)

    def _shutdown_socket(self) -> None:
        """Shut down and close; closed it is where the other side was first, too."""
        connection = self.socket
        if connection is None:
            return
        if self._leaves_at is None:
            self._say_goodbye(connection)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        connection.close()
