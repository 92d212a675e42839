"""An audit record repository that keeps what it is sent: syslog over TLS on a free loopback port."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

from tests.builders.audit_schema import frames_in


class SyslogListener:
    """Listens from its making to `close`."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._streams: list[bytearray] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def lines(self) -> list[bytes]:
        """The whole messages that came, in their order."""
        return [line for stream in self._streams for line in frames_in(bytes(stream))]

    def close(self) -> None:
        self._socket.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._socket.accept()
                thread = threading.Thread(target=self._read, args=(plain,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _read(self, plain: socket.socket) -> None:
        stream = bytearray()
        self._streams.append(stream)
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secured:
            while content := secured.recv(65536):
                stream += content
