"""The in-memory twin of the database: the test double of the use cases, held to the same contract suite.

`memory_transaction` has the tables and what makes them transactional; here are the repositories over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

from dicom_node.core.history import HistoryEntry
from dicom_node.core.job import UNSETTLED, WITHOUT_RESULT, AnalysisJob, JobState
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.core.tally import Tally, tallied
from storage.memory_accounts import MemoryAccounts
from storage.memory_circuits import MemoryCircuits
from storage.memory_commitments import MemoryCommitments
from storage.memory_deliveries import MemoryDeliveries
from storage.memory_files import MemoryFileStore
from storage.memory_leases import MemoryLeases
from storage.memory_quarantine import MemoryQuarantine
from storage.memory_transaction import Committed, MemoryTransaction
from storage.memory_verdicts import MemoryVerdicts
from storage.memory_worklist import MemoryWorklist

__all__ = ["MemoryDatabase", "MemoryFileStore", "MemoryUnitOfWork"]


class MemoryDatabase:
    """Has what `storage.database.Database` has; gone with the process."""

    def __init__(self) -> None:
        self._state = Committed()

    def unit_of_work(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork(MemoryTransaction(self._state, is_writing=True))

    def reading(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork(MemoryTransaction(self._state, is_writing=False))

    def holds_instance(self, sop_instance_uid: str) -> bool:
        return sop_instance_uid in self._state.tables.instances

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to give back."""


class MemoryUnitOfWork:
    """`UnitOfWork` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction
        studies = _Studies(transaction)
        self.studies = studies
        self.jobs = _Jobs(transaction)
        self.deliveries = MemoryDeliveries(transaction)
        self.history = _History(transaction)
        self.quarantine = MemoryQuarantine(transaction)
        self.circuits = MemoryCircuits(transaction)
        self.commitments = MemoryCommitments(transaction)
        self.accounts = MemoryAccounts(transaction)
        self.verdicts = MemoryVerdicts(transaction)
        self.worklist = MemoryWorklist(transaction, studies.with_derived)

    def commit(self) -> None:
        self._transaction.commit()

    def commit_unsynced(self) -> None:
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
        return None if intake is None else self.with_derived(intake)

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
        return tuple(self.with_derived(intake) for intake in found[offset : offset + limit])

    def oldest(
        self,
        *,
        states: Iterable[StudyState],
        before: datetime,
        after: StudyIntake | None = None,
        limit: int = 100,
    ) -> tuple[StudyIntake, ...]:
        def place(intake: StudyIntake) -> tuple[datetime, str]:
            return intake.last_received_at, intake.study_instance_uid

        wanted = set(states)
        found = [
            intake
            for intake in self._transaction.read().studies.values()
            if intake.state in wanted
            and intake.last_received_at < before
            and (after is None or place(intake) > place(after))
        ]
        return tuple(self.with_derived(intake) for intake in sorted(found, key=place)[:limit])

    def tally(self) -> Mapping[StudyState, Tally]:
        return tallied((each.state, each.last_received_at) for each in self._transaction.read().studies.values())

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

    def add_instances(self, records: Sequence[InstanceRecord]) -> None:
        uids = {record.study_instance_uid for record in records}
        if len(uids) != 1:
            raise ValueError(f"instances of one study are added together, not of {len(uids)}")
        for record in records:
            self.add_instance(record)

    def replace_instance(self, record: InstanceRecord) -> None:
        tables = self._transaction.write(record.received_at)
        known = tables.instances.get(record.sop_instance_uid)
        if known is None or known.study_instance_uid != record.study_instance_uid:
            return
        if tables.files.get(record.file, record.sop_instance_uid) != record.sop_instance_uid:
            self._transaction.conflict("this instance or its file is known already")
        del tables.files[known.file]
        tables.files[record.file] = record.sop_instance_uid
        tables.instances[record.sop_instance_uid] = record

    def remove_instance(self, sop_instance_uid: str) -> None:
        tables = self._transaction.write()
        known = tables.instances.pop(sop_instance_uid, None)
        if known is not None:
            del tables.files[known.file]
            of_study = tables.of_study[known.study_instance_uid]
            tables.of_study[known.study_instance_uid] = tuple(uid for uid in of_study if uid != sop_instance_uid)

    def remove_instances(self, study_instance_uid: str) -> int:
        tables = self._transaction.write()
        uids = tables.of_study.pop(study_instance_uid, ())
        for uid in uids:
            del tables.files[tables.instances.pop(uid).file]
        tables.carriers.pop(study_instance_uid, None)
        return len(uids)

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

    def open_association_count(self) -> int:
        tables = self._transaction.read()
        return len(tables.opened.keys() - tables.closed.keys())

    def forget_open_associations(self, *, at: datetime) -> int:
        tables = self._transaction.write(at)
        still_open = tables.opened.keys() - tables.closed.keys()
        tables.closed.update(dict.fromkeys(still_open, at))
        return len(still_open)

    def with_derived(self, intake: StudyIntake) -> StudyIntake:
        """With what its row does not hold."""
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

    def of_studies(self, study_instance_uids: Sequence[str]) -> Mapping[str, tuple[AnalysisJob, ...]]:
        return {uid: jobs for uid in study_instance_uids if (jobs := self.of_study(uid))}

    def unspoken(self, *, limit: int = 20) -> tuple[AnalysisJob, ...]:
        jobs = sorted(self._transaction.read().jobs.values(), key=lambda job: job.id)
        return tuple(job for job in jobs if job.state in WITHOUT_RESULT and not job.is_told)[:limit]

    def tally(self) -> Mapping[JobState, Tally]:
        jobs = self._transaction.read().jobs.values()
        return tallied((job.state, job.created_at) for job in jobs if job.state in UNSETTLED)

    def latest_results(self, *, limit: int) -> tuple[str, ...]:
        jobs = sorted(self._transaction.read().jobs.values(), key=lambda job: job.id, reverse=True)
        return tuple(job.result_json for job in jobs if job.state is JobState.DONE)[:limit]

    def claim(self, *, owner: str, now: datetime, lease_until: datetime) -> AnalysisJob | None:
        return self._leases.claim(owner=owner, lease_until=lease_until)

    def update(self, job: AnalysisJob, *, expected: AnalysisJob) -> bool:
        return self._leases.update(job, expected=expected)


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
