"""An analysis job: one closed revision of one study."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job stands (see `transitions.JOB`)."""

    QUEUED = "QUEUED"  # waits for a free worker
    RUNNING = "RUNNING"  # a worker holds the lease
    RETRY_WAIT = "RETRY_WAIT"  # waits for `next_attempt_at`
    DONE = "DONE"  # analysed; deliveries exist
    SKIPPED = "SKIPPED"  # nothing eligible: a result, not an error
    FAILED = "FAILED"  # needs attention
    SUPERSEDED = "SUPERSEDED"  # a later revision took over
    CANCELLED = "CANCELLED"  # an operator stopped it


UNSETTLED = (JobState.QUEUED, JobState.RUNNING, JobState.RETRY_WAIT, JobState.FAILED)
"""Something is still to come of it: an attempt, or a person."""

WITHOUT_RESULT = (JobState.SKIPPED, JobState.FAILED, JobState.CANCELLED)
"""Ended, and no later revision took over: whoever waits for a result would wait in vain."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who works on a row and until when that is believed without a heartbeat."""

    owner: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class AnalysisJob:
    """`attempt` counts starts; `failure` is the last error in one sentence; `reason` explains SKIPPED.

    `result_json` is the contract's `result.json` as text, once there is one. `is_told`: it ended without a result, and
    what there is to tell the peers that ask for it is on its way.
    """

    id: int
    study_instance_uid: str
    revision: int
    state: JobState
    attempt: int
    created_at: datetime
    next_attempt_at: datetime | None = None
    lease: Lease | None = None
    failure: str = ""
    reason: str = ""
    result_json: str = ""
    is_told: bool = False
    finished_at: datetime | None = None

    @property
    def result(self) -> dict[str, Any] | None:
        """`result_json`, parsed; None where there is none, or none that can be read: a damaged row stops nobody."""
        try:
            parsed = json.loads(self.result_json) if self.result_json else None
        except ValueError:
            return None
        return parsed if isinstance(parsed, dict) else None
