"""The hours of a day in which a peer takes deliveries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time

_TEXT = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, kw_only=True)
class Hours:
    """From `start` up to and without `end`, across midnight where `end` is the earlier one; equal: the whole day."""

    start: time
    end: time

    def includes(self, moment: time) -> bool:
        """Whether a delivery may begin at this time of day."""
        if self.start == self.end:
            return True
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


ALWAYS = Hours(start=time(), end=time())


def parse_hours(text: str) -> Hours:
    """ "22:00-06:00" as Hours; empty text is ALWAYS. Raises ValueError."""
    if not text:
        return ALWAYS
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError('hours are written like "22:00-06:00", or "" for always')
    start_hour, start_minute, end_hour, end_minute = map(int, found.groups())
    return Hours(start=time(start_hour, start_minute), end=time(end_hour, end_minute))
