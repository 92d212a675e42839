"""Connections between the threads that accept them and the room they wait in: in turn by address, not by number."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dicom_node.dimse.access import normalise_address
from dicom_node.dimse.pacing import Pacing

Door = TypeVar("Door")


@dataclass(frozen=True, kw_only=True)
class Arrival(Generic[Door]):
    """An accepted connection, the address it counts for and the port it came through."""

    connection: socket.socket
    client_address: Any
    address: str
    door: Door


class Arrivals(Generic[Door]):
    """Safe for use from several threads. Holds at most `places`, of one address `places_per_address`; an address may
    bring `per_second`, or twice that at once."""

    def __init__(
        self, *, places: int, places_per_address: int, per_second: float, monotonic: Callable[[], float]
    ) -> None:
        self._places = places
        self._places_per_address = places_per_address
        self._pacing = Pacing(per_second=per_second, burst=2.0 * per_second, monotonic=monotonic)
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Arrival[Door]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, connection: socket.socket, client_address: Any, door: Door) -> bool:
        """Whether the connection has a place; where it has none it stays the caller's."""
        address = normalise_address(str(client_address[0]))
        arrival = Arrival(connection=connection, client_address=client_address, address=address, door=door)
        with self._lock:
            queue = self._queues.get(address, deque())
            is_full = self._count >= self._places or len(queue) >= self._places_per_address
            if is_full or not self._pacing.take(address):
                return False
            queue.append(arrival)
            self._queues[address] = queue
            self._count += 1
        return True

    def take_one_of_each(self) -> list[Arrival[Door]]:
        """The connection of each address that is here longest; they are the caller's now."""
        with self._lock:
            taken = [queue.popleft() for queue in self._queues.values()]
            self._queues = {address: queue for address, queue in self._queues.items() if queue}
            self._count -= len(taken)
        return taken
