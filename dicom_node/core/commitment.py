"""Storage commitment (PS3.4 annex J): what we ask of a peer about our results, and what a scanner asks of us."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum

from dicom_node.core.delivery import Delivery
from dicom_node.core.finding import ResultObject


class NotCommitted(IntEnum):
    """Failure Reason (0008,1197) for an instance, PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION = 0x0131
    RESOURCE_LIMITATION = 0x0213


def in_words(reason: int) -> str:
    """A failure reason for an operator; the number where the standard has no word for it."""
    known = {entry.value: entry.name.lower().replace("_", " ") for entry in NotCommitted}
    return known.get(reason, f"failure reason 0x{reason:04X}")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An instance that somebody wants to be sure of."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class CommitmentReport:
    """What an N-EVENT-REPORT says: SOP Instance UIDs that are kept, and those that are not, each with its reason."""

    transaction_uid: str
    committed: tuple[str, ...] = ()
    failed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CommitmentRequest:
    """What we asked of a peer for a delivery, and what it reported; `reported_at` is None until it did."""

    transaction_uid: str
    delivery_id: int
    asked_at: datetime
    reported_at: datetime | None = None
    committed: tuple[str, ...] = ()
    failed: tuple[tuple[str, int], ...] = ()

    def told(self, report: CommitmentReport, at: datetime) -> CommitmentRequest:
        """With what the peer said now, beside what it said before."""
        return replace(
            self,
            reported_at=at,
            committed=tuple(dict.fromkeys((*self.committed, *report.committed))),
            failed=tuple(dict.fromkeys((*self.failed, *report.failed))),
        )


@dataclass(frozen=True, kw_only=True)
class CommitmentDuty:
    """What a peer asked of us: to report on `references`. Finished once it has our report, or we gave up.

    `attempt` counts reports that were tried; `outcome` is the last one in words.
    """

    id: int
    transaction_uid: str
    calling_aet: str
    peer: str
    references: tuple[Reference, ...]
    asked_at: datetime
    attempt: int = 0
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str = ""


def uncommitted(
    delivery: Delivery, requests: Iterable[CommitmentRequest], objects: Iterable[ResultObject]
) -> tuple[ResultObject, ...]:
    """Those of `objects` that the peer did not commit to since it stored them.

    Every report counts, also a late one to an earlier request: an object sent again needs a request after that.
    """
    kept = {
        uid for request in requests for uid in request.committed if _is_about_the_stored_one(delivery, uid, request)
    }
    return tuple(entry for entry in objects if entry.sop_instance_uid not in kept)


def not_kept(delivery: Delivery, requests: Iterable[CommitmentRequest]) -> tuple[tuple[str, int], ...]:
    """What the peer stored and then said it does not keep, with its reason: SOP Instance UIDs, each once."""
    asked = tuple(requests)
    still_missing = {entry.sop_instance_uid for entry in uncommitted(delivery, asked, delivery.objects)}
    reasons = {
        uid: reason
        for request in asked
        for uid, reason in request.failed
        if uid in still_missing and _is_about_the_stored_one(delivery, uid, request)
    }
    return tuple(reasons.items())


def _is_about_the_stored_one(delivery: Delivery, uid: str, request: CommitmentRequest) -> bool:
    """Whether the request was made after the peer stored the object, as the row has it now."""
    return any(
        status.sop_instance_uid == uid
        and status.is_stored
        and status.answered_at is not None
        and status.answered_at <= request.asked_at
        for status in delivery.statuses
    )
