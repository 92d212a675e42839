"""Connections that have not asked for an association yet: one thread for all of them.

A connection costs its sender nothing, so it must cost us next to nothing until it has shown an A-ASSOCIATE-RQ. Here
one selector waits for all of them at once, does TLS handshakes step by step as bytes come, and reads the request. Only
a whole request that makes sense is handed on and gets threads. So somebody who connects and says nothing, stops in
the middle of a handshake, or sends one byte a second takes a place in this room and nothing else, and for a limited
time that counts from the connect (ARTIM, PS3.8 9.1.5).

Who is sent away when the room is full: the connection that has waited longest of the address that has the most. An
address with many connections crowds out itself and nobody else; a peer that has something to say needs its place for
milliseconds and is gone before its turn. Whole requests of one address are handed on at a limited pace, because each
costs a decoder and two threads.

How to edit safely: everything but `enter`, `close` and `count` runs in the room's own thread and must not wait for
anything: no name look-up, no lock that is held over input or output, no blocking read.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from dicom_node.dimse import association_request, tls
from dicom_node.dimse.access import normalise_address
from dicom_node.dimse.handlers import contained
from dicom_node.dimse.pacing import Pacing

THREAD_NAME = "dicom-waiting-room"
_LONGEST_READ = 65_536
_LEAVE_TIMEOUT_S = 1.0
_PATIENCE_S = 0.1
_PATIENCE_WITH_READY_S = 0.02
_HEAD = 6
_KNOWN_TYPES = range(0x01, 0x08)
_A_ABORT_TYPE = 0x07


def _abort(reason: int) -> bytes:
    """A-ABORT by the service provider (PS3.8 9.3.8)."""
    return bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, reason))


_UNRECOGNISED, _UNEXPECTED, _INVALID = _abort(1), _abort(2), _abort(6)
_LOCAL_LIMIT = bytes((0x03, 0, 0, 0, 0, 4, 0, 2, 3, 2))  # A-ASSOCIATE-RJ, transient, local limit exceeded


@dataclass(frozen=True, kw_only=True)
class RoomLimits:
    """Places in all and for one address; seconds from the connect; requests one address may make in a second."""

    places: int
    places_per_address: int
    handshake_timeout_s: float
    request_timeout_s: float
    requests_per_second: float


class Door(Protocol):
    """The listening port a connection came through."""

    def tls_context(self) -> ssl.SSLContext | None:
        """What the next connection is secured with; None where the port is plain."""

    def admit(
        self, connection: socket.socket, client_address: Any, request: bytes, secured: tls.Secured | None
    ) -> None:
        """Give the connection, which asked for an association, to threads of its own."""


class RoomHost(Protocol):
    """What the room asks and tells its server, from the room's thread."""

    def may_associate(self, address: str) -> bool:
        """Whether there is room for one more connection with threads."""

    def turned_away(self, address: str, rule: str, why: str) -> None:
        """A connection is closed without an association, for a reason that is not the protocol's."""

    def broke_protocol(self, address: str, rule: str, why: str) -> None:
        """A connection is closed because of what it sent, or did not send to the end."""


class _Stage(Enum):
    HANDSHAKE = "handshake"
    REQUEST = "request"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(eq=False, kw_only=True)
class _Guest:
    connection: socket.socket
    client_address: Any
    address: str
    door: Door
    until: float
    stage: _Stage = _Stage.REQUEST
    secured: tls.Secured | None = None
    received: bytearray = field(default_factory=bytearray)
    wanted: int = _HEAD


class WaitingRoom:
    """`start` once, `close` once; `enter` from any thread."""

    def __init__(self, limits: RoomLimits, host: RoomHost, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._host = host
        self._monotonic = monotonic
        self._pacing = Pacing(
            per_second=limits.requests_per_second, burst=2.0 * limits.requests_per_second, monotonic=monotonic
        )
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._bell_rope, False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._arriving: deque[tuple[socket.socket, Any, Door]] = deque()
        self._guests: dict[str, dict[_Guest, None]] = {}  # by address, the one who waits longest first
        self._ready: deque[_Guest] = deque()
        self._count = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    @property
    def count(self) -> int:
        """Connections that wait now."""
        return self._count + len(self._arriving)

    def start(self) -> None:
        """Begin to take connections in."""
        self._thread.start()

    def enter(self, connection: socket.socket, client_address: Any, door: Door) -> bool:
        """The room looks after the connection from here on; False, and nothing done, where too many arrive at once."""
        if self._closing.is_set() or len(self._arriving) >= self._limits.places:
            return False
        self._arriving.append((connection, client_address, door))
        self._ring()
        return True

    def close(self, timeout_s: float) -> None:
        """Close every connection that waits, and end."""
        self._closing.set()
        self._ring()
        self._thread.join(timeout_s)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # a bell that nobody has answered yet rings already
            os.write(self._bell_rope, b"!")

    # The room's thread, from here to the end.

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(_PATIENCE_WITH_READY_S if self._ready else _PATIENCE_S):
                self._attend(key.data)
            self._take_in()
            self._hand_on()
            self._send_away_late()
        self._take_in()
        for guest in self._everybody():
            self._dismiss(guest)
        self._selector.close()
        for end in (self._bell, self._bell_rope):
            os.close(end)

    def _attend(self, guest: _Guest | None) -> None:
        if guest is None:
            with contextlib.suppress(OSError):
                os.read(self._bell, _LONGEST_READ)
        elif guest in self._guests.get(guest.address, ()):  # else it was sent away for another in this round
            self._safely(self._advance, guest)

    def _take_in(self) -> None:
        while self._arriving:
            connection, client_address, door = self._arriving.popleft()
            address = normalise_address(str(client_address[0]))
            self._count += 1
            guest = _Guest(
                connection=connection,
                client_address=client_address,
                address=address,
                door=door,
                until=self._monotonic() + self._limits.request_timeout_s,
            )
            self._guests.setdefault(address, {})[guest] = None
            self._safely(self._welcome, guest)
            self._make_room(address)

    def _welcome(self, guest: _Guest) -> None:
        guest.connection.setblocking(False)
        context = guest.door.tls_context()
        if context is not None:
            guest.connection = context.wrap_socket(guest.connection, server_side=True, do_handshake_on_connect=False)
            guest.stage = _Stage.HANDSHAKE
            guest.until = self._monotonic() + self._limits.handshake_timeout_s
        self._selector.register(guest.connection, selectors.EVENT_READ, guest)

    def _make_room(self, address: str) -> None:
        if len(self._guests.get(address, ())) > self._limits.places_per_address:
            self._crowded_out(address)
        elif self._count > self._limits.places:
            self._crowded_out(max(self._guests, key=lambda each: len(self._guests[each])))

    def _crowded_out(self, address: str) -> None:
        held = len(self._guests[address])
        self._dismiss(next(iter(self._guests[address])))
        self._host.turned_away(address, "too_many_waiting", f"{held} connections wait without an association")

    def _advance(self, guest: _Guest) -> None:
        try:
            if guest.stage is _Stage.HANDSHAKE:
                self._shake_hands(guest)
            if guest.stage is _Stage.REQUEST:
                self._read_request(guest)
            elif guest.stage is _Stage.LEAVING:
                self._drain(guest)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._selector.modify(guest.connection, selectors.EVENT_READ, guest)
        except ssl.SSLWantWriteError:
            self._selector.modify(guest.connection, selectors.EVENT_WRITE, guest)

    def _shake_hands(self, guest: _Guest) -> None:
        connection = guest.connection
        assert isinstance(connection, ssl.SSLSocket)
        try:
            connection.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self._dismiss(guest)
            self._host.turned_away(guest.address, "tls_handshake", tls.reason(error))
            return
        guest.secured = tls.secured(connection)
        guest.stage = _Stage.REQUEST
        guest.until = self._monotonic() + self._limits.request_timeout_s

    def _read_request(self, guest: _Guest) -> None:
        while len(guest.received) < guest.wanted:
            try:
                data = guest.connection.recv(min(guest.wanted - len(guest.received), _LONGEST_READ))
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                raise
            except OSError as error:
                self._gone(guest, str(error))
                return
            if not data:
                self._gone(guest, "closed")
                return
            guest.received += data
            if guest.wanted == _HEAD and len(guest.received) == _HEAD and not self._head_is_sane(guest):
                return
        self._examine(guest)

    def _head_is_sane(self, guest: _Guest) -> bool:
        pdu_type, length = guest.received[0], struct.unpack_from(">L", guest.received, 2)[0]
        named = f"a PDU of type 0x{pdu_type:02X}"
        if pdu_type not in _KNOWN_TYPES:
            self._refuse(guest, _UNRECOGNISED, "unknown_pdu_type", f"PDU type 0x{pdu_type:02X}")
        elif length > association_request.LONGEST_BYTES:
            self._refuse(guest, _INVALID, "pdu_too_long", f"{named} claims {length} bytes")
        elif pdu_type == _A_ABORT_TYPE:
            self._dismiss(guest)
        elif pdu_type != association_request.PDU_TYPE:
            self._refuse(guest, _UNEXPECTED, "unexpected_pdu", f"{named} before an association")
        else:
            guest.wanted = _HEAD + length
            return True
        return False

    def _examine(self, guest: _Guest) -> None:
        problem = association_request.problem_of(guest.received)
        if problem:
            self._refuse(guest, _INVALID, "undecodable_pdu", problem)
            return
        guest.stage = _Stage.READY
        self._selector.unregister(guest.connection)
        self._ready.append(guest)

    def _hand_on(self) -> None:
        for _ in range(len(self._ready)):
            guest = self._ready.popleft()
            if guest not in self._guests.get(guest.address, ()):
                continue
            if self._pacing.take(guest.address):
                self._safely(self._admit, guest)
            else:
                self._ready.append(guest)

    def _admit(self, guest: _Guest) -> None:
        if not self._host.may_associate(guest.address):
            self._say(guest, _LOCAL_LIMIT)
            self._host.turned_away(guest.address, "too_many_connections", "no place for one more association")
            return
        guest.door.admit(guest.connection, guest.client_address, bytes(guest.received), guest.secured)
        self._strike_off(guest)

    def _refuse(self, guest: _Guest, answer: bytes, rule: str, why: str) -> None:
        self._say(guest, answer)
        self._host.broke_protocol(guest.address, rule, why)

    def _say(self, guest: _Guest, answer: bytes) -> None:
        """Send, say that nothing follows, and wait a moment for the other side to read it and close."""
        guest.stage, guest.until = _Stage.LEAVING, self._monotonic() + _LEAVE_TIMEOUT_S
        with contextlib.suppress(OSError):
            guest.connection.send(answer)
            # Not SSLSocket's own, which forgets that the connection is encrypted.
            socket.socket.shutdown(guest.connection, socket.SHUT_WR)
        with contextlib.suppress(KeyError):
            self._selector.unregister(guest.connection)
        self._selector.register(guest.connection, selectors.EVENT_READ, guest)

    def _drain(self, guest: _Guest) -> None:
        """What still comes is thrown away: closing over unread bytes would reset our answer away."""
        try:
            if guest.connection.recv(_LONGEST_READ):
                return
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            raise
        except OSError:
            pass
        self._dismiss(guest)

    def _gone(self, guest: _Guest, why: str) -> None:
        self._dismiss(guest)
        if guest.received:
            self._host.broke_protocol(guest.address, "truncated_pdu", f"ended in its request: {why}")

    def _send_away_late(self) -> None:
        now = self._monotonic()
        for guest in self._everybody():
            if now < guest.until or guest.stage is _Stage.READY:
                continue
            self._dismiss(guest)
            if guest.stage is _Stage.HANDSHAKE:
                self._host.turned_away(guest.address, "tls_handshake_timeout", "the TLS handshake was not finished")
            elif guest.stage is _Stage.REQUEST and guest.received:
                self._host.broke_protocol(guest.address, "stalled_pdu", "the association request was not finished")
            elif guest.stage is _Stage.REQUEST:
                self._host.turned_away(guest.address, "silent", "no association was asked for")

    def _safely(self, step: Callable[[_Guest], None], guest: _Guest) -> None:
        """One connection's trouble ends that connection, and the room goes on."""
        contained(lambda: step(guest), lambda error: self._failed(guest, error))

    def _failed(self, guest: _Guest, error: Exception) -> None:
        self._dismiss(guest)
        if not isinstance(error, OSError):  # else the other side went away between two steps
            self._host.turned_away(guest.address, "failed", f"{type(error).__name__}: {error}")

    def _everybody(self) -> list[_Guest]:
        return [guest for guests in self._guests.values() for guest in guests]

    def _dismiss(self, guest: _Guest) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(guest.connection)
        self._strike_off(guest)
        with contextlib.suppress(OSError):
            guest.connection.close()

    def _strike_off(self, guest: _Guest) -> None:
        guests = self._guests.get(guest.address, {})
        if guest in guests:
            del guests[guest]
            self._count -= 1
        if not guests:
            self._guests.pop(guest.address, None)
