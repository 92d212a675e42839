"""When to try again: exponential backoff with jitter and an end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Delay `base_s * factor ** (attempt - 1)`, at most `cap_s`, shortened by up to the fraction `jitter`.

    `max_attempts` counts starts, the first included.
    """

    base_s: float = 5.0
    factor: float = 2.0
    cap_s: float = 600.0
    jitter: float = 0.2
    max_attempts: int = 5


@dataclass(frozen=True, kw_only=True)
class RetryAt:
    """Try again at `at`."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """No further attempt; `why` goes into the row."""

    why: str


def next_attempt(attempt: int, now: datetime, policy: RetryPolicy, randomness: float) -> RetryAt | GiveUp:
    """What follows the failure of start number `attempt` (from 1). `randomness` lies in [0, 1).

    The jitter keeps rows that failed together (a PACS that went down) from coming back together.
    """
    if attempt >= policy.max_attempts:
        noun = "attempt" if attempt == 1 else "attempts"
        return GiveUp(why=f"gave up after {attempt} {noun}")
    return RetryAt(at=now + timedelta(seconds=delay_s(attempt, policy, randomness)))


def delay_s(attempt: int, policy: RetryPolicy, randomness: float) -> float:
    """Seconds to wait after failure number `attempt` (from 1), whatever `max_attempts` says."""
    # The exponent is bounded before the power, which would overflow for a row that has failed a thousand times.
    exponent = min(max(attempt, 1) - 1, 64)
    longest = min(policy.cap_s, policy.base_s * policy.factor**exponent)
    return longest * (1.0 - policy.jitter * randomness)
