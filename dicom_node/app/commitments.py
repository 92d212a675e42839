"""Our results at peers that commit to keep them: what a report does to its delivery.

Requests and reports are rows of their own, so that a report counts whenever it comes: while the worker that asked is
still at it, after the wait for it was given up, after a restart. What a delivery still lacks is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from dicom_node.app.leases import failures_so_far
from dicom_node.app.moves import NODE, move_delivery
from dicom_node.core.commitment import CommitmentReport, CommitmentRequest, in_words, not_kept, uncommitted
from dicom_node.core.delivery import Delivery, DeliveryState
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import RejectedInput
from dicom_node.core.identifiers import study_key
from dicom_node.core.retry import GiveUp, RetryAt, next_attempt
from dicom_node.core.transitions import DeliveryEvent
from dicom_node.ports import Clock, PeerDirectory, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

UNKNOWN_TRANSACTION = 0x0115  # invalid argument value (PS3.7 C.5.3), of an N-EVENT-REPORT
NOT_AUTHORISED = 0x0124

_UNKEPT = (DeliveryEvent.COMMIT_FAILED.value, DeliveryEvent.COMMIT_TIMEOUT.value)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows for a delivery from all that its peer reported; `event` None: wait on."""

    event: DeliveryEvent | None
    why: str
    next_attempt_at: datetime | None = None


class TakeReports:
    """Takes the N-EVENT-REPORTs of peers about our results."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        peers: PeerDirectory,
        clock: Clock,
        terms: DeliveryTerms,
        randomness: Callable[[], float],
    ) -> None:
        """`terms` are those of `[delivery]`, for what a peer does not say for itself."""
        self._uow = uow_factory
        self._peers = peers
        self._clock = clock
        self._terms = terms
        self._randomness = randomness

    def __call__(self, report: CommitmentReport, *, calling_aet: str) -> None:
        """The report is durable and its delivery has moved. Raises RejectedInput with the status to answer."""
        now = self._clock.now()
        with self._uow() as uow:
            delivery = self._delivery_of(uow, report, calling_aet)
            uow.commitments.report(report, at=now)
            peer = self._peers.by_name(delivery.peer)
            terms = peer.delivery.over(self._terms) if peer is not None else self._terms
            verdict = judge(uow, delivery, now=now, terms=terms, randomness=self._randomness())
            if _may_move(delivery, verdict):
                move_by(uow, delivery, verdict, at=now, actor=NODE)
            uow.commit()
        log.info(
            "commitment_reported",
            study=study_key(delivery.study_instance_uid),
            delivery=delivery.id,
            peer=delivery.peer,
            committed=len(report.committed),
            failed=len(report.failed),
        )

    def _delivery_of(self, uow: UnitOfWork, report: CommitmentReport, calling_aet: str) -> Delivery:
        request = uow.commitments.request(report.transaction_uid)
        delivery = None if request is None else uow.deliveries.get(request.delivery_id)
        if delivery is None:
            why = f"{calling_aet} reports on transaction {report.transaction_uid}, which this node never asked for"
            raise RejectedInput(UNKNOWN_TRANSACTION, "unknown_transaction", why)
        peer = self._peers.by_name(delivery.peer)
        if peer is None or peer.ae_title != calling_aet:
            why = f"{calling_aet} reports on what was asked of peer {delivery.peer}"
            raise RejectedInput(NOT_AUTHORISED, "commitment_of_another", why)
        return delivery


def without_unkept(delivery: Delivery, requests: tuple[CommitmentRequest, ...]) -> Delivery:
    """The delivery as if the peer had never stored what it said it does not keep: that is sent again."""
    unkept = dict(not_kept(delivery, requests))
    statuses = tuple(status for status in delivery.statuses if status.sop_instance_uid not in unkept)
    return replace(delivery, statuses=statuses)


def judge(uow: UnitOfWork, delivery: Delivery, *, now: datetime, terms: DeliveryTerms, randomness: float) -> Verdict:
    """What the reports so far mean for `delivery`, whose row is read anew for its answers."""
    row = uow.deliveries.get(delivery.id) or delivery
    requests = uow.commitments.requests_of(delivery.id)
    unkept = not_kept(row, requests)
    if unkept:
        kinds = {entry.sop_instance_uid: entry.kind.value for entry in row.objects}
        said = ", ".join(f"{kinds.get(uid, uid)} ({in_words(reason)})" for uid, reason in unkept)
        why = f"{delivery.peer} does not commit to {said}"
        return refused(uow, delivery, DeliveryEvent.COMMIT_FAILED, why, now=now, terms=terms, randomness=randomness)
    missing = uncommitted(row, requests, row.stored)
    if row.stored and not missing:
        count = len(row.stored)
        objects = "object" if count == 1 else "objects"
        return Verdict(event=DeliveryEvent.COMMIT_CONFIRMED, why=f"{delivery.peer} committed to {count} {objects}")
    return Verdict(event=None, why="")


def refused(
    uow: UnitOfWork,
    delivery: Delivery,
    event: DeliveryEvent,
    why: str,
    *,
    now: datetime,
    terms: DeliveryTerms,
    randomness: float,
) -> Verdict:
    """The peer did not commit, or not in time: it is asked again until it was asked often enough."""
    subject = f"delivery:{delivery.id}"
    before = sum(failures_so_far(uow, subject, delivery.study_instance_uid, each) for each in _UNKEPT)
    policy = replace(terms.retry, max_attempts=terms.commitment.attempts)
    match next_attempt(before + 1, now, policy, randomness):
        case RetryAt(at=at):
            return Verdict(event=event, why=why, next_attempt_at=at)
        case GiveUp(why=gave_up):
            return Verdict(event=DeliveryEvent.ATTEMPTS_EXHAUSTED, why=f"{why}; {gave_up}")


def move_by(
    uow: UnitOfWork, delivery: Delivery, verdict: Verdict, *, at: datetime, actor: str, **changes: Any
) -> Delivery | None:
    """Write the verdict; None for a lost race."""
    assert verdict.event is not None
    is_final = verdict.event in (DeliveryEvent.COMMIT_CONFIRMED, DeliveryEvent.ATTEMPTS_EXHAUSTED)
    return move_delivery(
        uow,
        delivery,
        verdict.event,
        at=at,
        reason=verdict.why,
        actor=actor,
        failure="" if verdict.event is DeliveryEvent.COMMIT_CONFIRMED else verdict.why,
        next_attempt_at=verdict.next_attempt_at,
        finished_at=at if is_final else None,
        **changes,
    )


def _may_move(delivery: Delivery, verdict: Verdict) -> bool:
    """Whether the report moves the row. Elsewhere it is kept, and the next attempt of the delivery finds it."""
    if verdict.event is None:
        return False
    if delivery.state is DeliveryState.FAILED:
        return verdict.event is DeliveryEvent.COMMIT_CONFIRMED
    return delivery.state is DeliveryState.COMMIT_WAIT
