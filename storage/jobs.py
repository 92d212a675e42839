"""Analysis jobs in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, insert, select

from dicom_node.core.job import UNSETTLED, WITHOUT_RESULT, AnalysisJob, JobState
from dicom_node.core.tally import Tally
from storage.leases import LeasedTable
from storage.mapping import job_from, job_values
from storage.rows import JobRow, table_of
from storage.transaction import Transaction

_job = table_of(JobRow)
_leased = LeasedTable(
    _job, waiting=JobState.QUEUED.value, working=JobState.RUNNING.value, retry=JobState.RETRY_WAIT.value
)
_FRESH = {
    "state": JobState.QUEUED.value,
    "attempt": 0,
    "next_attempt_at": None,
    "lease_owner": None,
    "lease_expires_at": None,
    "failure": "",
    "finished_at": None,
    "reason": "",
    "result_json": "",
    "is_told": False,
}
_WITHOUT_RESULT = tuple(state.value for state in WITHOUT_RESULT)


class Jobs:
    """`JobRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, *, study_instance_uid: str, revision: int, created_at: datetime) -> AnalysisJob:
        values = {"study_instance_uid": study_instance_uid, "revision": revision, "created_at": created_at}
        self._transaction.touch(study_instance_uid)
        return job_from(self._transaction.write(insert(_job).values(_FRESH | values).returning(_job)).mappings().one())

    def get(self, job_id: int) -> AnalysisJob | None:
        row = self._transaction.read(select(_job).where(_job.c.id == job_id)).mappings().one_or_none()
        return None if row is None else job_from(row)

    def of_study(self, study_instance_uid: str) -> tuple[AnalysisJob, ...]:
        of_study = _job.c.study_instance_uid == study_instance_uid
        rows = self._transaction.read(select(_job).where(of_study).order_by(_job.c.revision)).mappings()
        return tuple(job_from(row) for row in rows)

    def of_studies(self, study_instance_uids: Sequence[str]) -> Mapping[str, tuple[AnalysisJob, ...]]:
        """As `of_study`, of many with one statement; those without a job are left out."""
        of_these = _job.c.study_instance_uid.in_(study_instance_uids)
        found: dict[str, tuple[AnalysisJob, ...]] = defaultdict(tuple)
        for row in self._transaction.read(select(_job).where(of_these).order_by(_job.c.revision)).mappings():
            found[row["study_instance_uid"]] += (job_from(row),)
        return found

    def claim(self, *, owner: str, now: datetime, lease_until: datetime) -> AnalysisJob | None:
        """`now` decides nothing here: a QUEUED job is due by definition."""
        row = _leased.claim(self._transaction, owner=owner, lease_until=lease_until)
        if row is None:
            return None
        self._transaction.touch(row["study_instance_uid"])
        return job_from(row)

    def extend_lease(self, job_id: int, *, owner: str, until: datetime) -> bool:
        return _leased.extend_lease(self._transaction, job_id, owner=owner, until=until)

    def unspoken(self, *, limit: int = 20) -> tuple[AnalysisJob, ...]:
        """Oldest first."""
        silent = _job.c.state.in_(_WITHOUT_RESULT) & ~_job.c.is_told
        rows = self._transaction.read(select(_job).where(silent).order_by(_job.c.id).limit(limit)).mappings()
        return tuple(job_from(row) for row in rows)

    def tally(self) -> Mapping[JobState, Tally]:
        counted = (func.count().label("count"), func.min(_job.c.created_at).label("oldest"))
        is_unsettled = _job.c.state.in_([state.value for state in UNSETTLED])
        statement = select(_job.c.state, *counted).where(is_unsettled).group_by(_job.c.state)
        rows = self._transaction.read(statement).mappings()
        return {JobState(row["state"]): Tally(count=row["count"], oldest=row["oldest"]) for row in rows}

    def latest_results(self, *, limit: int) -> tuple[str, ...]:
        is_done = _job.c.state == JobState.DONE.value
        statement = select(_job.c.result_json).where(is_done).order_by(_job.c.id.desc()).limit(limit)
        return tuple(self._transaction.read(statement).scalars())

    def update(self, job: AnalysisJob, *, expected: AnalysisJob) -> bool:
        self._transaction.touch(expected.study_instance_uid)
        return _leased.update(self._transaction, job_values(job), expected=expected)

    def due(self, now: datetime) -> tuple[AnalysisJob, ...]:
        return tuple(job_from(row) for row in _leased.due(self._transaction, now))

    def expired(self, now: datetime) -> tuple[AnalysisJob, ...]:
        return tuple(job_from(row) for row in _leased.expired(self._transaction, now))

    def leased_by_others(self, owner: str, *, owner_prefix: str) -> tuple[AnalysisJob, ...]:
        rows = _leased.leased_by_others(self._transaction, owner, owner_prefix=owner_prefix)
        return tuple(job_from(row) for row in rows)
