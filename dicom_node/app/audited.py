"""Around the use cases: what they do is recorded in the audit trail, and they do not know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from dicom_node.app import audit_events
from dicom_node.app.deliver_results import Carried, Carrier
from dicom_node.app.receive_instance import IncomingInstance, InstanceHeader
from dicom_node.core.audit import AuditedStudy, Code, Participant
from dicom_node.core.delivery import Delivery, ObjectStatus
from dicom_node.core.errors import NodeError, RejectedInput
from dicom_node.core.peer import Peer
from dicom_node.core.quarantine import QuarantinedFile
from dicom_node.core.study import PatientSummary
from dicom_node.ports import AuditLog, Clock, PeerDirectory, UnitOfWorkFactory


class Associations(Protocol):
    """Where the begin and the end of associations are recorded."""

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None: ...
    def closed(self, association_id: str, *, how: str) -> None: ...


@dataclass
class _Arrivals:
    """Of one study on one association."""

    patient: PatientSummary
    classes: list[str] = field(default_factory=list)
    refused: int = 0


@dataclass
class _Open:
    calling_aet: str
    address: str
    studies: dict[str, _Arrivals] = field(default_factory=dict)


class AuditedReceiver:
    """`receive` and the log of associations in one: at its end an association says what it brought, study by study."""

    def __init__(
        self,
        *,
        receive: Callable[[IncomingInstance], object],
        associations: Associations,
        audit: AuditLog,
        clock: Clock,
        ae_title: str,
    ) -> None:
        self._receive = receive
        self._associations = associations
        self._audit = audit
        self._clock = clock
        self._ae_title = ae_title
        self._open: dict[str, _Open] = {}
        self._guard = threading.Lock()

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None:
        """As the log it wraps."""
        self._associations.opened(association_id, calling_aet=calling_aet, address=address)
        with self._guard:
            self._open[association_id] = _Open(calling_aet, address)

    def closed(self, association_id: str, *, how: str) -> None:
        """As the log it wraps; what was transferred is recorded whether that fails or not, and once."""
        with self._guard:
            ended = self._open.pop(association_id, None)
        for uid, arrivals in ended.studies.items() if ended else ():
            self._record_transfer(ended, uid, arrivals, how)  # type: ignore[arg-type]
        self._associations.closed(association_id, how=how)

    def refused(self, *, calling_aet: str, address: str, rule: str, why: str) -> None:
        """Somebody was not let in."""
        self._audit.record(
            audit_events.contact_refused(
                calling_aet=calling_aet,
                address=address,
                ae_title=self._ae_title,
                rule=rule,
                why=why,
                at=self._clock.now(),
            )
        )

    def receive(self, incoming: IncomingInstance) -> object:
        """As the use case it wraps."""
        try:
            received = self._receive(incoming)
        except RejectedInput:
            self._note(incoming, is_refused=True)
            raise
        self._note(incoming, is_refused=False)
        return received

    def _note(self, incoming: IncomingInstance, *, is_refused: bool) -> None:
        header = incoming.header or InstanceHeader()
        with self._guard:
            carrier = self._open.get(incoming.association_id)
            if carrier is None or not header.study_instance_uid:
                return
            is_first = header.study_instance_uid not in carrier.studies
            arrivals = carrier.studies.setdefault(header.study_instance_uid, _Arrivals(header.patient))
            if is_refused:
                arrivals.refused += 1
            else:
                arrivals.classes.append(incoming.sop_class_uid)
        if is_first:
            self._audit.record(
                audit_events.begin_transfer(
                    source=self._source(carrier),
                    destination=self._ourselves(),
                    study=AuditedStudy(study_instance_uid=header.study_instance_uid),
                    patient=header.patient,
                    at=self._clock.now(),
                )
            )

    def _record_transfer(self, ended: _Open, uid: str, arrivals: _Arrivals, how: str) -> None:
        failures = [f"{arrivals.refused} instances were refused"] if arrivals.refused else []
        failures += [f"the association was {how}"] if how != "released" else []
        self._audit.record(
            audit_events.transferred(
                source=self._source(ended),
                destination=self._ourselves(),
                study=AuditedStudy(study_instance_uid=uid, instances=audit_events.of_classes(arrivals.classes)),
                patient=arrivals.patient,
                at=self._clock.now(),
                failure="; ".join(failures),
            )
        )

    def _source(self, carrier: _Open) -> Participant:
        return Participant(
            user_id=carrier.calling_aet,
            is_requestor=True,
            ae_titles=(carrier.calling_aet,),
            role=Code.SOURCE,
            address=carrier.address,
        )

    def _ourselves(self) -> Participant:
        return Participant(
            user_id="cspine-node", is_requestor=False, ae_titles=(self._ae_title,), role=Code.DESTINATION
        )


class AuditedCarrier:
    """A carrier of results whose transfers are recorded: each attempt in which the peer answered for an object."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        audit: AuditLog,
        uow_factory: UnitOfWorkFactory,
        peers: PeerDirectory,
        clock: Clock,
        ae_title: str,
    ) -> None:
        self._carrier = carrier
        self._audit = audit
        self._uow = uow_factory
        self._peers = peers
        self._clock = clock
        self._ae_title = ae_title

    def carry(self, delivery: Delivery, answers: list[ObjectStatus]) -> Carried:
        """As the carrier it wraps."""
        try:
            carried = self._carrier.carry(delivery, answers)
        except NodeError as error:
            self._record(delivery, answers, failure=str(error))
            raise
        self._record(delivery, answers, failure="")
        return carried

    def _record(self, delivery: Delivery, answers: Iterable[ObjectStatus], *, failure: str) -> None:
        stored = {answer.sop_instance_uid for answer in answers if answer.is_stored}
        if not stored:
            return
        classes = [entry.sop_class_uid for entry in delivery.objects if entry.sop_instance_uid in stored]
        self._audit.record(
            audit_events.transferred(
                source=Participant(
                    user_id="cspine-node", is_requestor=True, ae_titles=(self._ae_title,), role=Code.SOURCE
                ),
                destination=_destination(delivery.peer, self._peers.by_name(delivery.peer)),
                study=AuditedStudy(
                    study_instance_uid=delivery.study_instance_uid, instances=audit_events.of_classes(classes)
                ),
                patient=_patient(self._uow, delivery.study_instance_uid),
                at=self._clock.now(),
                failure=failure,
            )
        )


class AuditedPeers:
    """A directory of peers whose changes are recorded, when they are first seen.

    `record_edits` records who made them, and returns how many edits that were; where nobody knows of any, it is
    recorded that the peers are others.
    """

    def __init__(
        self,
        peers: PeerDirectory,
        *,
        audit: AuditLog,
        clock: Clock,
        ae_title: str,
        source: str,
        record_edits: Callable[[], int] = lambda: 0,
    ) -> None:
        self._peers = peers
        self._record_edits = record_edits
        self._audit = audit
        self._clock = clock
        self._ae_title = ae_title
        self._source = source
        self._known = peers.peers()
        self._guard = threading.Lock()

    def peers(self) -> tuple[Peer, ...]:
        """As the directory it wraps."""
        found = self._peers.peers()
        with self._guard:
            is_changed, self._known = found != self._known, found
        if is_changed and not self._record_edits():
            self._audit.record(
                audit_events.peers_changed(
                    names=[peer.name for peer in found],
                    source=self._source,
                    ae_title=self._ae_title,
                    at=self._clock.now(),
                )
            )
        return found

    def by_name(self, name: str) -> Peer | None:
        """As the directory it wraps."""
        return next((peer for peer in self.peers() if peer.name == name), None)


def record_decision(
    audit: AuditLog, entry: QuarantinedFile, *, who: str, address: str, reading: UnitOfWorkFactory, at: datetime
) -> None:
    """Somebody took a file in that was set aside, or removed it: `entry` as it was settled."""
    patient = _patient(reading, entry.study_instance_uid)
    audit.record(audit_events.decided(user_id=who, address=address, entry=entry, patient=patient, at=at))


def _patient(uow_factory: UnitOfWorkFactory, study_instance_uid: str) -> PatientSummary:
    try:
        with uow_factory() as uow:
            study = uow.studies.get(study_instance_uid)
    except NodeError:
        return PatientSummary()  # what was done is done; that it cannot be told whose it was must not hide it
    return study.patient if study else PatientSummary()


def _destination(name: str, peer: Peer | None) -> Participant:
    if peer is None:
        return Participant(user_id=name, is_requestor=False, role=Code.DESTINATION)
    return Participant(
        user_id=name,
        is_requestor=False,
        ae_titles=(str(peer.ae_title),),
        role=Code.DESTINATION,
        address=peer.host,
    )
