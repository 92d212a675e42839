"""A delivery: what one job has to say on its way to one receiver, a peer or a notified system."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.job import Lease
from dicom_node.core.peer import ObjectChoice
from dicom_node.core.shipment import Shipment, Substitution
from dicom_node.core.store_status import Answer, meaning


class DeliveryState(StrEnum):
    """Where a delivery stands (see `transitions.DELIVERY`)."""

    PENDING = "PENDING"  # waits for a free worker
    SENDING = "SENDING"  # a worker holds the lease
    RETRY_WAIT = "RETRY_WAIT"  # waits for `next_attempt_at`
    STORED = "STORED"  # the peer answered Success for every object, and nothing more is asked of it
    COMMIT_WAIT = "COMMIT_WAIT"  # stored; the peer was asked to commit and has until `next_attempt_at`
    COMMITTED = "COMMITTED"  # the peer committed to keep every object
    FAILED = "FAILED"  # needs attention
    CANCELLED = "CANCELLED"  # superseded before it was sent, or given up by an operator

    @property
    def is_finished(self) -> bool:
        """Whether the files of the result are needed no more: the peer has what it was promised, or gets another.

        FAILED is not: an operator may start it again.
        """
        return self in (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.CANCELLED)


class Channel(StrEnum):
    """What is delivered, and to whom."""

    OBJECTS = "objects"  # DICOM objects to a peer, by C-STORE or STOW-RS
    HL7 = "hl7"  # an ORU^R01 about a positive result, to `[notify.hl7]`
    WEBHOOK = "webhook"  # a signed request about a positive result, to `[notify.webhook]`

    @property
    def is_notification(self) -> bool:
        """Whether it tells of a result instead of carrying it."""
        return self is not Channel.OBJECTS


@dataclass(frozen=True, kw_only=True)
class ObjectStatus:
    """The peer's answer to one object. `status` is the DIMSE status; None until there was an answer."""

    sop_instance_uid: str
    status: int | None
    answered_at: datetime | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the peer holds the object (see `store_status`)."""
        return self.status is not None and meaning(self.status) is Answer.STORED


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """`peer` is the receiver's name: a peer's configured one, or the channel's for a notification.

    `objects` is everything there is to choose from; what is sent of it depends on what the peer takes, and
    `substitutions` say what was sent instead of what. Objects already stored are not sent again. `route` names the
    rule that added the peer, empty where it receives every result. `round` counts the deliveries of one job to one
    receiver: there is a second where an operator started a job again that had ended without a result. What is urgent
    (a positive result) goes before what is older.
    """

    id: int
    job_id: int
    study_instance_uid: str
    revision: int
    peer: str
    objects: tuple[ResultObject, ...]
    state: DeliveryState
    attempt: int
    created_at: datetime
    channel: Channel = Channel.OBJECTS
    route: str = ""
    round: int = 1
    is_urgent: bool = False
    next_attempt_at: datetime | None = None
    lease: Lease | None = None
    statuses: tuple[ObjectStatus, ...] = ()
    substitutions: tuple[Substitution, ...] = ()
    failure: str = ""
    finished_at: datetime | None = None

    @property
    def stored(self) -> tuple[ResultObject, ...]:
        """The objects that the peer holds."""
        held = {status.sop_instance_uid for status in self.statuses if status.is_stored}
        return tuple(entry for entry in self.objects if entry.sop_instance_uid in held)

    @property
    def is_finished(self) -> bool:
        """Whether the files of its objects are needed no more (see `DeliveryState.is_finished`)."""
        return self.state.is_finished

    @property
    def held(self) -> str:
        """The kinds that the peer holds, in words; empty where it holds nothing."""
        counts = Counter(entry.kind.value for entry in self.stored)
        return ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in counts.items())

    @property
    def says_status_only(self) -> bool:
        """Whether it tells that a study was not analysed."""
        return bool(self.objects) and all(entry.kind is ResultKind.STATUS_SR for entry in self.objects)

    def shipment(self, choice: ObjectChoice) -> Shipment:
        """What there is for the peer, which is given `choice`."""
        stored = frozenset(entry.sop_instance_uid for entry in self.stored)
        return Shipment(objects=self.objects, choice=choice, stored=stored, earlier=self.substitutions)
