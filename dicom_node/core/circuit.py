"""Whether a receiver is worth a worker's time: a circuit breaker for each of them.

Failures to reach a receiver belong to the receiver and not to the delivery that met them: after a few in a row its
circuit is open and nothing is sent to it until `probe_at`. Then one delivery, the most urgent, is let through as a
probe: it closes the circuit or opens it for longer. So a PACS that is away for a day costs a probe now and then, no
delivery runs out of attempts, and what waits comes in order of urgency when it is back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.core.delivery import Channel
from dicom_node.core.delivery_terms import CircuitPolicy
from dicom_node.core.retry import RetryPolicy, delay_s


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """A receiver that could not be reached: `failures` in a row, the first at `failing_since`. `why` is the last one.

    Nothing is sent to it before `probe_at`. It `is_open` once there were more failures than chance; a receiver that
    was reached has no circuit at all.
    """

    channel: Channel
    peer: str
    failures: int
    failing_since: datetime
    probe_at: datetime
    is_open: bool
    why: str

    def holds(self, now: datetime) -> bool:
        """Whether the receiver is left alone at `now`."""
        return self.probe_at > now


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failure to reach a receiver."""

    channel: Channel
    peer: str
    at: datetime
    why: str


def after_failure(
    before: Circuit | None, failure: Failure, *, policy: CircuitPolicy, retry: RetryPolicy, randomness: float
) -> Circuit:
    """The circuit after one more failure. Until it opens the waits are those of `retry`. `randomness` is in [0, 1)."""
    failures = (before.failures if before else 0) + 1
    is_open = failures >= policy.failures
    wait_s = delay_s(failures, retry, randomness)
    if is_open:
        opened = RetryPolicy(base_s=policy.open_s, cap_s=policy.open_maximum_s, jitter=retry.jitter)
        wait_s = delay_s(failures - policy.failures + 1, opened, randomness)
    return Circuit(
        channel=failure.channel,
        peer=failure.peer,
        failures=failures,
        failing_since=before.failing_since if before else failure.at,
        probe_at=failure.at + timedelta(seconds=wait_s),
        is_open=is_open,
        why=failure.why,
    )
