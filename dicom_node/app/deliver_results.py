"""Take one pending delivery and let the carrier of its channel make one attempt.

One receiver is served by one worker at a time, and one that cannot be reached is left alone (`core.circuit`), so that
a dead PACS does not keep every worker waiting. Objects and notifications have workers of their own, for the same
reason. What is urgent goes first, then what is older.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from dicom_node.app import counting
from dicom_node.app.commitments import judge, move_by
from dicom_node.app.leases import Heartbeat, failures_so_far, waiting_since
from dicom_node.app.moves import move_delivery, note
from dicom_node.app.peer_traffic import PeerTraffic, Reach, reach_of
from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import NodeError, PeerUnreachable, TransientError
from dicom_node.core.identifiers import study_key
from dicom_node.core.retry import GiveUp, RetryAt, RetryPolicy, next_attempt
from dicom_node.core.standing import awaited_since
from dicom_node.core.transitions import DeliveryEvent
from dicom_node.ports import Clock, Counters, PeerDirectory, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_LOST = "the lease went to another"


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What the receiver has now, in a sentence. `commitment_by`: it was asked to commit and has until then to say so;
    None where it is not to commit."""

    what: str
    commitment_by: datetime | None = None


class Carrier(Protocol):
    """Makes one attempt at a delivery of its channel."""

    def carry(self, delivery: Delivery, answers: list[ObjectStatus]) -> Carried:
        """What the receiver has now. `answers` grows as they come, also where it then raises.

        Raises TransientError where another attempt may help, another NodeError where none will.
        """


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy:
    """`terms` are those of every receiver that has none of its own. `unknown` is for exceptions that nobody foresaw;
    `longest_rest_s` bounds the rest of a receiver that was reached and failed."""

    terms: DeliveryTerms = field(default_factory=DeliveryTerms)
    unknown: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_attempts=3))
    lease_s: float = 60.0
    longest_rest_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class _Failure:
    message: str
    policy: RetryPolicy | None  # None: trying again changes nothing
    reach: Reach
    is_unreachable: bool = False  # the attempt failed before the delivery could, and is not counted against it


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
        peers: PeerDirectory | None = None,
        local_time: Callable[[datetime], datetime] = datetime.astimezone,
    ) -> None:
        """Only deliveries of the channels in `carriers` are taken. `owner` names this life of the node in leases;
        `randomness` gives numbers in [0, 1). `peers` have terms of their own; None where the receivers are no peers.
        `local_time` is the clock on the wall, which the peers' hours are read from."""
        self._uow = uow_factory
        self._carriers = carriers
        self._clock = clock
        self._counters = counters
        self._policy = policy
        self._owner = owner
        self._randomness = randomness
        self._traffic = PeerTraffic(
            channels=tuple(carriers),
            peers=peers,
            general=policy.terms,
            randomness=randomness,
            local_time=local_time,
        )

    def step(self) -> bool:
        """Run one attempt of the most urgent pending delivery whose receiver is free; False where there is none.

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
                doors = self._traffic.doors(uow, now)
                delivery = uow.deliveries.claim(
                    owner=self._owner,
                    now=now,
                    lease_until=now + timedelta(seconds=self._policy.lease_s),
                    busy_peers=doors.closed,
                    channels=tuple(self._carriers),
                    only_urgent=doors.only_urgent,
                )
                if delivery is None:
                    return None
                note(
                    uow,
                    f"delivery:{delivery.id}",
                    DeliveryEvent.LEASED.value,
                    at=self._clock.now(),  # not `now`: the claim may have waited for who queued it
                    from_state=DeliveryState.PENDING.value,
                    to_state=delivery.state.value,
                    reason=f"attempt {delivery.attempt}",
                    actor=self._owner,
                    study_instance_uid=delivery.study_instance_uid,
                )
                uow.commit()
                self._traffic.serve(uow, delivery)
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

    def _attempt(self, delivery: Delivery, answers: list[ObjectStatus]) -> Carried | _Failure:
        """The step runner: what the receiver has now, or what happens next."""
        retry = self._traffic.terms(delivery.peer).retry
        try:
            return self._carriers[delivery.channel].carry(delivery, answers)
        except PeerUnreachable as error:
            reach = Reach.REACHED if answers else Reach.NOT_REACHED
            return _Failure(message=_sentence(error), policy=retry, reach=reach, is_unreachable=not answers)
        except TransientError as error:
            return _Failure(message=_sentence(error), policy=retry, reach=reach_of(error, answers))
        except NodeError as error:
            return _Failure(message=_sentence(error), policy=None, reach=reach_of(error, answers))
        except Exception as error:
            log.exception("delivery_step_crashed", delivery=delivery.id, peer=delivery.peer)
            return _Failure(
                message=f"unexpected {type(error).__name__}; the log of delivery {delivery.id} tells more",
                policy=self._policy.unknown,
                reach=Reach.UNKNOWN,
            )

    def _stored(self, delivery: Delivery, carried: Carried, answers: list[ObjectStatus]) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            moved = self._moved_on(uow, delivery, carried, answers, now)
            if moved is None:
                self._count(delivery, "lost", why=_LOST)
                return
            self._traffic.learn(uow, delivery, Reach.REACHED, now=now, why="")
            intake = uow.studies.get(delivery.study_instance_uid)
            jobs = uow.jobs.of_study(delivery.study_instance_uid)
            uow.commit()
        # Asked again for a commitment, it was stored before and measured then.
        is_measured = not answers and carried.commitment_by is not None
        if intake is not None and not delivery.channel.is_notification and not is_measured:
            latency_s = (now - awaited_since(intake, jobs)).total_seconds()
            self._counters.observe(counting.RESULT_LATENCY_SECONDS, latency_s, peer=delivery.peer)
        self._count(delivery, moved.state.value.lower(), why="")

    def _moved_on(
        self, uow: UnitOfWork, delivery: Delivery, carried: Carried, answers: list[ObjectStatus], now: datetime
    ) -> Delivery | None:
        """The delivery after all was stored: finished, or on its way to a commitment. None for a lost race."""
        statuses = _merged(uow, delivery, answers)
        if carried.commitment_by is None:
            event, until, finished_at = DeliveryEvent.ALL_STORED, None, now
        else:
            terms = self._traffic.terms(delivery.peer)
            verdict = judge(uow, delivery, now=now, terms=terms, randomness=self._randomness())
            if verdict.event is not None:
                return move_by(uow, delivery, verdict, at=now, actor=self._owner, statuses=statuses)
            event, until, finished_at = DeliveryEvent.COMMIT_REQUESTED, carried.commitment_by, None
        return move_delivery(
            uow,
            delivery,
            event,
            at=now,
            reason=carried.what,
            actor=self._owner,
            statuses=statuses,
            failure="",
            next_attempt_at=until,
            finished_at=finished_at,
        )

    def _failed(self, delivery: Delivery, failure: _Failure, answers: list[ObjectStatus]) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            probe_at = self._traffic.learn(uow, delivery, failure.reach, now=now, why=failure.message)
            event, changes = self._next(uow, delivery, failure, now)
            if event is DeliveryEvent.PEER_UNREACHABLE:
                changes["next_attempt_at"] = probe_at
            message = str(changes["failure"])
            changes["statuses"] = _merged(uow, delivery, answers)
            moved = move_delivery(uow, delivery, event, at=now, reason=message, actor=self._owner, **changes)
            if moved is None:
                self._count(delivery, "lost", why=_LOST)
                return
            uow.commit()
        if failure.policy is not None and not failure.is_unreachable:
            self._rest(delivery.peer, moved.next_attempt_at, now)
        outcome = "failed" if moved.state is DeliveryState.FAILED else "retry_wait"
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
        if failure.is_unreachable:
            waited_s = (now - waiting_since(uow, delivery)).total_seconds()
            if waited_s < self._traffic.terms(delivery.peer).give_up_after_s:
                return DeliveryEvent.PEER_UNREACHABLE, {"failure": failure.message}
            why = f"gave up after waiting {waited_s / 3600.0:.1f} h for it"
            return DeliveryEvent.ATTEMPTS_EXHAUSTED, {"failure": f"{failure.message}; {why}", **final}
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
