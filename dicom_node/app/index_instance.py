"""The rows of one received instance: shared by the receiver and the sweep at start-up.

An identical re-send (same SOP Instance UID, same digest) changes neither study nor instance, so it does not restart
the quiet period. It does note that its open association carries the study: a sender that starts over after a broken
association first repeats what we hold, and the study must stay open while it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from functools import reduce

from dicom_node.app.moves import NODE, move_job, move_study, note
from dicom_node.app.same_content import is_same_content
from dicom_node.core.job import JobState
from dicom_node.core.study import InstanceRecord, PatientSummary, StudyIntake, StudyState
from dicom_node.core.transitions import JobEvent, StudyEvent
from dicom_node.ports import FileStore, UnitOfWork

UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.RETRY_WAIT)


class Indexed(StrEnum):
    """What an instance turned out to be."""

    NEW = "new"
    IDENTICAL = "identical"
    CONFLICTING = "conflicting"


def index_instance(uow: UnitOfWork, record: InstanceRecord, files: FileStore, *, actor: str = NODE) -> Indexed:
    """Write the rows of a new instance, or say that the node knows it already. The caller commits.

    A new instance opens its study, opens the next revision of a closed one, or prolongs the quiet period; it
    supersedes the unfinished analysis of an earlier revision. Raises StorageConflict where another transaction
    wrote the same instance first: roll back and call again.
    """
    known = uow.studies.find_instance(record.sop_instance_uid)
    if known is not None:
        if not _is_same(known, record, files):
            return Indexed.CONFLICTING
        _carry(uow, record)
        return Indexed.IDENTICAL
    _receive_into_study(uow, record, actor)
    uow.studies.add_instance(record)
    _carry(uow, record)
    return Indexed.NEW


def index_new_instances(uow: UnitOfWork, records: Sequence[InstanceRecord]) -> None:
    """Write the rows of instances none of which the node holds; a study's own row is written once for all.

    The caller commits. Raises StorageConflict where one is there after all: roll back and index each by itself.
    """
    of_study: dict[str, list[InstanceRecord]] = {}
    for record in records:
        of_study.setdefault(record.study_instance_uid, []).append(record)
    for arrived in of_study.values():
        patient = reduce(_filled_up, (record.patient for record in arrived))
        latest = max(record.received_at for record in arrived)
        _receive_into_study(uow, replace(arrived[0], patient=patient), arrived[0].calling_aet, latest=latest)
        uow.studies.add_instances(arrived)
        for record in {record.association_id: record for record in arrived}.values():
            _carry(uow, record)


def replace_held_instance(uow: UnitOfWork, record: InstanceRecord, *, actor: str) -> None:
    """`record` stands in the place of the instance of its UID, in a new revision of its study. The caller commits."""
    _receive_into_study(uow, record, actor, why=f"another content of instance {record.sop_instance_uid}")
    uow.studies.replace_instance(record)


def _is_same(known: InstanceRecord, record: InstanceRecord, files: FileStore) -> bool:
    is_of_study = known.study_instance_uid == record.study_instance_uid
    return is_of_study and is_same_content(files, record.file, record.digest, known=known.digest)


def _carry(uow: UnitOfWork, record: InstanceRecord) -> None:
    if record.association_id:
        uow.studies.carry(record.association_id, record.study_instance_uid)


def _receive_into_study(
    uow: UnitOfWork, record: InstanceRecord, actor: str, *, why: str = "", latest: datetime | None = None
) -> None:
    """`latest` is when the last of several was received of which `record` was the first."""
    latest = latest or record.received_at
    intake = uow.studies.get(record.study_instance_uid)
    if intake is None:
        _open_study(uow, record, actor, latest)
        return
    reopened = intake.state is not StudyState.RECEIVING
    why = why or f"a late image of modality {record.modality or 'unknown'}"
    changes: dict[str, object] = {"first_received_at": record.received_at} if reopened else {}
    move_study(
        uow,
        intake,
        StudyEvent.INSTANCE_STORED,
        at=record.received_at,
        reason=f"{why} opens revision {intake.revision + 1}",
        actor=actor,
        last_received_at=max(latest, intake.last_received_at),
        patient=_filled_up(intake.patient, record.patient),
        **changes,
    )
    if reopened:
        _supersede_unfinished(uow, intake, record, actor)


def _open_study(uow: UnitOfWork, record: InstanceRecord, actor: str, latest: datetime) -> None:
    uow.studies.save(
        StudyIntake(
            study_instance_uid=record.study_instance_uid,
            state=StudyState.RECEIVING,
            revision=0,
            first_received_at=record.received_at,
            last_received_at=latest,
            instance_count=0,
            patient=record.patient,
            calling_aet=record.calling_aet,
        )
    )
    note(
        uow,
        f"study:{record.study_instance_uid}",
        StudyEvent.INSTANCE_STORED.value,
        at=record.received_at,
        from_state="",
        to_state=StudyState.RECEIVING.value,
        reason="the first image of the study",
        actor=actor,
        study_instance_uid=record.study_instance_uid,
    )


def _supersede_unfinished(uow: UnitOfWork, intake: StudyIntake, record: InstanceRecord, actor: str) -> None:
    for job in uow.jobs.of_study(intake.study_instance_uid):
        if job.state in UNFINISHED:
            move_job(
                uow,
                job,
                JobEvent.SUPERSEDED,
                at=record.received_at,
                reason=f"a late image opened revision {intake.revision + 1} before this one was analysed",
                actor=actor,
                finished_at=record.received_at,
                next_attempt_at=None,
            )


def _filled_up(known: PatientSummary, seen: PatientSummary) -> PatientSummary:
    """What was known, with empty fields taken from the newer header: the first image of a study may say less."""
    missing = {
        name: getattr(seen, name)
        for name in PatientSummary.__dataclass_fields__
        if not getattr(known, name) and getattr(seen, name)
    }
    return replace(known, **missing)
