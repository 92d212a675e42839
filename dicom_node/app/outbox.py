"""The deliveries of a job: written in the transaction that ends the job, so that neither exists without the other."""

from __future__ import annotations

from datetime import datetime

from dicom_node.app.moves import NODE, move_delivery, note
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.finding import ResultObject
from dicom_node.core.job import AnalysisJob
from dicom_node.core.transitions import DeliveryEvent
from dicom_node.ports import UnitOfWork


def predecessor_of(uow: UnitOfWork, job: AnalysisJob) -> tuple[ResultObject, ...]:
    """The objects of the newest earlier revision of which any peer holds one."""
    held = [
        delivery
        for delivery in uow.deliveries.of_study(job.study_instance_uid)
        if delivery.revision < job.revision and any(status.is_stored for status in delivery.statuses)
    ]
    if not held:
        return ()
    return max(held, key=lambda delivery: delivery.revision).objects


def replace_older_deliveries(uow: UnitOfWork, job: AnalysisJob, now: datetime, actor: str) -> None:
    """An older result that still waits is not sent after a newer one; one on its way is let go on."""
    for delivery in uow.deliveries.of_study(job.study_instance_uid):
        is_waiting = delivery.state in (DeliveryState.PENDING, DeliveryState.RETRY_WAIT)
        if delivery.revision < job.revision and is_waiting:
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
    uow: UnitOfWork, job: AnalysisJob, peer: str, objects: tuple[ResultObject, ...], now: datetime
) -> None:
    """A PENDING delivery of `objects` to `peer`, with its history."""
    delivery = uow.deliveries.add(
        job_id=job.id,
        study_instance_uid=job.study_instance_uid,
        revision=job.revision,
        peer=peer,
        objects=objects,
        created_at=now,
    )
    note(
        uow,
        f"delivery:{delivery.id}",
        "queued",
        at=now,
        from_state="",
        to_state=DeliveryState.PENDING.value,
        reason=f"results go to {peer}",
        actor=NODE,
        study_instance_uid=job.study_instance_uid,
    )
