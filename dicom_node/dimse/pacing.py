"""How often one address may begin something: a bucket of tokens for each, refilled steadily."""

from __future__ import annotations

from collections.abc import Callable

_MOST_ADDRESSES = 4096


class Pacing:
    """Not thread-safe. `per_second` tokens come to each address, up to `burst` of them."""

    def __init__(self, *, per_second: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._monotonic = monotonic
        self._spent: dict[str, tuple[float, float]] = {}

    def take(self, address: str) -> bool:
        """Whether `address` has a token; if so, it is taken."""
        now = self._monotonic()
        seen_at, missing = self._spent.pop(address, (now, 0.0))
        missing = max(0.0, missing - (now - seen_at) * self._per_second)
        is_there = missing + 1.0 <= self._burst
        self._spent[address] = (now, missing + 1.0 if is_there else missing)
        if len(self._spent) > _MOST_ADDRESSES:
            self._forget_full(now)
        return is_there

    def _forget_full(self, now: float) -> None:
        """Drop the addresses whose bucket is full again, and the one seen longest ago."""
        self._spent.pop(next(iter(self._spent)))
        self._spent = {
            address: (seen_at, missing)
            for address, (seen_at, missing) in self._spent.items()
            if missing > (now - seen_at) * self._per_second
        }
