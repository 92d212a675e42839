"""How many attempts to log in: so many for an account, so many from an address, within a while.

An attempt counts when it begins, so that many at once are not many for the price of one; success takes it back. Names
that nobody has count like the others, so that a refusal does not tell which names there are. Counts are in memory: a
restart forgets them, and whoever can restart the node needs no log-in.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

MOST_KEYS = 20_000


class LogInLimits:
    """Used by many threads."""

    def __init__(self, *, per_account: int, per_address: int, within_s: float) -> None:
        self._limits = {"account": per_account, "address": per_address}
        self._within = timedelta(seconds=within_s)
        self._attempts: OrderedDict[tuple[str, str], list[datetime]] = OrderedDict()
        self._guard = threading.Lock()

    def begin(self, name: str, address: str, now: datetime) -> float:
        """0 where the attempt may be made, and it is counted; else how many seconds to wait."""
        keys = _keys(name, address)
        with self._guard:
            wait_s = max(self._wait_s(key, now) for key in keys)
            if wait_s <= 0:
                for key in keys:
                    self._attempts.setdefault(key, []).append(now)
                    self._attempts.move_to_end(key)
                while len(self._attempts) > MOST_KEYS:
                    self._attempts.popitem(last=False)
        return wait_s

    def succeeded(self, name: str, address: str) -> None:
        """The account is counted anew; from the address, this attempt does not count."""
        of_account, of_address = _keys(name, address)
        with self._guard:
            self._attempts.pop(of_account, None)
            if self._attempts.get(of_address):
                self._attempts[of_address].pop()

    def _wait_s(self, key: tuple[str, str], now: datetime) -> float:
        recent = [at for at in self._attempts.get(key, ()) if now - at < self._within]
        if not recent:
            self._attempts.pop(key, None)
            return 0.0
        self._attempts[key] = recent
        limit = self._limits[key[0]]
        if len(recent) < limit:
            return 0.0
        return (recent[-limit] + self._within - now).total_seconds()


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("account", name[:64].strip().lower()), ("address", _network_of(address))


def _network_of(address: str) -> str:
    """Who has one IPv6 address has the other 2^64 of its network too."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
