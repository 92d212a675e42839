"""Remove finished studies: those older than allowed, and the oldest of them while the disk has too little room.

A study's rows go first, in one transaction with the line in its history, then its files. A kill in between leaves files
without rows: the start-up sweep, `doctor` and, for results, the first tick of the next life know that their study is
purged and remove them. The other order would leave rows without files, and a sender that repeats an image would be
told Success for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from dicom_node.app import counting
from dicom_node.app.moves import move_study
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.identifiers import study_key
from dicom_node.core.quarantine import QuarantineState
from dicom_node.core.retention import StudyFacts, why_kept
from dicom_node.core.study import StudyIntake, StudyState
from dicom_node.core.transitions import StudyEvent
from dicom_node.ports import Clock, Counters, FileStore, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class RetentionPolicy:
    """None switches a rule off. By age: older than `maximum_age`. By space: below `minimum_free_bytes`.

    Nothing is younger than `minimum_age` when it goes. Age counts from the last thing that happened to the study.
    """

    maximum_age: timedelta | None = None
    minimum_free_bytes: int | None = None
    minimum_age: timedelta = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class _Removed:
    files: tuple[Path, ...]
    jobs: tuple[int, ...]


class ApplyRetention:
    """The tick that removes. `hold` yields whether removing is allowed now, and forbids a backup meanwhile."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        clock: Clock,
        counters: Counters,
        policy: RetentionPolicy,
        on_purged: Callable[[StudyIntake], None] = lambda study: None,
        hold: Callable[[], AbstractContextManager[bool]] = lambda: nullcontext(True),
    ) -> None:
        self._uow = uow_factory
        self._files = files
        self._clock = clock
        self._counters = counters
        self._policy = policy
        self._on_purged = on_purged
        self._hold = hold
        self._has_ended_earlier = False

    def tick(self) -> int:
        """Remove what may go and must; returns how many studies that were."""
        if self._policy.maximum_age is None and self._policy.minimum_free_bytes is None:
            return 0
        with self._hold() as may_remove:
            if not may_remove:
                return 0
            self._end_what_was_begun()
            return self._by_age() + self._by_space()

    def _end_what_was_begun(self) -> None:
        """Once a life: results of studies that an earlier one had purged when it ended, or lost power."""
        if self._has_ended_earlier:
            return
        for job_id in self._files.job_folders():
            with self._uow() as uow:
                job = uow.jobs.get(job_id)
                study = uow.studies.get(job.study_instance_uid) if job is not None else None
            if study is not None and study.state is StudyState.PURGED:
                self._remove_files(_Removed(files=(), jobs=(job_id,)))
        self._has_ended_earlier = True

    def _by_age(self) -> int:
        age = self._policy.maximum_age
        if age is None:
            return 0
        oldest_allowed = max(age, self._policy.minimum_age)
        why = f"nothing happened to it for {_days(oldest_allowed)}"
        return sum(self._remove(study, why, oldest_allowed) for study in self._oldest(oldest_allowed))

    def _by_space(self) -> int:
        wanted = self._policy.minimum_free_bytes
        if wanted is None or self._files.free_bytes() >= wanted:
            return 0
        removed = 0
        why = f"fewer than {wanted} bytes were free"
        for study in self._oldest(self._policy.minimum_age):
            removed += self._remove(study, why, self._policy.minimum_age)
            if self._files.free_bytes() >= wanted:
                return removed
        log.error(
            "retention_finds_nothing_more",
            free_bytes=self._files.free_bytes(),
            wanted_bytes=wanted,
            effect="what is left is unfinished, undelivered or too young; C-STORE is refused when space runs out",
        )
        return removed

    def _oldest(self, age: timedelta) -> Iterator[StudyIntake]:
        """Closed studies that received nothing for `age`, the longest waiting first."""
        before = self._clock.now() - age
        after: StudyIntake | None = None
        while True:
            with self._uow() as uow:
                page = uow.studies.oldest(states=[StudyState.CLOSED], before=before, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1]

    def _remove(self, study: StudyIntake, why: str, age: timedelta) -> int:
        now = self._clock.now()
        with self._uow() as uow:
            removed = _forget(uow, study.study_instance_uid, why, now, moved_before=now - age)
            if removed is None:
                return 0
            uow.commit()
        self._remove_files(removed)
        self._counters.count(counting.STUDIES_PURGED)
        self._on_purged(study)
        log.info("study_purged", study=study_key(study.study_instance_uid), files=len(removed.files), why=why)
        return 1

    def _remove_files(self, removed: _Removed) -> None:
        try:
            for path in removed.files:
                self._files.discard(path)
            for job_id in removed.jobs:
                self._files.discard_job_folder(job_id)
        except StorageUnavailable as error:
            log.warning("purged_files_left_for_the_next_start", why=str(error))


def facts_of(uow: UnitOfWork, study: StudyIntake) -> StudyFacts:
    """What there is to decide from."""
    uid = study.study_instance_uid
    return StudyFacts(
        study=study,
        jobs=uow.jobs.of_study(uid),
        deliveries=uow.deliveries.of_study(uid),
        has_quarantine=bool(uow.quarantine.list(states=[QuarantineState.HELD], study_instance_uid=uid, limit=1)),
        awaits_report=_awaits_report(uow, uid),
    )


def _forget(
    uow: UnitOfWork, study_instance_uid: str, why: str, now: datetime, *, moved_before: datetime
) -> _Removed | None:
    """The rows of the study's images are gone and its history says why; None where it must stay. The caller commits."""
    study = uow.studies.get(study_instance_uid)
    if study is None:
        return None
    facts = facts_of(uow, study)
    if facts.last_moved_at > moved_before or why_kept(facts):
        return None
    instances = uow.studies.instances(study_instance_uid)
    reason = f"{why}; {len(instances)} images and the files of {len(facts.jobs)} analyses were removed"
    uow.studies.remove_instances(study_instance_uid)
    move_study(uow, study, StudyEvent.RETENTION_ELAPSED, at=now, reason=reason)
    return _Removed(files=tuple(each.file for each in instances), jobs=tuple(job.id for job in facts.jobs))


def _awaits_report(uow: UnitOfWork, study_instance_uid: str) -> bool:
    asked = {ref.sop_instance_uid for duty in uow.commitments.open_duties() for ref in duty.references}
    return bool(asked) and any(each.sop_instance_uid in asked for each in uow.studies.instances(study_instance_uid))


def _days(age: timedelta) -> str:
    return f"{age / timedelta(days=1):g} days"
