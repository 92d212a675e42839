"""Who waits in the room, how far each has come, and who goes when it is full."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from dicom_node.dimse import tls
from dicom_node.dimse.arrivals import Arrival

HEAD_BYTES = 6
"""A PDU's type and length (PS3.8 9.3.1)."""


@dataclass(frozen=True, kw_only=True)
class RoomLimits:
    """Places in all and for one address; seconds from the connect, and for a TLS handshake; handshakes, and requests,
    that one address may make in a second. It may connect four times as often."""

    places: int
    places_per_address: int
    handshake_timeout_s: float
    request_timeout_s: float
    requests_per_second: float


class Door(Protocol):
    """The listening port a connection came through."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the port speaks TLS."""

    def tls_context(self) -> ssl.SSLContext:
        """What the next connection is secured with; only where the port is encrypted."""

    def admit(
        self, connection: socket.socket, client_address: Any, request: bytes, secured: tls.Secured | None
    ) -> None:
        """Give the connection, which asked for an association, to threads of its own."""


class RoomHost(Protocol):
    """What the room asks and tells its server, from the room's thread."""

    def may_associate(self, address: str) -> bool:
        """Whether there is room for one more connection with threads."""

    def prepare(self) -> bool:
        """Do a piece of what the next association would wait for; whether there is more to do."""

    def turned_away(self, address: str, rule: str, why: str) -> None:
        """A connection is closed without an association, for a reason that is not the protocol's."""

    def broke_protocol(self, address: str, rule: str, why: str) -> None:
        """A connection is closed because of what it sent, or did not send to the end."""


class Stage(Enum):
    HELLO = "hello"
    HANDSHAKE = "handshake"
    REQUEST = "request"
    HELLO_IN_TURN = "hello, when it is this address's turn"
    READY = "ready, when it is this address's turn"
    LEAVING = "leaving"


@dataclass(eq=False, kw_only=True)
class Guest:
    arrival: Arrival[Door]
    connection: socket.socket
    until: float
    stage: Stage
    secured: tls.Secured | None = None
    received: bytearray = field(default_factory=bytearray)
    wanted: int = HEAD_BYTES

    @property
    def address(self) -> str:
        return self.arrival.address


class Guests:
    """The connections in the room; not thread-safe, but `count` may be read from anywhere."""

    def __init__(self, limits: RoomLimits) -> None:
        self._limits = limits
        self._by_address: dict[str, dict[Guest, None]] = {}  # of each, the one who waits longest first
        self.count = 0

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._by_address.get(guest.address, ())

    def __iter__(self) -> Iterator[Guest]:
        """Those who are here now, also while some leave."""
        return iter([guest for guests in self._by_address.values() for guest in guests])

    def of(self, address: str) -> int:
        """How many of `address` wait."""
        return len(self._by_address.get(address, ()))

    def add(self, guest: Guest) -> Guest | None:
        """Who has to go for `guest`; None while there is room for all."""
        self._by_address.setdefault(guest.address, {})[guest] = None
        self.count += 1
        if self.of(guest.address) > self._limits.places_per_address:
            return next(iter(self._by_address[guest.address]))
        if self.count > self._limits.places:
            fullest = max(self._by_address, key=self.of)
            return next(iter(self._by_address[fullest]))
        return None

    def remove(self, guest: Guest) -> None:
        """`guest` is not here any more; it may have gone before."""
        if guest in self:
            del self._by_address[guest.address][guest]
            self.count -= 1
        if not self.of(guest.address):
            self._by_address.pop(guest.address, None)
