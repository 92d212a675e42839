"""From a peer's configured host to addresses, with a short memory.

Name servers are slow and sometimes away: an answer is kept for `ttl_s`, and the last good one is used while the name
does not resolve. An unresolvable name has no addresses, and its peer does not get in.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address

from dicom_node.dimse.access import normalise_address

Resolve = Callable[[str], frozenset[str]]


def resolve_host(host: str) -> frozenset[str]:
    """Every address of `host` as the system resolves it now; raises OSError where it does not."""
    return frozenset(normalise_address(str(entry[4][0])) for entry in socket.getaddrinfo(host, None))


class HostAddresses:
    """A callable cache of `resolve`. Thread-safe; two threads may resolve the same name at once, which is harmless."""

    def __init__(
        self, *, resolve: Resolve = resolve_host, ttl_s: float = 60.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolve = resolve
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def __call__(self, host: str) -> frozenset[str]:
        """The addresses of `host`; empty where it has never resolved."""
        try:
            ip_address(host)
        except ValueError:
            return self._of_name(host)
        return frozenset({normalise_address(host)})

    def _of_name(self, host: str) -> frozenset[str]:
        now = self._monotonic()
        with self._lock:
            looked_up_at, addresses = self._known.get(host, (float("-inf"), frozenset()))
        if now - looked_up_at < self._ttl_s:
            return addresses
        # Where it fails, the last good answer serves on, and the next look-up comes after ttl_s as for a good one.
        with contextlib.suppress(OSError):
            addresses = self._resolve(host)
        with self._lock:
            self._known[host] = (now, addresses)
        return addresses
