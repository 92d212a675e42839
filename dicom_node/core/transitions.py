"""The three state machines as tables, and `advance`, the only place where a state changes.

How to edit: a new event or state is a row here; the diagrams in docs/STATES.md are generated from these tables
(`python -m dicom_node.core.transitions`) and a test compares them. Every state that is not terminal must have a
way out that needs no operator; a test checks that as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from dicom_node.core.delivery import DeliveryState as D
from dicom_node.core.errors import NodeError
from dicom_node.core.job import JobState as J
from dicom_node.core.study import StudyState as S


class StudyEvent(StrEnum):
    """What can happen to a study."""

    INSTANCE_STORED = "instance_stored"
    QUIET_ELAPSED = "quiet_elapsed"
    HARD_LIMIT_REACHED = "hard_limit_reached"
    OPERATOR_CLOSED = "operator_closed"
    OPERATOR_REPEATED = "operator_repeated"
    RETENTION_ELAPSED = "retention_elapsed"


class JobEvent(StrEnum):
    """What can happen to a job."""

    LEASED = "leased"
    SUCCEEDED = "succeeded"
    NOTHING_ELIGIBLE = "nothing_eligible"
    PERMANENT_ERROR = "permanent_error"
    TRANSIENT_ERROR = "transient_error"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    LEASE_EXPIRED = "lease_expired"
    GIVEN_BACK = "given_back"
    DUE = "due"
    SUPERSEDED = "superseded"
    OPERATOR_CANCELLED = "operator_cancelled"
    OPERATOR_RETRIED = "operator_retried"


class DeliveryEvent(StrEnum):
    """What can happen to a delivery."""

    LEASED = "leased"
    PEER_UNREACHABLE = "peer_unreachable"
    ALL_STORED = "all_stored"
    COMMIT_REQUESTED = "commit_requested"
    COMMIT_CONFIRMED = "commit_confirmed"
    COMMIT_FAILED = "commit_failed"
    COMMIT_TIMEOUT = "commit_timeout"
    PERMANENT_ERROR = "permanent_error"
    TRANSIENT_ERROR = "transient_error"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    LEASE_EXPIRED = "lease_expired"
    DUE = "due"
    SUPERSEDED = "superseded"
    OPERATOR_RETRIED = "operator_retried"
    OPERATOR_CANCELLED = "operator_cancelled"


State = TypeVar("State", bound=StrEnum)
Table = Mapping[tuple[StrEnum, StrEnum], StrEnum]

STUDY: Table = {
    (S.RECEIVING, StudyEvent.INSTANCE_STORED): S.RECEIVING,
    (S.RECEIVING, StudyEvent.QUIET_ELAPSED): S.CLOSED,
    (S.RECEIVING, StudyEvent.HARD_LIMIT_REACHED): S.CLOSED,
    (S.RECEIVING, StudyEvent.OPERATOR_CLOSED): S.CLOSED,
    (S.CLOSED, StudyEvent.INSTANCE_STORED): S.RECEIVING,
    (S.CLOSED, StudyEvent.OPERATOR_REPEATED): S.CLOSED,
    (S.CLOSED, StudyEvent.RETENTION_ELAPSED): S.PURGED,
    (S.PURGED, StudyEvent.INSTANCE_STORED): S.RECEIVING,
}

JOB: Table = {
    (J.QUEUED, JobEvent.LEASED): J.RUNNING,
    (J.RUNNING, JobEvent.SUCCEEDED): J.DONE,
    (J.RUNNING, JobEvent.NOTHING_ELIGIBLE): J.SKIPPED,
    (J.RUNNING, JobEvent.PERMANENT_ERROR): J.FAILED,
    (J.RUNNING, JobEvent.ATTEMPTS_EXHAUSTED): J.FAILED,
    (J.RUNNING, JobEvent.TRANSIENT_ERROR): J.RETRY_WAIT,
    (J.RUNNING, JobEvent.LEASE_EXPIRED): J.RETRY_WAIT,
    (J.RUNNING, JobEvent.GIVEN_BACK): J.RETRY_WAIT,
    (J.RETRY_WAIT, JobEvent.DUE): J.QUEUED,
    **{(state, JobEvent.SUPERSEDED): J.SUPERSEDED for state in (J.QUEUED, J.RUNNING, J.RETRY_WAIT)},
    **{(state, JobEvent.OPERATOR_CANCELLED): J.CANCELLED for state in (J.QUEUED, J.RUNNING, J.RETRY_WAIT)},
    **{(state, JobEvent.OPERATOR_RETRIED): J.QUEUED for state in (J.FAILED, J.SKIPPED, J.CANCELLED)},
}

DELIVERY: Table = {
    (D.PENDING, DeliveryEvent.LEASED): D.SENDING,
    (D.SENDING, DeliveryEvent.ALL_STORED): D.STORED,
    (D.SENDING, DeliveryEvent.COMMIT_REQUESTED): D.COMMIT_WAIT,
    (D.SENDING, DeliveryEvent.COMMIT_CONFIRMED): D.COMMITTED,
    (D.SENDING, DeliveryEvent.COMMIT_FAILED): D.RETRY_WAIT,
    (D.SENDING, DeliveryEvent.PEER_UNREACHABLE): D.PENDING,
    (D.SENDING, DeliveryEvent.PERMANENT_ERROR): D.FAILED,
    (D.SENDING, DeliveryEvent.ATTEMPTS_EXHAUSTED): D.FAILED,
    (D.SENDING, DeliveryEvent.TRANSIENT_ERROR): D.RETRY_WAIT,
    (D.SENDING, DeliveryEvent.LEASE_EXPIRED): D.RETRY_WAIT,
    (D.COMMIT_WAIT, DeliveryEvent.COMMIT_CONFIRMED): D.COMMITTED,
    (D.COMMIT_WAIT, DeliveryEvent.COMMIT_FAILED): D.RETRY_WAIT,
    (D.COMMIT_WAIT, DeliveryEvent.COMMIT_TIMEOUT): D.RETRY_WAIT,
    (D.COMMIT_WAIT, DeliveryEvent.ATTEMPTS_EXHAUSTED): D.FAILED,
    (D.RETRY_WAIT, DeliveryEvent.DUE): D.PENDING,
    **{(state, DeliveryEvent.OPERATOR_RETRIED): D.PENDING for state in (D.FAILED, D.RETRY_WAIT, D.COMMIT_WAIT)},
    (D.FAILED, DeliveryEvent.COMMIT_CONFIRMED): D.COMMITTED,
    **{(state, DeliveryEvent.SUPERSEDED): D.CANCELLED for state in (D.PENDING, D.RETRY_WAIT)},
    **{
        (state, DeliveryEvent.OPERATOR_CANCELLED): D.CANCELLED
        for state in (D.PENDING, D.RETRY_WAIT, D.COMMIT_WAIT, D.FAILED)
    },
}

TABLES: Mapping[str, Table] = {"Study": STUDY, "Job": JOB, "Delivery": DELIVERY}


class IllegalTransition(NodeError):
    """The table has no row for this state and event: a bug in the caller, or a lost race it must treat as a no-op."""


def advance(table: Table, state: State, event: StrEnum) -> State:
    """The state after `event`, as the table says. Raises IllegalTransition where it says nothing."""
    try:
        return table[state, event]  # type: ignore[return-value]
    except KeyError:
        raise IllegalTransition(f"{event.value!r} has no meaning in state {state.value!r}") from None


def mermaid(table: Table) -> str:
    """The table as a Mermaid state diagram, one arrow a row, in the table's order."""
    rows = [f"    {source.value} --> {target.value}: {event.value}" for (source, event), target in table.items()]
    return "\n".join(["stateDiagram-v2", *rows])


def document() -> str:
    """docs/STATES.md, whole."""
    parts = ["# States", "", "Generated from `dicom_node/core/transitions.py`; do not edit.", ""]
    for name, table in TABLES.items():
        parts += [f"## {name}", "", "```mermaid", mermaid(table), "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
