"""How many there are of something that waits, and since when the longest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """`oldest` is when the one was made, or was last changed by its sender, that has been there longest."""

    count: int
    oldest: datetime

    def age_s(self, now: datetime) -> float:
        """How long the oldest has been there, seconds; never less than 0, also where the clock was put back."""
        return max(0.0, (now - self.oldest).total_seconds())


def tallied(moments: Iterable[tuple[Key, datetime]]) -> Mapping[Key, Tally]:
    """A tally of each key."""
    found: dict[Key, Tally] = {}
    for key, at in moments:
        known = found.get(key)
        found[key] = Tally(count=known.count + 1, oldest=min(known.oldest, at)) if known else Tally(count=1, oldest=at)
    return found
