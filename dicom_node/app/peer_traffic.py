"""Which receivers to leave alone for now: those being served, those that rest, those out of their hours, and those
that cannot be reached.

The last are rows (`core.circuit`), so a restart goes on waiting where the life before it stopped, and a command beside
the node can look and reset. The others are facts of this process: a restart forgets them and loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import structlog

from dicom_node.core.circuit import Failure, after_failure
from dicom_node.core.delivery import Channel, Delivery, ObjectStatus
from dicom_node.core.delivery_terms import DeliveryTerms
from dicom_node.core.errors import AssociationAborted, NodeError, PeerBusy, PeerRefused, SopClassNotAccepted
from dicom_node.ports import PeerDirectory, UnitOfWork

log = structlog.get_logger(__name__)


class Reach(Enum):
    """What an attempt says about the receiver itself."""

    REACHED = "reached"
    NOT_REACHED = "not reached"
    UNKNOWN = "unknown"  # the attempt ended for reasons of our own


def reach_of(error: NodeError, answers: Sequence[ObjectStatus]) -> Reach:
    """What the error says about the receiver: one that answered anything is there; one that takes a connection and
    then says nothing is as good as away."""
    if answers or isinstance(error, PeerBusy | PeerRefused | SopClassNotAccepted):
        return Reach.REACHED
    return Reach.NOT_REACHED if isinstance(error, AssociationAborted) else Reach.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Receivers that take nothing now, and those that take only what is urgent."""

    closed: tuple[str, ...]
    only_urgent: tuple[str, ...]


class PeerTraffic:
    """Asked before each claim and told after each attempt. `peers` is None where the receivers are no peers."""

    def __init__(
        self,
        *,
        channels: tuple[Channel, ...],
        peers: PeerDirectory | None,
        general: DeliveryTerms,
        randomness: Callable[[], float],
        local_time: Callable[[datetime], datetime],
    ) -> None:
        self.claiming = threading.Lock()
        self._channels = channels
        self._peers = peers
        self._general = general
        self._randomness = randomness
        self._local_time = local_time
        self._serving: set[str] = set()
        self._probed = ""
        self._resting: dict[str, datetime] = {}

    def terms(self, peer: str) -> DeliveryTerms:
        """How this receiver is served."""
        known = self._peers.by_name(peer) if self._peers is not None else None
        return self._general if known is None else known.delivery.over(self._general)

    def doors(self, uow: UnitOfWork, now: datetime) -> Doors:
        """Who takes what at `now`. Of the receivers that are to be probed one at a time is: they may take a worker
        for as long as a connection attempt lasts, and several at once would take all of them."""
        closed = set(self._serving) | {peer for peer, until in self._resting.items() if until > now}
        for circuit in uow.circuits.all():
            if circuit.channel in self._channels and (circuit.holds(now) or (circuit.is_open and self._probed)):
                closed.add(circuit.peer)
        only_urgent: set[str] = set()
        for peer in self._peers.peers() if self._peers is not None else ():
            if not peer.delivery.hours.includes(self._local_time(now).time()):
                (only_urgent if peer.delivery.urgent_at_any_hour else closed).add(peer.name)
        return Doors(closed=tuple(sorted(closed)), only_urgent=tuple(sorted(only_urgent)))

    def serve(self, uow: UnitOfWork, delivery: Delivery) -> None:
        """Note that a worker talks to the receiver."""
        circuit = uow.circuits.get(delivery.channel, delivery.peer)
        self._serving.add(delivery.peer)
        if circuit is not None and circuit.is_open:
            self._probed = delivery.peer

    def release(self, peer: str) -> None:
        """Note that it no longer does."""
        self._serving.discard(peer)
        if self._probed == peer:
            self._probed = ""

    def rest(self, peer: str, until: datetime) -> None:
        """Leave the receiver alone until then."""
        self._resting[peer] = until

    def learn(self, uow: UnitOfWork, delivery: Delivery, reach: Reach, *, now: datetime, why: str) -> datetime | None:
        """Write what an attempt showed; when the receiver is tried again, None where nothing keeps it from that."""
        if reach is Reach.REACHED:
            if uow.circuits.forget(delivery.channel, delivery.peer):
                log.info("receiver_reached_again", peer=delivery.peer, channel=delivery.channel.value)
            return None
        before = uow.circuits.get(delivery.channel, delivery.peer)
        if reach is Reach.UNKNOWN:
            return None if before is None else before.probe_at
        terms = self.terms(delivery.peer)
        failure = Failure(channel=delivery.channel, peer=delivery.peer, at=now, why=why)
        circuit = after_failure(before, failure, policy=terms.circuit, retry=terms.retry, randomness=self._randomness())
        uow.circuits.save(circuit)
        if circuit.is_open and (before is None or not before.is_open):
            log.error("receiver_not_reached", peer=delivery.peer, failures=circuit.failures, why=why)
        return circuit.probe_at
