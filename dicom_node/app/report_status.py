"""Tell the peers that ask for it of studies that were not analysed, so that silence never looks like a negative.

Rows decide: a job that ended without a result and of which nobody was told is taken up here, whoever ended it (the
analysis itself, an operator, or a worker that was lost too often). Encoding can run twice, because its UIDs depend on
the study, the revision and the reason; that the peers are told and that the job counts as told is one transaction.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import structlog

from dicom_node.app.moves import NODE, note
from dicom_node.app.outbox import Outbox, add_delivery
from dicom_node.core.errors import EncodingInvalid, TransientError
from dicom_node.core.finding import (
    AnalysisResult,
    BundleIdentity,
    Outcome,
    ResultKind,
    ResultObject,
    SelectionRecord,
    SourceSlice,
)
from dicom_node.core.identifiers import study_key
from dicom_node.core.job import AnalysisJob, JobState
from dicom_node.core.study import InstanceRecord
from dicom_node.ports import Clock, FileStore, ResultEncoder, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_OUTCOMES = {
    JobState.SKIPPED: Outcome.NOT_APPLICABLE,
    JobState.FAILED: Outcome.FAILED,
    JobState.CANCELLED: Outcome.NOT_RUN,
}


class ReportStatus:
    """The tick that tells of studies without a result."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        encoder: ResultEncoder,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        """`encoder` makes a STATUS_SR of a result that was not analysed (see `core.peer.kinds_on_request`)."""
        self._uow = uow_factory
        self._files = files
        self._encoder = encoder
        self._outbox = outbox
        self._clock = clock

    def tick(self) -> int:
        """Take up every job of which nobody was told; returns how many peers will be."""
        with self._uow() as uow:
            jobs = uow.jobs.unspoken()
        return sum(self._tell(job) for job in jobs)

    def _tell(self, job: AnalysisJob) -> int:
        with self._uow() as uow:
            destinations = self._outbox.status_destinations(uow, job)
            instances = uow.studies.instances(job.study_instance_uid)
        objects, problem = self._encoded(job, instances) if destinations else ((), "")
        now = self._clock.now()
        with self._uow() as uow:
            if not uow.jobs.update(replace(job, is_told=True), expected=job):
                return 0  # started again meanwhile
            for destination in destinations if objects else ():
                add_delivery(uow, job, destination, objects, now)
            if problem:
                note(
                    uow,
                    f"job:{job.id}",
                    "status_not_told",
                    at=now,
                    from_state=job.state.value,
                    to_state=job.state.value,
                    reason=problem,
                    actor=NODE,
                    study_instance_uid=job.study_instance_uid,
                )
            uow.commit()
        return len(destinations) if objects else 0

    def _encoded(self, job: AnalysisJob, instances: tuple[InstanceRecord, ...]) -> tuple[tuple[ResultObject, ...], str]:
        """The status report, or why there is none."""
        out_dir = self._files.job_folder(job.id, f"status-{job.state.value.lower()}-{job.attempt}")
        result = self._result(job, instances)
        try:
            made = self._encoder.encode(
                result, revision=job.revision, created_at=job.finished_at or job.created_at, out_dir=out_dir
            )
        except EncodingInvalid as error:
            log.error("status_not_told", study=study_key(job.study_instance_uid), job=job.id, why=str(error))
            return (), f"the status report could not be made: {error}"
        except TransientError:
            raise  # at the next tick
        except Exception as error:
            # One study that nobody foresaw must not keep every other one silent.
            log.exception("status_not_told", study=study_key(job.study_instance_uid), job=job.id)
            return (), f"the status report could not be made: unexpected {type(error).__name__}"
        objects = tuple(entry for entry in made if entry.kind is ResultKind.STATUS_SR)
        return objects, "" if objects else "the status report could not be made: no instance of the study can be read"

    def _result(self, job: AnalysisJob, instances: tuple[InstanceRecord, ...]) -> AnalysisResult:
        reasons = {
            JobState.SKIPPED: job.reason,
            JobState.FAILED: job.failure,
            JobState.CANCELLED: "the analysis was stopped by an operator",
        }
        return AnalysisResult(
            study_instance_uid=job.study_instance_uid,
            outcome=_OUTCOMES[job.state],
            reason=reasons[job.state],
            selection=SelectionRecord(chosen=None),
            bundle=_bundle(job),
            device="",
            representative=self._representative(instances),
        )

    def _representative(self, instances: tuple[InstanceRecord, ...]) -> SourceSlice | None:
        """An instance to take the demographics from: a CT image where there is one."""
        if not instances:
            return None
        chosen = min(instances, key=lambda instance: instance.modality != "CT")
        return SourceSlice(
            sop_instance_uid=chosen.sop_instance_uid,
            sop_class_uid=chosen.sop_class_uid,
            file=Path(self._files.absolute(chosen.file)),
        )


def _bundle(job: AnalysisJob) -> BundleIdentity:
    """Who would have spoken, as far as the analysis came."""
    known = (job.result or {}).get("bundle", {})
    return BundleIdentity(
        name=known.get("name", ""),
        version=known.get("version", ""),
        sha256=known.get("sha256", ""),
        trained_on=known.get("trained_on", ""),
    )
