"""MLLP (HL7's minimal lower layer protocol) as a client: one message, one acknowledgement, one connection.

A block is 0x0B, the message, 0x1C 0x0D. The connection is not kept: positives are rare, and a connection that was idle
for hours is the one that a firewall has dropped without a word.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from dicom_node.core.errors import PeerBusy, PeerUnreachable
from dicom_node.core.notice import Notice
from dicom_node.notify.oru import Parties, oru_r01, read_acknowledgement
from dicom_node.ports import Clock

log = structlog.get_logger(__name__)

_START, _END = b"\x0b", b"\x1c\x0d"
_LONGEST_ANSWER = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where the HL7 listener is. `tls` is None for a plain connection; `timeout_s` holds for the whole exchange."""

    host: str
    port: int
    timeout_s: float = 10.0
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"the HL7 listener at {self.host}:{self.port}"


class Hl7Notifier:
    """`ports.Notifier` by HL7 v2."""

    def __init__(self, listener: Listener, parties: Parties, *, clock: Clock) -> None:
        self._listener = listener
        self._parties = parties
        self._clock = clock

    def tell(self, notice: Notice) -> str:
        """The listener has acknowledged the message. Raises PeerUnreachable, PeerBusy, PeerRefused."""
        message = oru_r01(notice, self._parties, now=self._clock.now())
        answer = exchange(self._listener, message.encode("utf-8"))
        said = read_acknowledgement(answer.decode("utf-8", "replace"), control_id=notice.id)
        log.info("notice_acknowledged", channel="hl7", notice=notice.id, answer=said)
        return f"{self._listener} {said}"


def exchange(listener: Listener, message: bytes, *, monotonic: Callable[[], float] = time.monotonic) -> bytes:
    """The answer to the message, without its frame. Raises PeerUnreachable, and PeerBusy for a broken answer."""
    ends_at = monotonic() + listener.timeout_s
    try:
        with _connected(listener) as connection:
            connection.sendall(_START + message + _END)
            return _read_block(connection, listener, lambda: ends_at - monotonic())
    except OSError as error:
        raise PeerUnreachable(f"{listener} cannot be reached: {error.strerror or type(error).__name__}") from error


def _connected(listener: Listener) -> socket.socket:
    connection = socket.create_connection((listener.host, listener.port), timeout=listener.timeout_s)
    if listener.tls is None:
        return connection
    with ExitStack() as undo:
        undo.callback(connection.close)
        secured = listener.tls.wrap_socket(connection, server_hostname=listener.host)
        undo.pop_all()
    return secured


def _read_block(connection: socket.socket, listener: Listener, left_s: Callable[[], float]) -> bytes:
    received = b""
    while not received.endswith(_END):
        # A listener that sends a byte now and then must not hold the worker for longer than one that is silent.
        if left_s() <= 0 or len(received) > _LONGEST_ANSWER:
            raise PeerBusy(f"{listener} gave no whole acknowledgement in {listener.timeout_s:g} s")
        connection.settimeout(max(left_s(), 0.001))
        part = connection.recv(65_536)
        if not part:
            raise PeerBusy(f"{listener} ended the connection without an acknowledgement")
        received += part
    return received[received.find(_START) + 1 : -len(_END)]
