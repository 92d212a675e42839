"""When a study counts as complete.

DICOM has no word for "that was the last image", so several signals are weighed and the one that decided is kept:
the quiet period since the last instance, associations that are still open and have carried the study, and a hard
limit since the first instance of this revision, which nothing blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.core.study import StudyIntake
from dicom_node.core.transitions import StudyEvent


@dataclass(frozen=True, kw_only=True)
class ClosePolicy:
    """`quiet_period_s` counts from the last instance, `hard_limit_s` from the first of the revision.

    `up_since` is when the node began to listen. Time while it was down is not quiet time: nobody could have
    received, and a sender that was cut off by the crash is still trying to reconnect.
    """

    quiet_period_s: float = 30.0
    hard_limit_s: float = 1800.0
    up_since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Not complete. `until` is the earliest time at which looking again can change that, all else unchanged."""

    until: datetime
    why: str


@dataclass(frozen=True, kw_only=True)
class Complete:
    """Complete; `event` is what to tell the state table."""

    event: StudyEvent
    why: str


def assess(intake: StudyIntake, now: datetime, policy: ClosePolicy) -> Wait | Complete:
    """Whether a study that is being received is complete at `now`, and why.

    An open association that carries the study blocks the quiet period and not the hard limit. A clock that jumps
    back makes the wait longer, never shorter than the policy.
    """
    hard_deadline = intake.first_received_at + timedelta(seconds=policy.hard_limit_s)
    if now >= hard_deadline:
        return Complete(
            event=StudyEvent.HARD_LIMIT_REACHED,
            why=f"the hard limit of {policy.hard_limit_s:g} s since the first of {_images(intake)} was reached",
        )
    if intake.open_associations:
        count = len(intake.open_associations)
        noun = "association carries" if count == 1 else "associations carry"
        return Wait(until=hard_deadline, why=f"{count} open {noun} the study")
    quiet_since = max(intake.last_received_at, policy.up_since or intake.last_received_at)
    quiet_deadline = quiet_since + timedelta(seconds=policy.quiet_period_s)
    if now >= quiet_deadline:
        return Complete(
            event=StudyEvent.QUIET_ELAPSED,
            why=f"no image for {policy.quiet_period_s:g} s after the last of {_images(intake)} and no open association",
        )
    return Wait(
        until=min(quiet_deadline, hard_deadline),
        why=f"the last image came {max(0.0, (now - intake.last_received_at).total_seconds()):.0f} s ago,"
        f" the quiet period is {policy.quiet_period_s:g} s",
    )


def _images(intake: StudyIntake) -> str:
    return "1 instance" if intake.instance_count == 1 else f"{intake.instance_count} instances"
