"""Take one queued job, analyse its study, encode the result and put the deliveries into the outbox.

Everything between the claim and the last transaction can run twice: the analysis reads files that do not change, the
encoder derives its UIDs from study, revision and bundle, and the last transaction writes only while the lease is
still ours. A kill anywhere leaves a lease that runs out (or is taken back at the next start).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from dicom_node.app import counting
from dicom_node.app.leases import Heartbeat, failures_so_far
from dicom_node.app.moves import move_job, note
from dicom_node.app.outbox import Outbox, predecessor_of
from dicom_node.app.result_json import ResultJson, failed_json, result_json
from dicom_node.core.decode_ahead import is_worth_decoding
from dicom_node.core.errors import NodeError, PermanentError, StorageUnavailable, TransientError
from dicom_node.core.finding import AnalysisResult, Outcome, ResultObject
from dicom_node.core.identifiers import study_key
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.retry import GiveUp, RetryAt, RetryPolicy, next_attempt
from dicom_node.core.routing import facts_of
from dicom_node.core.study import InstanceRecord
from dicom_node.core.transitions import JobEvent
from dicom_node.ports import (
    AnalysisRequest,
    Analyzer,
    Clock,
    Counters,
    DecodedFrames,
    FileStore,
    ResultEncoder,
    UnitOfWork,
    UnitOfWorkFactory,
)

log = structlog.get_logger(__name__)

_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@dataclass(frozen=True, kw_only=True)
class AnalysisPolicy:
    """`unknown` is for exceptions that nobody foresaw: few tries, then somebody must look.

    `storage` is for a disk that is full or a database that is away: not the study's fault, so it is tried until the
    disk has space again, and the reason shows meanwhile.
    """

    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(base_s=10.0, factor=3.0, max_attempts=3))
    unknown: RetryPolicy = field(default_factory=lambda: RetryPolicy(base_s=10.0, max_attempts=2))
    storage: RetryPolicy = field(default_factory=lambda: RetryPolicy(cap_s=300.0, max_attempts=1_000_000))
    lease_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class _Answer:
    result: AnalysisResult
    objects: tuple[ResultObject, ...]
    report: ResultJson


@dataclass(frozen=True, kw_only=True)
class _Failure:
    message: str
    policy: RetryPolicy | None  # None: trying again changes nothing
    event: JobEvent = JobEvent.TRANSIENT_ERROR  # GIVEN_BACK: nothing that could be held against the study


class RunAnalysis:
    """The analysis worker. Several may run at once, each calling `step` in a loop."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        analyzer: Analyzer,
        encoder: ResultEncoder,
        outbox: Outbox,
        clock: Clock,
        counters: Counters,
        policy: AnalysisPolicy,
        owner: str,
        randomness: Callable[[], float],
        decoded: DecodedFrames | None = None,
    ) -> None:
        """`owner` names this life of the node in leases; `randomness` gives numbers in [0, 1). `decoded`: where frames
        may lie that were decoded ahead."""
        self._uow = uow_factory
        self._files = files
        self._analyzer = analyzer
        self._encoder = encoder
        self._outbox = outbox
        self._clock = clock
        self._counters = counters
        self._policy = policy
        self._owner = owner
        self._randomness = randomness
        self._decoded = decoded

    def step(self, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Run one attempt of the oldest queued job; False where none is queued.

        `is_stopping` turning True ends the analysis and gives the job back. Raises StorageUnavailable where the
        outcome cannot be written: the lease then runs out and the job is tried again.
        """
        job = self._claim()
        if job is None:
            return False
        started_at = self._clock.now()
        with self._heartbeat(job) as heartbeat:
            outcome = self._attempt(job, started_at, lambda: heartbeat.is_lost or is_stopping())
        # A lease that seemed lost may still be ours; the conditional update of the outcome knows.
        if isinstance(outcome, _Answer):
            self._settle(job, outcome)
        elif is_stopping():
            self._give_back(job)
        else:
            self._fail(job, outcome)
        self._counters.observe(counting.ANALYSIS_SECONDS, (self._clock.now() - started_at).total_seconds())
        return True

    def _claim(self) -> AnalysisJob | None:
        now = self._clock.now()
        with self._uow() as uow:
            job = uow.jobs.claim(owner=self._owner, now=now, lease_until=self._lease_end(now))
            if job is None:
                return None
            note(
                uow,
                f"job:{job.id}",
                JobEvent.LEASED.value,
                at=self._clock.now(),  # not `now`: the claim may have waited for who closed the study
                from_state=JobState.QUEUED.value,
                to_state=job.state.value,
                reason=f"attempt {job.attempt}",
                actor=self._owner,
                study_instance_uid=job.study_instance_uid,
            )
            uow.commit()
        log.info("analysis_started", study=study_key(job.study_instance_uid), job=job.id, attempt=job.attempt)
        return job

    def _lease_end(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._policy.lease_s)

    def _heartbeat(self, job: AnalysisJob) -> Heartbeat:
        def extend(until: datetime) -> bool:
            with self._uow() as uow:
                is_ours = uow.jobs.extend_lease(job.id, owner=self._owner, until=until)
                uow.commit()
                return is_ours

        until = job.lease.expires_at if job.lease else self._lease_end(self._clock.now())
        return Heartbeat(extend, clock=self._clock, lease_s=self._policy.lease_s, until=until, name=f"job-{job.id}")

    def _attempt(self, job: AnalysisJob, started_at: datetime, is_cancelled: Callable[[], bool]) -> _Answer | _Failure:
        """The step runner: whatever goes wrong becomes a _Failure that says what happens next."""
        try:
            return self._analyse(job, started_at, is_cancelled)
        except StorageUnavailable as error:
            return _Failure(message=_sentence(error), policy=self._policy.storage, event=JobEvent.GIVEN_BACK)
        except TransientError as error:
            return _Failure(message=_sentence(error), policy=self._policy.retry)
        except NodeError as error:
            return _Failure(message=_sentence(error), policy=None)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
                return _Failure(
                    message=f"the disk refuses: {error.strerror}",
                    policy=self._policy.storage,
                    event=JobEvent.GIVEN_BACK,
                )
            log.exception("analysis_step_crashed", study=study_key(job.study_instance_uid), job=job.id)
            # The text of an unforeseen exception may quote a data set, so only its kind goes into the row.
            return _Failure(
                message=f"unexpected {type(error).__name__}; the log of job {job.id} tells more",
                policy=self._policy.unknown,
            )

    def _analyse(self, job: AnalysisJob, started_at: datetime, is_cancelled: Callable[[], bool]) -> _Answer:
        attempt = f"attempt-{job.attempt}"
        work_dir = self._files.job_folder(job.id, attempt)
        with self._uow() as uow:
            instances = uow.studies.instances(job.study_instance_uid)
            predecessor = predecessor_of(uow, job)
        request = AnalysisRequest(
            study_instance_uid=job.study_instance_uid,
            revision=job.revision,
            files=tuple(self._files.absolute(instance.file) for instance in instances),
            work_dir=work_dir,
            decoded=self._decoded_ahead(instances),
        )
        result = self._analyzer.analyse(request, is_cancelled=is_cancelled)
        if result.outcome is Outcome.FAILED:
            raise PermanentError(result.reason or "the analysis gave no reason")
        analysed_at = self._clock.now()
        objects: tuple[ResultObject, ...] = ()
        if result.outcome is Outcome.ANALYSED:
            objects = self._encode(
                job, result, started_at, self._files.job_folder(job.id, attempt, "objects"), predecessor
            )
        ended_at = self._clock.now()
        report = result_json(
            result,
            objects,
            encode_s=(ended_at - analysed_at).total_seconds(),
            total_s=(ended_at - started_at).total_seconds(),
        )
        return _Answer(result=result, objects=objects, report=report)

    def _decoded_ahead(self, instances: Sequence[InstanceRecord]) -> dict[Path, Path]:
        if self._decoded is None:
            return {}
        return {
            self._files.absolute(instance.file): self._decoded.file(instance.digest)
            for instance in instances
            if is_worth_decoding(instance)
        }

    def _encode(
        self,
        job: AnalysisJob,
        result: AnalysisResult,
        created_at: datetime,
        out_dir: Path,
        predecessor: tuple[ResultObject, ...],
    ) -> tuple[ResultObject, ...]:
        return self._encoder.encode(
            result, revision=job.revision, created_at=created_at, out_dir=out_dir, predecessor=predecessor
        )

    def _settle(self, job: AnalysisJob, answer: _Answer) -> None:
        """Result and deliveries in one transaction, or neither."""
        is_analysed = answer.result.outcome is Outcome.ANALYSED
        now = self._clock.now()
        with self._uow() as uow:
            destinations = self._outbox.route(uow, job.study_instance_uid, facts_of(answer.result))
            moved = move_job(
                uow,
                job,
                JobEvent.SUCCEEDED if is_analysed else JobEvent.NOTHING_ELIGIBLE,
                at=now,
                reason=destinations.why if is_analysed else answer.result.reason or "",
                actor=self._owner,
                result_json=json.dumps(answer.report),
                failure="",
                finished_at=now,
                next_attempt_at=None,
            )
            if moved is None:
                self._throw_away(job)
                return
            if is_analysed:
                self._outbox.put_result(
                    uow, job, answer.result, answer.objects, to=destinations, now=now, actor=self._owner
                )
            uow.commit()
        self._count_frames(answer.result)
        if is_analysed:
            self._observe(answer)
        self._count(job, "done" if is_analysed else "skipped", why=destinations.why if is_analysed else "")

    def _count_frames(self, result: AnalysisResult) -> None:
        for decoded, frames in (("ahead", result.frames_decoded_ahead), ("then", result.frames_decoded_then)):
            for _ in range(frames):
                self._counters.count(counting.FRAMES_READ, decoded=decoded)

    def _observe(self, answer: _Answer) -> None:
        """Each stage's time and each score, once the result is kept."""
        for stage, seconds in answer.report["timings_s"].items():
            self._counters.observe(counting.STAGE_SECONDS, seconds, stage=stage)
        scores = [(finding.level, finding.probability) for finding in answer.result.findings]
        for level, probability in (("patient_overall", answer.result.overall_probability), *scores):
            if probability is not None:
                self._counters.observe(counting.SCORE, probability, level=level)

    def _fail(self, job: AnalysisJob, failure: _Failure) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            event, changes = self._next(uow, job, failure, now)
            message = str(changes["failure"])
            if move_job(uow, job, event, at=now, reason=message, actor=self._owner, **changes) is None:
                self._throw_away(job)
                return
            uow.commit()
        if event is failure.event:
            self._count(job, "retry_wait", why=message)
        else:
            self._counters.count(counting.JOBS_FINISHED, outcome="failed")
            log.error("analysis_failed", study=study_key(job.study_instance_uid), job=job.id, why=message)

    def _next(
        self, uow: UnitOfWork, job: AnalysisJob, failure: _Failure, now: datetime
    ) -> tuple[JobEvent, dict[str, object]]:
        if failure.policy is None:
            return JobEvent.PERMANENT_ERROR, _final(job, failure.message, now)
        failed_before = failures_so_far(uow, f"job:{job.id}", job.study_instance_uid, failure.event.value)
        match next_attempt(failed_before + 1, now, failure.policy, self._randomness()):
            case RetryAt(at=at):
                return failure.event, {"failure": failure.message, "next_attempt_at": at}
            case GiveUp(why=why):
                return JobEvent.ATTEMPTS_EXHAUSTED, _final(job, f"{failure.message}; {why}", now)

    def _give_back(self, job: AnalysisJob) -> None:
        now = self._clock.now()
        with self._uow() as uow:
            moved = move_job(
                uow,
                job,
                JobEvent.GIVEN_BACK,
                at=now,
                reason="the node stopped and gave its lease back",
                actor=self._owner,
                next_attempt_at=now,
            )
            if moved is not None:
                uow.commit()
        log.info("analysis_given_back", study=study_key(job.study_instance_uid), job=job.id)

    def _throw_away(self, job: AnalysisJob) -> None:
        self._count(job, "lost", why="the lease went to another; the result is thrown away")

    def _count(self, job: AnalysisJob, outcome: str, *, why: str) -> None:
        self._counters.count(counting.JOBS_FINISHED, outcome=outcome)
        log.info("analysis_ended", study=study_key(job.study_instance_uid), job=job.id, outcome=outcome, why=why)


def _final(job: AnalysisJob, message: str, now: datetime) -> dict[str, object]:
    return {
        "failure": message,
        "finished_at": now,
        "next_attempt_at": None,
        "result_json": json.dumps(failed_json(job.study_instance_uid, message)),
    }


def _sentence(error: NodeError) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
