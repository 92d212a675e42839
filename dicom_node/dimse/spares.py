"""Associations that are made before anybody asks for one.

What pynetdicom needs for an association takes a millisecond to put together (queues, timers, two threads that are not
started), a quarter of what a requestor waits for. Nothing of it depends on who asks, so some lie ready; the waiting
room's thread makes the next ones when nobody is in the room who wants something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dicom_node.dimse.association import NodeAssociation

SPARES = 8


class Spares:
    """Safe to `take` from while another thread `stocks_up`."""

    def __init__(self, make: Callable[[], NodeAssociation], count: int = SPARES) -> None:
        """`make` gives an association without a connection."""
        self._make = make
        self._count = count
        self._ready: deque[NodeAssociation] = deque()

    @property
    def is_full(self) -> bool:
        return len(self._ready) >= self._count

    def take(self) -> NodeAssociation:
        """One that nobody else has, made now where none lies ready."""
        try:
            return self._ready.popleft()
        except IndexError:
            return self._make()

    def stock_up(self) -> None:
        """One more, where there are too few."""
        if not self.is_full:
            self._ready.append(self._make())
