"""Which peers to leave alone for now."""

from __future__ import annotations

import threading
from datetime import datetime


class PeerTraffic:
    """Which peers are being served or rest now. Process facts: a restart forgets them and loses nothing."""

    def __init__(self) -> None:
        self.claiming = threading.Lock()
        self._serving: set[str] = set()
        self._resting: dict[str, datetime] = {}

    def busy(self, now: datetime) -> tuple[str, ...]:
        """The peers to leave alone at `now`."""
        resting = {peer for peer, until in self._resting.items() if until > now}
        return tuple(sorted(self._serving | resting))

    def serve(self, peer: str) -> None:
        """Note that a worker talks to the peer."""
        self._serving.add(peer)

    def release(self, peer: str) -> None:
        """Note that it no longer does."""
        self._serving.discard(peer)

    def rest(self, peer: str, until: datetime) -> None:
        """Leave the peer alone until then."""
        self._resting[peer] = until
