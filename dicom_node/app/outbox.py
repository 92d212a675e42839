"""What a job has to say and to whom: written in the transaction that ends the job, so that neither exists without the
other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.app.moves import NODE, move_delivery, note
from dicom_node.core.delivery import Channel, Delivery, DeliveryState
from dicom_node.core.finding import AnalysisResult, ResultObject
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.peer import Peer
from dicom_node.core.routing import (
    Destination,
    ResultClass,
    ResultFacts,
    Route,
    RoutingRule,
    StudyFacts,
    facts_of,
    route,
)
from dicom_node.core.shipment import Shipment
from dicom_node.core.transitions import DeliveryEvent
from dicom_node.ports import PeerDirectory, UnitOfWork


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """Chooses receivers and writes their deliveries. `notifies` are the channels that are told of a positive."""

    peers: PeerDirectory
    rules: tuple[RoutingRule, ...] = ()
    notifies: tuple[Channel, ...] = ()

    def route(self, uow: UnitOfWork, study_instance_uid: str, result: ResultFacts) -> Route:
        """Who gets a result of this study."""
        return route(self.peers.peers(), self.rules, study_facts(uow, study_instance_uid), result)

    def put_result(
        self,
        uow: UnitOfWork,
        job: AnalysisJob,
        result: AnalysisResult,
        objects: tuple[ResultObject, ...],
        *,
        to: Route,
        now: datetime,
        actor: str,
    ) -> None:
        """The deliveries of an analysed study, and the notifications where it is positive."""
        replace_older_deliveries(uow, job, now, actor)
        known = {peer.name: peer for peer in self.peers.peers()}
        is_positive = facts_of(result).result is ResultClass.POSITIVE
        for destination in to.destinations:
            peer = known.get(destination.peer)
            if peer is None or Shipment(objects=objects, choice=peer.objects).candidates:
                add_delivery(uow, job, destination, objects, now, is_urgent=is_positive)
            else:
                _note_nothing_for(uow, job, peer, now)
        if is_positive:
            for channel in self.notifies:
                told = Destination(peer=channel.value, why="the result is positive")
                add_delivery(uow, job, told, (), now, channel=channel, is_urgent=True)

    def status_destinations(self, uow: UnitOfWork, job: AnalysisJob) -> tuple[Destination, ...]:
        """Who is told that this job ended without a result: of those who would get one, the peers that ask for it."""
        known = {peer.name: peer for peer in self.peers.peers()}
        to = self.route(uow, job.study_instance_uid, ResultFacts(result=ResultClass.NOT_ANALYSED))
        return tuple(entry for entry in to.destinations if known[entry.peer].status_reports)


def _note_nothing_for(uow: UnitOfWork, job: AnalysisJob, peer: Peer, now: datetime) -> None:
    """A peer that is given suspicion segmentations alone has nothing to get of a negative study."""
    note(
        uow,
        f"job:{job.id}",
        "nothing_for_peer",
        at=now,
        from_state=JobState.DONE.value,
        to_state=JobState.DONE.value,
        reason=f"{peer.name} is given {peer.objects}, and this result has none of these",
        actor=NODE,
        study_instance_uid=job.study_instance_uid,
    )


def study_facts(uow: UnitOfWork, study_instance_uid: str) -> StudyFacts:
    """What rules look at in a study."""
    intake = uow.studies.get(study_instance_uid)
    instances = uow.studies.instances(study_instance_uid)

    def distinct(values: list[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value for value in values if value))

    return StudyFacts(
        calling_aets=distinct([instance.calling_aet for instance in instances]),
        modalities=distinct([instance.modality for instance in instances]),
        body_parts=distinct([instance.body_part_examined for instance in instances]),
        stations=distinct([instance.station_name for instance in instances]),
        description=intake.patient.study_description if intake else "",
    )


def predecessor_of(uow: UnitOfWork, job: AnalysisJob) -> tuple[ResultObject, ...]:
    """The objects of the newest earlier revision of which any peer holds one."""
    held = [
        delivery
        for delivery in uow.deliveries.of_study(job.study_instance_uid)
        if delivery.revision < job.revision and delivery.stored and not delivery.says_status_only
    ]
    if not held:
        return ()
    return max(held, key=lambda delivery: delivery.revision).objects


def replace_older_deliveries(uow: UnitOfWork, job: AnalysisJob, now: datetime, actor: str) -> None:
    """An older result that still waits is not sent after a newer one; one on its way is let go on.

    That an earlier try of this very job came to nothing is not told after its result either.
    """
    for delivery in uow.deliveries.of_study(job.study_instance_uid):
        is_waiting = delivery.state in (DeliveryState.PENDING, DeliveryState.RETRY_WAIT)
        if delivery.revision <= job.revision and is_waiting:
            move_delivery(
                uow,
                delivery,
                DeliveryEvent.SUPERSEDED,
                at=now,
                reason=f"revision {job.revision} has a result",
                actor=actor,
                next_attempt_at=None,
                finished_at=now,
            )


def add_delivery(
    uow: UnitOfWork,
    job: AnalysisJob,
    to: Destination,
    objects: tuple[ResultObject, ...],
    now: datetime,
    channel: Channel = Channel.OBJECTS,
    is_urgent: bool = False,
    actor: str = NODE,
) -> Delivery:
    """A PENDING delivery of `objects` to this destination, with its history."""
    before = [
        delivery.round
        for delivery in uow.deliveries.of_study(job.study_instance_uid)
        if (delivery.job_id, delivery.channel, delivery.peer) == (job.id, channel, to.peer)
    ]
    delivery = uow.deliveries.add(
        job_id=job.id,
        study_instance_uid=job.study_instance_uid,
        revision=job.revision,
        peer=to.peer,
        objects=objects,
        created_at=now,
        channel=channel,
        route=to.route,
        round=max(before, default=0) + 1,
        is_urgent=is_urgent,
    )
    note(
        uow,
        f"delivery:{delivery.id}",
        "queued",
        at=now,
        from_state="",
        to_state=DeliveryState.PENDING.value,
        reason=to.why,
        actor=actor,
        study_instance_uid=job.study_instance_uid,
    )
    return delivery
