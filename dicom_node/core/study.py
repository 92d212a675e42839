"""A study on its way in: instances, associations, intakes. Times are aware UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path


class StudyState(StrEnum):
    """Where a study stands (see `transitions.STUDY`)."""

    RECEIVING = "RECEIVING"
    CLOSED = "CLOSED"
    PURGED = "PURGED"


@dataclass(frozen=True, kw_only=True)
class PatientSummary:
    """What the worklist shows of a patient; empty strings where the header is silent."""

    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_description: str = ""


@dataclass(frozen=True, kw_only=True)
class InstanceRecord:
    """One stored SOP Instance.

    `file` is relative to the file store's root; `digest` is that of the data set as sent (data_set_digest).
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    series_instance_uid: str
    study_instance_uid: str
    calling_aet: str
    called_aet: str
    association_id: str
    received_at: datetime
    file: Path
    digest: str
    size_bytes: int
    modality: str = ""
    body_part_examined: str = ""
    station_name: str = ""
    patient: PatientSummary = PatientSummary()


@dataclass(frozen=True, kw_only=True)
class StudyIntake:
    """A study being received or received. `revision` counts closed versions: 0 before the first close.

    `first_received_at` is the first instance of the revision on its way in (or of the last one closed), so that a
    late image a day after the first does not run into the hard limit at once. Deadlines follow from these two times
    and the policy; they are rows, not timers, and a restart changes neither.
    `open_associations` holds the ids of associations that are open now and have carried this study.
    """

    study_instance_uid: str
    state: StudyState
    revision: int
    first_received_at: datetime
    last_received_at: datetime
    instance_count: int
    open_associations: tuple[str, ...] = ()
    patient: PatientSummary = PatientSummary()
    calling_aet: str = ""
    close_reason: str = ""
    closed_at: datetime | None = None
