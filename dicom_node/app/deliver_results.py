"""Take one pending delivery and send what its peer does not hold yet.

Every answer is written before the next object goes out, so a kill re-sends at most the object whose answer was lost;
its UID is the same, and a peer that answers "duplicate" holds it. One peer is served by one worker at a time, and a
peer that cannot be reached rests for a while, so that a dead PACS does not keep every worker waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from dicom_node.app import counting
from dicom_node.app.leases import Heartbeat, failures_so_far
from dicom_node.app.moves import move_delivery, note
from dicom_node.app.peer_traffic import PeerTraffic
from dicom_node.core.delivery import Delivery, DeliveryState, ObjectStatus
from dicom_node.core.errors import NodeError, PeerBusy, PeerRefused, PeerUnreachable, TransientError
from dicom_node.core.finding import ResultObject
from dicom_node.core.identifiers import study_key
from dicom_node.core.peer import Peer
from dicom_node.core.retry import GiveUp, RetryAt, RetryPolicy, next_attempt
from dicom_node.core.routing import why_not_deliverable
from dicom_node.core.transitions import DeliveryEvent
from dicom_node.ports import (
    Clock,
    Counters,
    PeerDirectory,
    ResultSender,
    UnitOfWork,
    UnitOfWorkFactory,
)

log = structlog.get_logger(__name__)

_LOST = "the lease went to another"


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy:
    """`unknown` is for exceptions that nobody foresaw; `longest_rest_s` bounds the rest of a peer that failed."""

    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(cap_s=900.0, max_attempts=30))
    unknown: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_attempts=3))
    lease_s: float = 60.0
    longest_rest_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class _Failure:
    message: str
    policy: RetryPolicy | None  # None: trying again changes nothing


class DeliverResults:
    """The delivery worker. Several may run at once on one instance, each calling `step` in a loop."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        sender: ResultSender,
        peers: PeerDirectory,
        clock: Clock,
        counters: Counters,
        policy: DeliveryPolicy,
        owner: str,
        randomness: Callable[[], float],
    ) -> None:
        """`owner` names this life of the node in leases; `randomness` gives numbers in [0, 1)."""
        self._uow = uow_factory
        self._sender = sender
        self._peers = peers
        self._clock = clock
        self._counters = counters
        self._policy = policy
        self._owner = owner
        self._randomness = randomness
        self._traffic = PeerTraffic()

    def step(self) -> bool:
        """Run one attempt of the oldest pending delivery whose peer is free; False where there is none.

        Raises StorageUnavailable where the outcome cannot be written: the lease then runs out.
        """
        delivery = self._claim()
        if delivery is None:
            return False
        try:
            answers: list[ObjectStatus] = []
            with self._heartbeat(delivery):
                failure = self._attempt(delivery, answers)
            if failure is None:
                self._stored(delivery, answers)
            else:
                self._failed(delivery, failure, answers)
        finally:
            self._traffic.release(delivery.peer)
        return True

    def _claim(self) -> Delivery | None:
        # The lock spans one short transaction: two workers must not claim for the same peer between look and mark.
        with self._traffic.claiming:
            now = self._clock.now()
            with self._uow() as uow:
                delivery = uow.deliveries.claim(
                    owner=self._owner,
                    now=now,
                    lease_until=now + timedelta(seconds=self._policy.lease_s),
                    busy_peers=self._traffic.busy(now),
                )
                if delivery is None:
                    return None
                note(
                    uow,
                    f"delivery:{delivery.id}",
                    DeliveryEvent.LEASED.value,
                    at=now,
                    from_state=DeliveryState.PENDING.value,
                    to_state=delivery.state.value,
                    reason=f"attempt {delivery.attempt}",
                    actor=self._owner,
                    study_instance_uid=delivery.study_instance_uid,
                )
                uow.commit()
            self._traffic.serve(delivery.peer)
            return delivery

    def _heartbeat(self, delivery: Delivery) -> Heartbeat:
        def extend(until: datetime) -> bool:
            with self._uow() as uow:
                is_ours = uow.deliveries.extend_lease(delivery.id, owner=self._owner, until=until)
                uow.commit()
                return is_ours

        lease_s = self._policy.lease_s
        until = self._clock.now() + timedelta(seconds=lease_s)
        return Heartbeat(extend, clock=self._clock, lease_s=lease_s, until=until, name=f"delivery-{delivery.id}")

    def _attempt(self, delivery: Delivery, answers: list[ObjectStatus]) -> _Failure | None:
        """The step runner: None where the peer holds every object now, else what happens next."""
        try:
            self._send(delivery, answers)
        except TransientError as error:
            return _Failure(message=_sentence(error), policy=self._policy.retry)
        except NodeError as error:
            return _Failure(message=_sentence(error), policy=None)
        except Exception as error:
            log.exception("delivery_step_crashed", delivery=delivery.id, peer=delivery.peer)
            return _Failure(
                message=f"unexpected {type(error).__name__}; the log of delivery {delivery.id} tells more",
                policy=self._policy.unknown,
            )
        return None

    def _send(self, delivery: Delivery, answers: list[ObjectStatus]) -> None:
        peer = self._peers.by_name(delivery.peer)
        refusal = why_not_deliverable(peer, delivery.peer)
        if refusal or peer is None:
            raise PeerRefused(refusal)
        if not peer.enabled:
            raise PeerUnreachable(f"peer {peer.name} is disabled in the configuration")
        missing = _missing(delivery.objects, delivery.statuses)
        if not missing:
            return

        def on_answer(status: ObjectStatus) -> None:
            # Kept before it is written: where writing fails now, the end of this step may still write it.
            answers.append(status)
            with self._uow() as uow:
                uow.deliveries.record_answer(delivery.id, status)
                uow.commit()

        self._sender.send(peer, missing, on_answer=on_answer)
        raise_for_answers(peer, missing, answers)

    def _stored(self, delivery: Delivery, answers: list[ObjectStatus]) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            moved = move_delivery(
                uow,
                delivery,
                DeliveryEvent.ALL_STORED,
                at=now,
                reason=f"{delivery.peer} holds {len(delivery.objects)} objects",
                actor=self._owner,
                statuses=_merged(uow, delivery, answers),
                failure="",
                next_attempt_at=None,
                finished_at=now,
            )
            if moved is None:
                self._count(delivery, "lost", why=_LOST)
                return
            intake = uow.studies.get(delivery.study_instance_uid)
            uow.commit()
        if intake is not None:
            latency_s = (now - intake.last_received_at).total_seconds()
            self._counters.observe(counting.RESULT_LATENCY_SECONDS, latency_s, peer=delivery.peer)
        self._count(delivery, "stored", why="")

    def _failed(self, delivery: Delivery, failure: _Failure, answers: list[ObjectStatus]) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            event, changes = self._next(uow, delivery, failure, now)
            message = str(changes["failure"])
            changes["statuses"] = _merged(uow, delivery, answers)
            moved = move_delivery(uow, delivery, event, at=now, reason=message, actor=self._owner, **changes)
            if moved is None:
                self._count(delivery, "lost", why=_LOST)
                return
            uow.commit()
        if failure.policy is not None:
            self._rest(delivery.peer, moved.next_attempt_at, now)
        outcome = "retry_wait" if event is DeliveryEvent.TRANSIENT_ERROR else "failed"
        self._count(delivery, outcome, why=message)

    def _rest(self, peer: str, until: datetime | None, now: datetime) -> None:
        longest = now + timedelta(seconds=self._policy.longest_rest_s)
        self._traffic.rest(peer, min(until or longest, longest))

    def _next(
        self, uow: UnitOfWork, delivery: Delivery, failure: _Failure, now: datetime
    ) -> tuple[DeliveryEvent, dict[str, Any]]:
        final = {"finished_at": now, "next_attempt_at": None}
        if failure.policy is None:
            return DeliveryEvent.PERMANENT_ERROR, {"failure": failure.message, **final}
        failed_before = failures_so_far(
            uow,
            f"delivery:{delivery.id}",
            delivery.study_instance_uid,
            DeliveryEvent.TRANSIENT_ERROR.value,
        )
        match next_attempt(failed_before + 1, now, failure.policy, self._randomness()):
            case RetryAt(at=at):
                return DeliveryEvent.TRANSIENT_ERROR, {"failure": failure.message, "next_attempt_at": at}
            case GiveUp(why=why):
                return DeliveryEvent.ATTEMPTS_EXHAUSTED, {"failure": f"{failure.message}; {why}", **final}

    def _count(self, delivery: Delivery, outcome: str, *, why: str) -> None:
        self._counters.count(counting.DELIVERIES_FINISHED, outcome=outcome, peer=delivery.peer)
        report = log.error if outcome == "failed" else log.info
        report(
            "delivery_ended",
            study=study_key(delivery.study_instance_uid),
            delivery=delivery.id,
            peer=delivery.peer,
            outcome=outcome,
            why=why,
        )


def raise_for_answers(peer: Peer, sent: Iterable[ResultObject], answers: Iterable[ObjectStatus]) -> None:
    """Return where every object sent is held by the peer; else raise what its worst answer means.

    Out of resources (A7xx, PS3.4 B.2.3) and unanswered objects are worth waiting for; so is Cxxx, which peers use
    for anything (observed in the field). Every other failure is for good.
    """
    by_uid = {answer.sop_instance_uid: answer for answer in answers}
    refused: list[str] = []
    waiting: list[str] = []
    for entry in sent:
        answer = by_uid.get(entry.sop_instance_uid)
        if answer is None or answer.status is None:
            waiting.append(f"{entry.kind.value} was not answered")
        elif not answer.is_stored:
            is_passing = answer.status >> 8 == 0xA7 or answer.status >> 12 == 0xC
            (waiting if is_passing else refused).append(f"{entry.kind.value} was answered 0x{answer.status:04X}")
    if refused:
        raise PeerRefused(f"{peer.name}: {', '.join(refused + waiting)}")
    if waiting:
        raise PeerBusy(f"{peer.name}: {', '.join(waiting)}")


def _missing(objects: tuple[ResultObject, ...], statuses: tuple[ObjectStatus, ...]) -> tuple[ResultObject, ...]:
    stored = {status.sop_instance_uid for status in statuses if status.is_stored}
    return tuple(entry for entry in objects if entry.sop_instance_uid not in stored)


def _merged(uow: UnitOfWork, delivery: Delivery, answers: list[ObjectStatus]) -> tuple[ObjectStatus, ...]:
    """The answers in the row, with those of this attempt in place of older ones."""
    row = uow.deliveries.get(delivery.id) or delivery
    by_uid = {status.sop_instance_uid: status for status in (*row.statuses, *answers)}
    return tuple(by_uid[entry.sop_instance_uid] for entry in delivery.objects if entry.sop_instance_uid in by_uid)


def _sentence(error: NodeError) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
