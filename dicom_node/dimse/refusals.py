"""What is told about those who are sent away: each is counted, a flood of them is not logged one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from dicom_node.ports import Counters

log = structlog.get_logger(__name__)

_EVERY_S = 10.0
_MOST_REMEMBERED = 1024


class OnRefused(Protocol):
    """Is told of somebody who was not let in. Must not raise."""

    def __call__(self, *, calling_aet: str, address: str, rule: str, why: str) -> None: ...


def nobody(*, calling_aet: str, address: str, rule: str, why: str) -> None:
    """Is not told."""


class Refusals:
    """Safe for use from several threads. The log gets the first of a kind from an address, and then one in ten seconds
    with the number of those in between."""

    def __init__(
        self,
        counters: Counters,
        *,
        on_told: OnRefused = nobody,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_told` is told what the log is told."""
        self._counters = counters
        self._on_told = on_told
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str, str], tuple[float, int]] = {}

    def tell(self, event: str, counter: str, *, address: str, rule: str, why: str, calling_aet: str = "") -> None:
        """Count under `counter` and, in its turn, log `event`. Whoever calls chooses the AE title: it makes no kind."""
        self._counters.count(counter, rule=rule)
        withheld = self._turn((event, address, rule))
        if withheld is not None:
            more: dict[str, object] = {"calling_aet": calling_aet} if calling_aet else {}
            if withheld:
                more["withheld"] = withheld
            log.warning(event, address=address, rule=rule, why=why, **more)
            self._on_told(calling_aet=calling_aet, address=address, rule=rule, why=why)

    def _turn(self, kind: tuple[str, str, str]) -> int | None:
        """How many were not told since the last one; None where this one is not told either."""
        now = self._monotonic()
        with self._lock:
            told_at, withheld = self._told.get(kind, (float("-inf"), 0))
            if now - told_at < _EVERY_S:
                self._told[kind] = (told_at, withheld + 1)
                return None
            self._told.pop(kind, None)
            self._told[kind] = (now, 0)
            if len(self._told) > _MOST_REMEMBERED:
                self._told.pop(next(iter(self._told)))
        return withheld
