"""A hostile client in a process of its own: `python flooder.py KIND PORT FILE`, until it is killed.

FILE holds an A-ASSOCIATE-RQ that the node accepts. It prints "flooding" when it has begun. Standard library only, and
all connections in one selector, so that it costs the machine less than the node that is looked at.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CONNECTIONS = 1000
_TURN_S = 0.05


def silent(_request: bytes) -> Iterator[bytes]:
    """Connects and says nothing."""
    while True:
        yield b""


def half_a_handshake(_request: bytes) -> Iterator[bytes]:
    """Begins a TLS ClientHello and does not go on."""
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    yield from silent(b"")


def one_byte_at_a_time(request: bytes) -> Iterator[bytes]:
    """A good request, a byte now and then."""
    for at in range(len(request)):
        yield request[at : at + 1]
        yield from [b""] * 3
    yield from silent(b"")


def pdu_of_64_megabytes(_request: bytes) -> Iterator[bytes]:
    """A PDU of 64 MB, of the right type, as fast as it is taken."""
    yield struct.pack(">BBL", 1, 0, 64 << 20)
    while True:
        yield b"\0" * 65_536


def endless_contexts(request: bytes) -> Iterator[bytes]:
    """As many presentation contexts as go into a request that is not yet too long."""
    context = request[request.index(b"\x20\x00") :]
    context = context[: 4 + struct.unpack(">H", context[2:4])[0]]
    body = request[6:74] + context * ((500_000 - 68) // len(context))
    yield struct.pack(">BBL", 1, 0, len(body)) + body
    yield from silent(b"")


def association_that_never_sends(request: bytes) -> Iterator[bytes]:
    """Asks for an association, gets it or not, and says no more."""
    yield request
    yield from silent(b"")


def stranger_s_request(request: bytes) -> Iterator[bytes]:
    """Asks under an AE title that nobody has."""
    yield request[:26] + b"STRANGER        " + request[42:]
    yield from silent(b"")


KINDS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    kind.__name__: kind
    for kind in (
        silent, half_a_handshake, one_byte_at_a_time, pdu_of_64_megabytes, endless_contexts,
        association_that_never_sends, stranger_s_request,
    )
}  # fmt: skip


class Flood:
    """A thousand connections from one address; whichever is closed is opened again."""

    def __init__(self, kind: str, port: int, request: bytes) -> None:
        self._script = KINDS[kind]
        self._port = port
        self._request = request
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, Iterator[bytes]] = {}

    def run(self) -> None:
        while True:
            for _ in range(min(100, CONNECTIONS - len(self._open))):
                self._connect()
            for key, _ in self._selector.select(_TURN_S):
                self._read(key.fileobj)
            for connection, script in list(self._open.items()):
                self._say(connection, next(script))
            time.sleep(_TURN_S)

    def _connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.connect(("127.0.0.1", self._port))
        self._open[connection] = self._script(self._request)
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        try:
            if connection.recv(65_536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(connection)

    def _say(self, connection: socket.socket, words: bytes) -> None:
        try:
            if words:
                connection.send(words)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        if self._open.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()


def silent_once_a_second(port: int) -> None:
    """One more connection every second, each kept and never used."""
    kept = []
    while True:
        kept.append(socket.create_connection(("127.0.0.1", port)))
        time.sleep(1.0)


def handshakes(port: int) -> None:
    """Whole TLS handshakes without a certificate, one after the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as plain:
            context.wrap_socket(plain).close()


if __name__ == "__main__":
    kind, port, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    sys.stdout.write("flooding\n")
    sys.stdout.flush()
    if kind == "silent_once_a_second":
        silent_once_a_second(port)
    elif kind == "handshakes":
        handshakes(port)
    else:
        Flood(kind, port, file.read_bytes()).run()
