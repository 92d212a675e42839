"""How much memory the data sets take that are being received: all together, and those of one address."""

from __future__ import annotations

import threading
from collections import Counter

from dicom_node.dimse.access import normalise_address


class ReceivingMemory:
    """Safe for use from several threads. One address gets half of `maximum_bytes` at most, so that others can go on."""

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._lock = threading.Lock()
        self._held: Counter[tuple[str, object]] = Counter()
        self._of_address: Counter[str] = Counter()
        self._total = 0

    @property
    def held_bytes(self) -> int:
        """What is taken now."""
        return self._total

    def take(self, holder: object, address: str, count: int) -> bool:
        """Whether `holder` may keep `count` bytes more; only then are they counted."""
        origin = normalise_address(address)
        with self._lock:
            is_over = self._total + count > self._maximum_bytes
            if is_over or self._of_address[origin] + count > self._maximum_bytes // 2:
                return False
            self._add(origin, holder, count)
        return True

    def take_ahead(self, holder: object, address: str, count: int) -> bool:
        """As `take`, of half of the memory only: what is taken before it is needed leaves the others room."""
        origin = normalise_address(address)
        with self._lock:
            is_over = self._total + count > self._maximum_bytes // 2
            if is_over or self._of_address[origin] + count > self._maximum_bytes // 4:
                return False
            self._add(origin, holder, count)
        return True

    def give_back(self, holder: object, address: str, count: int | None = None) -> None:
        """`holder` keeps `count` bytes less; all of its bytes where no count is given."""
        origin = normalise_address(address)
        with self._lock:
            held = self._held[origin, holder]
            self._add(origin, holder, -(held if count is None else min(count, held)))

    def _add(self, origin: str, holder: object, count: int) -> None:
        self._held[origin, holder] += count
        self._of_address[origin] += count
        self._total += count
        if not self._held[origin, holder]:
            del self._held[origin, holder]
        if not self._of_address[origin]:
            del self._of_address[origin]
