"""uvicorn in a thread, so that the node starts and stops it like everything else."""

from __future__ import annotations

import socket
import threading

import structlog
import uvicorn
from fastapi import FastAPI

log = structlog.get_logger(__name__)


class WebServer:
    """Serves `app` from `start` to `stop`. `port` 0 takes a free one; `port` is the real one after `start`.

    With `certificate` and `key` (PEM files) it speaks TLS. Forwarding headers are not believed: whoever may connect
    could write them, and the audit trail and the limits of log-in name the address.
    """

    def __init__(self, app: FastAPI, *, host: str, port: int, certificate: str = "", key: str = "") -> None:
        self.host = host
        self.port = port
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                ssl_certfile=certificate or None,
                ssl_keyfile=key or None,
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns listening. Raises OSError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._socket = socket.create_server((self.host, self.port), family=family)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()
        log.info("web_listening", host=self.host, port=self.port)

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Requests under way get `timeout_s` to end."""
        if self._thread is None or self._socket is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(1.0)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket] if self._socket else None)
