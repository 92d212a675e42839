"""A delivery: the result objects of one job on their way to one peer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.core.finding import ResultObject
from dicom_node.core.job import Lease


class DeliveryState(StrEnum):
    """Where a delivery stands (see `transitions.DELIVERY`)."""

    PENDING = "PENDING"  # waits for a free worker
    SENDING = "SENDING"  # a worker holds the lease
    RETRY_WAIT = "RETRY_WAIT"  # waits for `next_attempt_at`
    STORED = "STORED"  # the peer answered Success for every object
    COMMITTED = "COMMITTED"  # the peer committed to keep every object
    FAILED = "FAILED"  # needs attention
    CANCELLED = "CANCELLED"  # superseded before it was sent


@dataclass(frozen=True, kw_only=True)
class ObjectStatus:
    """The peer's answer to one object. `status` is the DIMSE status; None until there was an answer."""

    sop_instance_uid: str
    status: int | None
    answered_at: datetime | None = None

    @property
    def is_stored(self) -> bool:
        """Success, a warning (PS3.4 B.2.3) or Duplicate SOP Instance (PS3.7 annex C): the peer holds the object.

        Our UIDs depend on the result alone, so a duplicate is the same result sent before an answer was lost.
        """
        return self.status is not None and (self.status in (0x0000, 0x0111) or self.status >> 12 == 0xB)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """`peer` is the peer's configured name; objects already stored are not sent again."""

    id: int
    job_id: int
    study_instance_uid: str
    revision: int
    peer: str
    objects: tuple[ResultObject, ...]
    state: DeliveryState
    attempt: int
    created_at: datetime
    next_attempt_at: datetime | None = None
    lease: Lease | None = None
    statuses: tuple[ObjectStatus, ...] = ()
    failure: str = ""
    finished_at: datetime | None = None
