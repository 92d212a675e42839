"""One attempt at telling a system of a positive result. What is told is built from rows, so nothing else is kept."""

from __future__ import annotations

from dicom_node.app.deliver_results import Carried
from dicom_node.core.delivery import Delivery, ObjectStatus
from dicom_node.core.errors import PeerRefused
from dicom_node.core.notice import notice_id, notice_of
from dicom_node.ports import Notifier, UnitOfWorkFactory


class NoticeCarrier:
    """`deliver_results.Carrier` for one channel of notifications."""

    def __init__(self, *, uow_factory: UnitOfWorkFactory, notifier: Notifier) -> None:
        self._uow = uow_factory
        self._notifier = notifier

    def carry(self, delivery: Delivery, answers: list[ObjectStatus]) -> Carried:
        """The receiver has acknowledged the notice. Raises what `ports.Notifier` raises."""
        with self._uow() as uow:
            job = uow.jobs.get(delivery.job_id)
            intake = uow.studies.get(delivery.study_instance_uid)
        if job is None or intake is None or job.result is None:
            raise PeerRefused(f"{delivery.peer}: the result that was to be told is no longer there")
        notice = notice_of(
            job.result,
            id=notice_id(delivery.channel.value, delivery.study_instance_uid, delivery.revision),
            revision=delivery.revision,
            patient=intake.patient,
            analysed_at=job.finished_at or delivery.created_at,
        )
        return Carried(what=self._notifier.tell(notice))
