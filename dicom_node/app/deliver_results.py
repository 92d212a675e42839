"""Take one pending delivery and let the carrier of its channel make one attempt.

One receiver is served by one worker at a time, and one that cannot be reached rests for a while, so that a dead PACS
does not keep every worker waiting. Objects and notifications have workers of their own, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from dicom_node.app import counting
from dicom_node.app.leases import Heartbeat, failures_so_far
from dicom_node.app.moves import move_delivery, note
from dicom_node.app.peer_traffic import PeerTraffic
from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.errors import NodeError, TransientError
from dicom_node.core.identifiers import study_key
from dicom_node.core.retry import GiveUp, RetryAt, RetryPolicy, next_attempt
from dicom_node.core.transitions import DeliveryEvent
from dicom_node.ports import Clock, Counters, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_LOST = "the lease went to another"


class Carrier(Protocol):
    """Makes one attempt at a delivery of its channel."""

    def carry(self, delivery: Delivery, answers: list[ObjectStatus]) -> str:
        """Says in a sentence what the receiver has now. `answers` grows as they come, also where it then raises.

        Raises TransientError where another attempt may help, another NodeError where none will.
        """


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
        carriers: Mapping[Channel, Carrier],
        clock: Clock,
        counters: Counters,
        policy: DeliveryPolicy,
        owner: str,
        randomness: Callable[[], float],
    ) -> None:
        """Only deliveries of the channels in `carriers` are taken. `owner` names this life of the node in leases;
        `randomness` gives numbers in [0, 1)."""
        self._uow = uow_factory
        self._carriers = carriers
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
                outcome = self._attempt(delivery, answers)
            if isinstance(outcome, _Failure):
                self._failed(delivery, outcome, answers)
            else:
                self._stored(delivery, outcome, answers)
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
                    channels=tuple(self._carriers),
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

    def _attempt(self, delivery: Delivery, answers: list[ObjectStatus]) -> str | _Failure:
        """The step runner: what the receiver has now, or what happens next."""
        try:
            return self._carriers[delivery.channel].carry(delivery, answers)
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

    def _stored(self, delivery: Delivery, what: str, answers: list[ObjectStatus]) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            moved = move_delivery(
                uow,
                delivery,
                DeliveryEvent.ALL_STORED,
                at=now,
                reason=what,
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
        if intake is not None and not delivery.channel.is_notification:
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


def _merged(uow: UnitOfWork, delivery: Delivery, answers: list[ObjectStatus]) -> tuple[ObjectStatus, ...]:
    """The answers in the row, with those of this attempt in place of older ones."""
    row = uow.deliveries.get(delivery.id) or delivery
    by_uid = {status.sop_instance_uid: status for status in (*row.statuses, *answers)}
    return tuple(by_uid[entry.sop_instance_uid] for entry in delivery.objects if entry.sop_instance_uid in by_uid)


def _sentence(error: NodeError) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
