"""The in-memory twin of the database: the test double of the use cases, held to the same contract suite.

`memory_transaction` has the tables and what makes them transactional; here are the repositories over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

from dicom_node.core.delivery import Channel, Delivery, DeliveryState, ObjectStatus
from dicom_node.core.finding import ResultObject
from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import WITHOUT_RESULT, AnalysisJob, JobState
from dicom_node.core.shipment import Substitution
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from storage.memory_files import MemoryFileStore
from storage.memory_leases import MemoryLeases
from storage.memory_transaction import Committed, MemoryTransaction

__all__ = ["MemoryDatabase", "MemoryFileStore", "MemoryUnitOfWork"]


class MemoryDatabase:
    """Has what `storage.database.Database` has; gone with the process."""

    def __init__(self) -> None:
        self._state = Committed()

    def unit_of_work(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork(MemoryTransaction(self._state, is_writing=True))

    def reading(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork(MemoryTransaction(self._state, is_writing=False))

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to give back."""


class MemoryUnitOfWork:
    """`UnitOfWork` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self.studies = _Studies(transaction)
        self.jobs = _Jobs(transaction)
        self.deliveries = _Deliveries(transaction)
        self.history = _History(transaction)

    def commit(self) -> None:
        self._transaction.commit()

    def __enter__(self) -> MemoryUnitOfWork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.end()


class _Studies:
    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def get(self, study_instance_uid: str) -> StudyIntake | None:
        intake = self._transaction.read().studies.get(study_instance_uid)
        return None if intake is None else self._with_derived(intake)

    def save(self, intake: StudyIntake) -> None:
        tables = self._transaction.write(intake.first_received_at, intake.last_received_at, intake.closed_at)
        tables.studies[intake.study_instance_uid] = intake

    def list(
        self, *, states: Iterable[StudyState] | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[StudyIntake, ...]:
        wanted = set(StudyState if states is None else states)
        found = [intake for intake in self._transaction.read().studies.values() if intake.state in wanted]
        found.sort(key=lambda intake: intake.study_instance_uid)
        found.sort(key=lambda intake: intake.last_received_at, reverse=True)
        return tuple(self._with_derived(intake) for intake in found[offset : offset + limit])

    def find_instance(self, sop_instance_uid: str) -> InstanceRecord | None:
        return self._transaction.read().instances.get(sop_instance_uid)

    def add_instance(self, record: InstanceRecord) -> None:
        tables = self._transaction.write(record.received_at)
        if record.sop_instance_uid in tables.instances or record.file in tables.files:
            self._transaction.conflict("this instance or its file is known already")
        study = record.study_instance_uid
        tables.instances[record.sop_instance_uid] = record
        tables.files[record.file] = record.sop_instance_uid
        tables.of_study[study] = (*tables.of_study.get(study, ()), record.sop_instance_uid)
        self._transaction.studies_needed.add(study)

    def instances(self, study_instance_uid: str) -> tuple[InstanceRecord, ...]:
        tables = self._transaction.read()
        return tuple(tables.instances[uid] for uid in tables.of_study.get(study_instance_uid, ()))

    def has_file(self, file: Path) -> bool:
        return file in self._transaction.read().files

    def open_association(self, association_id: str, *, calling_aet: str, address: str, at: datetime) -> None:
        tables = self._transaction.write(at)
        if association_id in tables.opened:
            self._transaction.conflict("this association is known already")
        tables.opened[association_id] = at

    def carry(self, association_id: str, study_instance_uid: str) -> None:
        tables = self._transaction.write()
        if association_id not in tables.opened:
            self._transaction.conflict("this association was never opened")
        tables.carriers[study_instance_uid] = tables.carriers.get(study_instance_uid, frozenset()) | {association_id}

    def close_association(self, association_id: str, *, at: datetime, how: str) -> None:
        tables = self._transaction.write(at)
        if association_id in tables.opened:
            tables.closed.setdefault(association_id, at)

    def forget_open_associations(self, *, at: datetime) -> int:
        tables = self._transaction.write(at)
        still_open = tables.opened.keys() - tables.closed.keys()
        tables.closed.update(dict.fromkeys(still_open, at))
        return len(still_open)

    def _with_derived(self, intake: StudyIntake) -> StudyIntake:
        tables, uid = self._transaction.read(), intake.study_instance_uid
        still_open = tables.carriers.get(uid, frozenset()) - tables.closed.keys()
        return replace(
            intake,
            instance_count=len(tables.of_study.get(uid, ())),
            open_associations=tuple(sorted(still_open, key=lambda each: (tables.opened[each], each))),
        )


class _Jobs:
    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        self._leases = MemoryLeases[AnalysisJob, JobState](
            rows=lambda: transaction.read().jobs,
            writable=lambda *times: transaction.write(*times).jobs,
            waiting=JobState.QUEUED,
            working=JobState.RUNNING,
            retry=JobState.RETRY_WAIT,
        )
        self.extend_lease = self._leases.extend_lease
        self.due = self._leases.due
        self.expired = self._leases.expired
        self.leased_by_others = self._leases.leased_by_others

    def add(self, *, study_instance_uid: str, revision: int, created_at: datetime) -> AnalysisJob:
        jobs = self._transaction.write(created_at).jobs
        if any((job.study_instance_uid, job.revision) == (study_instance_uid, revision) for job in jobs.values()):
            self._transaction.conflict("this revision of the study has a job already")
        job = AnalysisJob(
            id=len(jobs) + 1,
            study_instance_uid=study_instance_uid,
            revision=revision,
            state=JobState.QUEUED,
            attempt=0,
            created_at=created_at,
        )
        jobs[job.id] = job
        return job

    def get(self, job_id: int) -> AnalysisJob | None:
        return self._transaction.read().jobs.get(job_id)

    def of_study(self, study_instance_uid: str) -> tuple[AnalysisJob, ...]:
        jobs = self._transaction.read().jobs.values()
        found = (job for job in jobs if job.study_instance_uid == study_instance_uid)
        return tuple(sorted(found, key=lambda job: job.revision))

    def unspoken(self, *, limit: int = 20) -> tuple[AnalysisJob, ...]:
        jobs = sorted(self._transaction.read().jobs.values(), key=lambda job: job.id)
        return tuple(job for job in jobs if job.state in WITHOUT_RESULT and not job.is_told)[:limit]

    def claim(self, *, owner: str, now: datetime, lease_until: datetime) -> AnalysisJob | None:
        return self._leases.claim(owner=owner, lease_until=lease_until)

    def update(self, job: AnalysisJob, *, expected: AnalysisJob) -> bool:
        return self._leases.update(job, expected=expected)


class _Deliveries:
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
        )
        tables.deliveries[delivery.id] = delivery
        return delivery

    def get(self, delivery_id: int) -> Delivery | None:
        return self._transaction.read().deliveries.get(delivery_id)

    def of_study(self, study_instance_uid: str) -> tuple[Delivery, ...]:
        deliveries = self._transaction.read().deliveries.values()
        found = (each for each in deliveries if each.study_instance_uid == study_instance_uid)
        return tuple(sorted(found, key=lambda each: (each.revision, each.id)))

    def list(self, *, limit: int = 100, offset: int = 0) -> tuple[Delivery, ...]:
        deliveries = self._transaction.read().deliveries.values()
        newest_first = sorted(deliveries, key=lambda each: (each.created_at, each.id), reverse=True)
        return tuple(newest_first[offset : offset + limit])

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        lease_until: datetime,
        busy_peers: Iterable[str] = (),
        channels: Iterable[Channel] = tuple(Channel),
    ) -> Delivery | None:
        busy, ours = set(busy_peers), set(channels)
        return self._leases.claim(
            owner=owner,
            lease_until=lease_until,
            where=lambda each: each.peer not in busy and each.channel in ours,
        )

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


class _History:
    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def append(self, entry: HistoryEntry) -> None:
        history = self._transaction.write(entry.at).history
        history[len(history)] = entry

    def of_study(self, study_instance_uid: str) -> tuple[HistoryEntry, ...]:
        entries = self._transaction.read().history.values()
        subject = f"study:{study_instance_uid}"
        found = (each for each in entries if each.study_instance_uid == study_instance_uid or each.subject == subject)
        return tuple(sorted(found, key=lambda each: each.at))


def _in_order(delivery: Delivery) -> tuple[ObjectStatus, ...]:
    """The statuses in the order of the objects."""
    place = {each.sop_instance_uid: index for index, each in enumerate(delivery.objects)}
    return tuple(sorted(delivery.statuses, key=lambda each: place.get(each.sop_instance_uid, len(place))))
