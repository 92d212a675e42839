"""Connections that have not asked for an association yet: one thread for all of them.

A connection costs its sender nothing, so it must cost us next to nothing until it has shown an A-ASSOCIATE-RQ. Here
one selector waits for all of them at once, does TLS handshakes step by step as bytes come, and reads the request. Only
a whole request that makes sense is handed on and gets threads. So somebody who connects and says nothing, stops in
the middle of a handshake, or sends one byte a second takes a place in this room and nothing else, and for a limited
time that counts from the connect (ARTIM, PS3.8 9.1.5).

Who is sent away when the room is full: the connection that has waited longest of the address that has the most. An
address with many connections crowds out itself and nobody else; a peer that has something to say needs its place for
milliseconds and is gone before its turn. Connections come in one of each address at a time. What costs more is done at
a limited pace for each address: a TLS handshake, which begins when the first byte has come, and handing a request on,
which takes a decoder and two threads.

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
from typing import Any

import structlog

from dicom_node.dimse import association_request, tls
from dicom_node.dimse.arrivals import Arrivals
from dicom_node.dimse.guests import HEAD_BYTES, Door, Guest, Guests, RoomHost, RoomLimits, Stage
from dicom_node.dimse.handlers import contained
from dicom_node.dimse.pacing import Pacing

log = structlog.get_logger(__name__)

THREAD_NAME = "dicom-waiting-room"
_LONGEST_READ = 65_536
_LEAVE_TIMEOUT_S = 1.0
_PATIENCE_S = 0.1
_PATIENCE_WITH_QUEUE_S = 0.02
_CONNECTS_PER_REQUEST = 4.0
_LEAST_ARRIVALS = 16
_KNOWN_TYPES = range(0x01, 0x08)
_A_ABORT_TYPE = 0x07


def _abort(reason: int) -> bytes:
    """A-ABORT by the service provider (PS3.8 9.3.8)."""
    return bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, reason))


_UNRECOGNISED, _UNEXPECTED, _INVALID = _abort(1), _abort(2), _abort(6)
_LOCAL_LIMIT = bytes((0x03, 0, 0, 0, 0, 4, 0, 2, 3, 2))  # A-ASSOCIATE-RJ, transient, local limit exceeded


class WaitingRoom:
    """`start` once, `close` once; `enter` from any thread."""

    def __init__(self, limits: RoomLimits, host: RoomHost, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._host = host
        self._monotonic = monotonic
        pace = limits.requests_per_second
        self._handshakes = Pacing(per_second=pace, burst=2.0 * pace, monotonic=monotonic)
        self._requests = Pacing(per_second=pace, burst=2.0 * pace, monotonic=monotonic)
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._bell_rope, False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._arrivals: Arrivals[Door] = Arrivals(
            places=limits.places,
            places_per_address=max(limits.places_per_address, _LEAST_ARRIVALS),
            per_second=_CONNECTS_PER_REQUEST * pace,
            monotonic=monotonic,
        )
        self._guests = Guests(limits)
        self._in_turn: deque[Guest] = deque()
        self._has_to_prepare = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    @property
    def count(self) -> int:
        """Connections that wait now."""
        return self._guests.count + len(self._arrivals)

    def start(self) -> None:
        """Begin to take connections in."""
        self._thread.start()

    def enter(self, connection: socket.socket, client_address: Any, door: Door) -> bool:
        """The room looks after the connection from here on; False, and nothing done, where too many arrive at once."""
        if self._closing.is_set() or not self._arrivals.put(connection, client_address, door):
            return False
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
            contained(self._turn, self._stumbled)
        while len(self._arrivals):
            self._take_in()
        for guest in self._guests:
            self._dismiss(guest)
        self._selector.close()
        for end in (self._bell, self._bell_rope):
            os.close(end)

    def _turn(self) -> None:
        came = self._selector.select(self._patience_s())
        for key, _ in came:
            self._attend(key.data)
        self._take_in()
        self._go_on_in_turn()
        self._send_away_late()
        is_quiet = not came and not self._in_turn and not len(self._arrivals)
        self._has_to_prepare = self._host.prepare() if is_quiet else bool(came) or self._has_to_prepare

    def _stumbled(self, error: Exception) -> None:
        """A room without its thread would keep everybody out."""
        log.error("waiting_room_stumbled", why=f"{type(error).__name__}: {error}")
        self._closing.wait(_PATIENCE_S)

    def _patience_s(self) -> float:
        if len(self._arrivals):
            return 0.0
        return _PATIENCE_WITH_QUEUE_S if self._in_turn or self._has_to_prepare else _PATIENCE_S

    def _attend(self, guest: Guest | None) -> None:
        if guest is None:
            with contextlib.suppress(OSError):
                os.read(self._bell, _LONGEST_READ)
        elif guest in self._guests:  # else it was sent away for another in this round
            self._safely(self._advance, guest)

    def _take_in(self) -> None:
        now = self._monotonic()
        for arrival in self._arrivals.take_one_of_each():
            is_encrypted = arrival.door.is_encrypted
            guest = Guest(
                arrival=arrival,
                connection=arrival.connection,
                stage=Stage.HELLO if is_encrypted else Stage.REQUEST,
                until=now + (self._limits.handshake_timeout_s if is_encrypted else self._limits.request_timeout_s),
            )
            crowded_out = self._guests.add(guest)
            self._safely(self._welcome, guest)
            if crowded_out is not None:
                self._crowd_out(crowded_out)

    def _welcome(self, guest: Guest) -> None:
        guest.connection.setblocking(False)
        self._selector.register(guest.connection, selectors.EVENT_READ, guest)

    def _crowd_out(self, guest: Guest) -> None:
        held = self._guests.of(guest.address)
        self._dismiss(guest)
        self._host.turned_away(guest.address, "too_many_waiting", f"{held} connections wait without an association")

    def _advance(self, guest: Guest) -> None:
        try:
            if guest.stage is Stage.HELLO:
                self._wait_for_turn(guest, Stage.HELLO_IN_TURN)
            elif guest.stage is Stage.HANDSHAKE:
                self._shake_hands(guest)
            if guest.stage is Stage.REQUEST:
                self._read_request(guest)
            elif guest.stage is Stage.LEAVING:
                self._drain(guest)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._selector.modify(guest.connection, selectors.EVENT_READ, guest)
        except ssl.SSLWantWriteError:
            self._selector.modify(guest.connection, selectors.EVENT_WRITE, guest)

    def _wait_for_turn(self, guest: Guest, stage: Stage) -> None:
        guest.stage = stage
        self._selector.unregister(guest.connection)
        self._in_turn.append(guest)

    def _begin_handshake(self, guest: Guest) -> None:
        context = guest.arrival.door.tls_context()
        guest.connection = context.wrap_socket(guest.connection, server_side=True, do_handshake_on_connect=False)
        guest.stage = Stage.HANDSHAKE
        self._selector.register(guest.connection, selectors.EVENT_READ, guest)
        self._advance(guest)

    def _shake_hands(self, guest: Guest) -> None:
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
        guest.stage = Stage.REQUEST
        guest.until = self._monotonic() + self._limits.request_timeout_s

    def _read_request(self, guest: Guest) -> None:
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
            if guest.wanted == HEAD_BYTES and len(guest.received) == HEAD_BYTES and not self._head_is_sane(guest):
                return
        self._examine(guest)

    def _head_is_sane(self, guest: Guest) -> bool:
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
            guest.wanted = HEAD_BYTES + length
            return True
        return False

    def _examine(self, guest: Guest) -> None:
        problem = association_request.problem_of(guest.received)
        if problem:
            self._refuse(guest, _INVALID, "undecodable_pdu", problem)
            return
        self._wait_for_turn(guest, Stage.READY)

    def _go_on_in_turn(self) -> None:
        for _ in range(len(self._in_turn)):
            guest = self._in_turn.popleft()
            if guest not in self._guests:
                continue
            is_ready = guest.stage is Stage.READY
            if (self._requests if is_ready else self._handshakes).take(guest.address):
                self._safely(self._admit if is_ready else self._begin_handshake, guest)
            else:
                self._in_turn.append(guest)

    def _admit(self, guest: Guest) -> None:
        if not self._host.may_associate(guest.address):
            self._host.turned_away(guest.address, "too_many_connections", "no place for one more association")
            self._say(guest, _LOCAL_LIMIT)
            return
        arrival = guest.arrival
        arrival.door.admit(guest.connection, arrival.client_address, bytes(guest.received), guest.secured)
        self._guests.remove(guest)

    def _refuse(self, guest: Guest, answer: bytes, rule: str, why: str) -> None:
        self._host.broke_protocol(guest.address, rule, why)
        self._say(guest, answer)

    def _say(self, guest: Guest, answer: bytes) -> None:
        """Send, say that nothing follows, and wait a moment for the other side to read it and close."""
        guest.stage, guest.until = Stage.LEAVING, self._monotonic() + _LEAVE_TIMEOUT_S
        with contextlib.suppress(OSError):
            guest.connection.send(answer)
            # Not SSLSocket's own, which forgets that the connection is encrypted.
            socket.socket.shutdown(guest.connection, socket.SHUT_WR)
        with contextlib.suppress(KeyError):
            self._selector.unregister(guest.connection)
        self._selector.register(guest.connection, selectors.EVENT_READ, guest)

    def _drain(self, guest: Guest) -> None:
        """What still comes is thrown away: closing over unread bytes would reset our answer away."""
        try:
            if guest.connection.recv(_LONGEST_READ):
                return
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            raise
        except OSError:
            pass
        self._dismiss(guest)

    def _gone(self, guest: Guest, why: str) -> None:
        self._dismiss(guest)
        if guest.received:
            self._host.broke_protocol(guest.address, "truncated_pdu", f"ended in its request: {why}")

    def _send_away_late(self) -> None:
        now = self._monotonic()
        for guest in self._guests:
            if now < guest.until or guest.stage is Stage.READY:
                continue
            self._dismiss(guest)
            if guest.stage in (Stage.HELLO, Stage.HELLO_IN_TURN, Stage.HANDSHAKE):
                self._host.turned_away(guest.address, "tls_handshake_timeout", "the TLS handshake was not finished")
            elif guest.stage is Stage.REQUEST and guest.received:
                self._host.broke_protocol(guest.address, "stalled_pdu", "the association request was not finished")
            elif guest.stage is Stage.REQUEST:
                self._host.turned_away(guest.address, "silent", "no association was asked for")

    def _safely(self, step: Callable[[Guest], None], guest: Guest) -> None:
        """One connection's trouble ends that connection, and the room goes on."""
        contained(lambda: step(guest), lambda error: self._failed(guest, error))

    def _failed(self, guest: Guest, error: Exception) -> None:
        self._dismiss(guest)
        if not isinstance(error, OSError):  # else the other side went away between two steps
            self._host.turned_away(guest.address, "failed", f"{type(error).__name__}: {error}")

    def _dismiss(self, guest: Guest) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(guest.connection)
        self._guests.remove(guest)
        with contextlib.suppress(OSError):
            guest.connection.close()
