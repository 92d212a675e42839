"""Deliveries in the database, with their objects and the peer's answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, delete, func, insert, select

from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.finding import ResultObject
from dicom_node.core.shipment import Substitution
from dicom_node.core.tally import Tally
from storage.leases import LeasedTable
from storage.mapping import (
    answer_from,
    answer_values,
    delivery_from,
    delivery_values,
    object_from,
    object_values,
    substitution_from,
    substitution_values,
)
from storage.rows import (
    DeliveryAnswerRow,
    DeliveryObjectRow,
    DeliveryRow,
    DeliverySubstitutionRow,
    table_of,
)
from storage.transaction import UPSERT, Transaction

_delivery = table_of(DeliveryRow)
_object = table_of(DeliveryObjectRow)
_answer = table_of(DeliveryAnswerRow)
_substitution = table_of(DeliverySubstitutionRow)
_leased = LeasedTable(
    _delivery,
    waiting=DeliveryState.PENDING.value,
    working=DeliveryState.SENDING.value,
    retry=DeliveryState.RETRY_WAIT.value,
)
_FRESH = {
    "state": DeliveryState.PENDING.value,
    "attempt": 0,
    "next_attempt_at": None,
    "lease_owner": None,
    "lease_expires_at": None,
    "failure": "",
    "finished_at": None,
}
_NEWEST_FIRST = (_delivery.c.created_at.desc(), _delivery.c.id.desc())


class Deliveries:
    """`DeliveryRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

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
        values = {
            "job_id": job_id,
            "study_instance_uid": study_instance_uid,
            "revision": revision,
            "peer": peer,
            "created_at": created_at,
            "channel": channel.value,
            "route": route,
            "round": round,
            "is_urgent": is_urgent,
        }
        self._transaction.touch(study_instance_uid)
        row = self._transaction.write(insert(_delivery).values(_FRESH | values).returning(_delivery)).mappings().one()
        if objects:
            places = [object_values(row["id"], position, result) for position, result in enumerate(objects)]
            self._transaction.write(insert(_object), places)
        return delivery_from(row, objects, ())

    def get(self, delivery_id: int) -> Delivery | None:
        row = self._transaction.read(select(_delivery).where(_delivery.c.id == delivery_id)).mappings().one_or_none()
        return None if row is None else self._deliveries([row])[0]

    def of_study(self, study_instance_uid: str) -> tuple[Delivery, ...]:
        """Oldest revision first."""
        of_study = _delivery.c.study_instance_uid == study_instance_uid
        statement = select(_delivery).where(of_study).order_by(_delivery.c.revision, _delivery.c.id)
        return self._deliveries(self._transaction.read(statement).mappings().all())

    def of_studies(self, study_instance_uids: Sequence[str]) -> Mapping[str, tuple[Delivery, ...]]:
        """As `of_study`, of many with a handful of statements; those without a delivery are left out."""
        of_these = _delivery.c.study_instance_uid.in_(study_instance_uids)
        statement = select(_delivery).where(of_these).order_by(_delivery.c.revision, _delivery.c.id)
        found: dict[str, tuple[Delivery, ...]] = defaultdict(tuple)
        for delivery in self._deliveries(self._transaction.read(statement).mappings().all()):
            found[delivery.study_instance_uid] += (delivery,)
        return found

    def list(
        self,
        *,
        states: Iterable[DeliveryState] | None = None,
        peer: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[Delivery, ...]:
        statement = select(_delivery).order_by(*_NEWEST_FIRST).limit(limit).offset(offset)
        if states is not None:
            statement = statement.where(_delivery.c.state.in_([state.value for state in states]))
        if peer is not None:
            statement = statement.where(_delivery.c.peer == peer)
        return self._deliveries(self._transaction.read(statement).mappings().all())

    def counted(self) -> Mapping[tuple[str, DeliveryState], int]:
        key = (_delivery.c.peer, _delivery.c.state)
        rows = self._transaction.read(select(*key, func.count().label("count")).group_by(*key)).mappings()
        return {(row["peer"], DeliveryState(row["state"])): row["count"] for row in rows}

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
        """`now` decides nothing here: a PENDING delivery is due by definition."""
        where = (
            _delivery.c.peer.not_in(tuple(busy_peers)),
            _delivery.c.channel.in_([channel.value for channel in channels]),
            _delivery.c.is_urgent | _delivery.c.peer.not_in(tuple(only_urgent)),
        )
        row = _leased.claim(
            self._transaction,
            owner=owner,
            lease_until=lease_until,
            where=where,
            first=(_delivery.c.is_urgent.desc(),),
        )
        if row is None:
            return None
        self._transaction.touch(row["study_instance_uid"])
        return self._deliveries([row])[0]

    def extend_lease(self, delivery_id: int, *, owner: str, until: datetime) -> bool:
        return _leased.extend_lease(self._transaction, delivery_id, owner=owner, until=until)

    def update(self, delivery: Delivery, *, expected: Delivery) -> bool:
        """As the port says. `statuses` are written only where they differ from `expected`'s.

        So a worker that still holds the delivery as it claimed it does not wipe the answers recorded meanwhile.
        """
        self._transaction.touch(expected.study_instance_uid)
        if not _leased.update(self._transaction, delivery_values(delivery), expected=expected):
            return False
        if delivery.statuses != expected.statuses:
            self._transaction.write(delete(_answer).where(_answer.c.delivery_id == expected.id))
            if delivery.statuses:
                answers = [answer_values(expected.id, answer) for answer in delivery.statuses]
                self._transaction.write(insert(_answer), answers)
        return True

    def record_answer(self, delivery_id: int, status: ObjectStatus) -> None:
        """Written and committed, together with what this unit of work has done before. A later answer replaces it."""
        values = answer_values(delivery_id, status)
        statement = UPSERT[self._transaction.dialect](_answer).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=[_answer.c.delivery_id, _answer.c.sop_instance_uid],
            set_={"status": values["status"], "answered_at": values["answered_at"]},
        )
        self._transaction.write(statement)
        self._transaction.commit()

    def record_substitutions(self, delivery_id: int, substitutions: tuple[Substitution, ...]) -> None:
        self._transaction.write(delete(_substitution).where(_substitution.c.delivery_id == delivery_id))
        if substitutions:
            values = [substitution_values(delivery_id, place, entry) for place, entry in enumerate(substitutions)]
            self._transaction.write(insert(_substitution), values)

    def due(self, now: datetime) -> tuple[Delivery, ...]:
        return self._deliveries(_leased.due(self._transaction, now))

    def uncommitted(self, now: datetime) -> tuple[Delivery, ...]:
        return self._deliveries(_leased.waited(self._transaction, DeliveryState.COMMIT_WAIT.value, now))

    def failed(self, peer: str) -> tuple[Delivery, ...]:
        is_failed = (_delivery.c.state == DeliveryState.FAILED.value, _delivery.c.peer == peer)
        statement = select(_delivery).where(*is_failed).order_by(_delivery.c.created_at, _delivery.c.id)
        return self._deliveries(self._transaction.read(statement).mappings().all())

    def tally(self) -> Mapping[tuple[Channel, str, DeliveryState], Tally]:
        key = (_delivery.c.channel, _delivery.c.peer, _delivery.c.state)
        counted = (func.count().label("count"), func.min(_delivery.c.created_at).label("oldest"))
        is_unfinished = _delivery.c.state.in_([state.value for state in DeliveryState if not state.is_finished])
        rows = self._transaction.read(select(*key, *counted).where(is_unfinished).group_by(*key)).mappings()
        return {
            (Channel(row["channel"]), row["peer"], DeliveryState(row["state"])): Tally(
                count=row["count"], oldest=row["oldest"]
            )
            for row in rows
        }

    def waiting(self) -> dict[tuple[Channel, str], int]:
        states = (DeliveryState.PENDING.value, DeliveryState.RETRY_WAIT.value)
        columns = (_delivery.c.channel, _delivery.c.peer)
        is_waiting = _delivery.c.state.in_(states)
        statement = select(*columns, func.count().label("waiting")).where(is_waiting).group_by(*columns)
        rows = self._transaction.read(statement).mappings()
        return {(Channel(row["channel"]), row["peer"]): row["waiting"] for row in rows}

    def expired(self, now: datetime) -> tuple[Delivery, ...]:
        return self._deliveries(_leased.expired(self._transaction, now))

    def leased_by_others(self, owner: str, *, owner_prefix: str) -> tuple[Delivery, ...]:
        return self._deliveries(_leased.leased_by_others(self._transaction, owner, owner_prefix=owner_prefix))

    def _deliveries(self, rows: Sequence[RowMapping]) -> tuple[Delivery, ...]:
        """The deliveries of `rows`, in their order, with three queries for all of them."""
        if not rows:
            return ()
        ids = [row["id"] for row in rows]
        objects: dict[int, tuple[ResultObject, ...]] = defaultdict(tuple)
        in_order = select(_object).where(_object.c.delivery_id.in_(ids)).order_by(_object.c.position)
        for row in self._transaction.read(in_order).mappings():
            objects[row["delivery_id"]] += (object_from(row),)
        answers: dict[int, tuple[ObjectStatus, ...]] = defaultdict(tuple)
        of_these = select(_answer).where(_answer.c.delivery_id.in_(ids))
        for row in self._transaction.read(of_these).mappings():
            answers[row["delivery_id"]] += (answer_from(row),)
        substitutions: dict[int, tuple[Substitution, ...]] = defaultdict(tuple)
        chosen = select(_substitution).where(_substitution.c.delivery_id.in_(ids)).order_by(_substitution.c.position)
        for row in self._transaction.read(chosen).mappings():
            substitutions[row["delivery_id"]] += (substitution_from(row),)
        return tuple(
            delivery_from(row, objects[row["id"]], answers[row["id"]], substitutions[row["id"]]) for row in rows
        )
