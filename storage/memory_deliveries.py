"""Deliveries in the in-memory twin; compare `deliveries`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.finding import ResultObject
from dicom_node.core.shipment import Substitution
from dicom_node.core.tally import Tally, tallied
from storage.memory_leases import MemoryLeases
from storage.memory_transaction import MemoryTransaction


class MemoryDeliveries:
    """`DeliveryRepository` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._leases = MemoryLeases[Delivery, DeliveryState](
            rows=lambda: transaction.read().deliveries,
            writable=lambda *times: transaction.write(*times).deliveries,
            waiting=DeliveryState.PENDING,
            working=DeliveryState.SENDING,
            retry=DeliveryState.RETRY_WAIT,
        )
        self.extend_lease = self._leases.extend_lease
        self.due = self._leases.due
        self.expired = self._leases.expired
        self.leased_by_others = self._leases.leased_by_others

    def add(
        self,
        *,
        job_id: int,
        study_instance_uid: str,
        revision: int,
        peer: str,
        objects: tuple[ResultObject, ...],
        created_at: datetime,
        channel: Channel = Channel.OBJECTS,
        route: str = "",
        round: int = 1,
        is_urgent: bool = False,
    ) -> Delivery:
        tables = self._transaction.write(created_at)
        if job_id not in tables.jobs:
            self._transaction.conflict("this job does not exist")
        mark = (job_id, channel, peer, round)
        if any((each.job_id, each.channel, each.peer, each.round) == mark for each in tables.deliveries.values()):
            self._transaction.conflict("this job has a delivery to this peer already")
        delivery = Delivery(
            id=len(tables.deliveries) + 1,
            job_id=job_id,
            study_instance_uid=study_instance_uid,
            revision=revision,
            peer=peer,
            objects=objects,
            state=DeliveryState.PENDING,
            attempt=0,
            created_at=created_at,
            channel=channel,
            route=route,
            round=round,
            is_urgent=is_urgent,
        )
        tables.deliveries[delivery.id] = delivery
        return delivery

    def get(self, delivery_id: int) -> Delivery | None:
        return self._transaction.read().deliveries.get(delivery_id)

    def of_study(self, study_instance_uid: str) -> tuple[Delivery, ...]:
        deliveries = self._transaction.read().deliveries.values()
        found = (each for each in deliveries if each.study_instance_uid == study_instance_uid)
        return tuple(sorted(found, key=lambda each: (each.revision, each.id)))

    def of_studies(self, study_instance_uids: Sequence[str]) -> Mapping[str, tuple[Delivery, ...]]:
        return {uid: deliveries for uid in study_instance_uids if (deliveries := self.of_study(uid))}

    def list(
        self,
        *,
        states: Iterable[DeliveryState] | None = None,
        peer: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[Delivery, ...]:
        wanted = set(DeliveryState if states is None else states)
        deliveries = self._transaction.read().deliveries.values()
        found = (each for each in deliveries if each.state in wanted and peer in (None, each.peer))
        newest_first = sorted(found, key=lambda each: (each.created_at, each.id), reverse=True)
        return tuple(newest_first[offset : offset + limit])

    def counted(self) -> Mapping[tuple[str, DeliveryState], int]:
        return Counter((each.peer, each.state) for each in self._transaction.read().deliveries.values())

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        lease_until: datetime,
        busy_peers: Iterable[str] = (),
        channels: Iterable[Channel] = tuple(Channel),
        only_urgent: Iterable[str] = (),
    ) -> Delivery | None:
        busy, ours, urgent = set(busy_peers), set(channels), set(only_urgent)
        return self._leases.claim(
            owner=owner,
            lease_until=lease_until,
            where=lambda each: (
                each.peer not in busy and each.channel in ours and (each.is_urgent or each.peer not in urgent)
            ),
            first=lambda each: not each.is_urgent,
        )

    def uncommitted(self, now: datetime) -> tuple[Delivery, ...]:
        return self._leases.waited(DeliveryState.COMMIT_WAIT, now)

    def failed(self, peer: str) -> tuple[Delivery, ...]:
        deliveries = self._transaction.read().deliveries.values()
        found = (each for each in deliveries if each.state is DeliveryState.FAILED and each.peer == peer)
        return tuple(sorted(found, key=lambda each: (each.created_at, each.id)))

    def tally(self) -> Mapping[tuple[Channel, str, DeliveryState], Tally]:
        deliveries = self._transaction.read().deliveries.values()
        return tallied(
            ((each.channel, each.peer, each.state), each.created_at) for each in deliveries if not each.is_finished
        )

    def waiting(self) -> dict[tuple[Channel, str], int]:
        states = (DeliveryState.PENDING, DeliveryState.RETRY_WAIT)
        found = (each for each in self._transaction.read().deliveries.values() if each.state in states)
        return dict(Counter((each.channel, each.peer) for each in found))

    def update(self, delivery: Delivery, *, expected: Delivery) -> bool:
        current = self._transaction.read().deliveries.get(expected.id)
        if current is not None:
            # As the database: the choice is written by `record_substitutions` alone, statuses only where they differ.
            statuses = current.statuses if delivery.statuses == expected.statuses else delivery.statuses
            delivery = replace(delivery, statuses=statuses, substitutions=current.substitutions)
        return self._leases.update(replace(delivery, statuses=_in_order(delivery)), expected=expected)

    def record_answer(self, delivery_id: int, status: ObjectStatus) -> None:
        deliveries = self._transaction.write(status.answered_at).deliveries
        if delivery_id not in deliveries:
            self._transaction.conflict("this delivery does not exist")
        current = deliveries[delivery_id]
        others = (each for each in current.statuses if each.sop_instance_uid != status.sop_instance_uid)
        answered = replace(current, statuses=(*others, status))
        deliveries[delivery_id] = replace(answered, statuses=_in_order(answered))
        self._transaction.commit()

    def record_substitutions(self, delivery_id: int, substitutions: tuple[Substitution, ...]) -> None:
        deliveries = self._transaction.write().deliveries
        if delivery_id not in deliveries:
            self._transaction.conflict("this delivery does not exist")
        deliveries[delivery_id] = replace(deliveries[delivery_id], substitutions=substitutions)


def _in_order(delivery: Delivery) -> tuple[ObjectStatus, ...]:
    """The statuses in the order of the objects."""
    place = {each.sop_instance_uid: index for index, each in enumerate(delivery.objects)}
    return tuple(sorted(delivery.statuses, key=lambda each: place.get(each.sop_instance_uid, len(place))))
