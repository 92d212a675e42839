"""What a Part 10 file of ours says of itself, and the row that follows: for files that have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.app.receive_instance import InstanceHeader
from dicom_node.core.identifiers import is_uid
from dicom_node.core.study import InstanceRecord


@dataclass(frozen=True, kw_only=True)
class FoundInstance:
    """What a Part 10 file of ours says of itself; `digest` is that of its data set without the file meta."""

    header: InstanceHeader
    transfer_syntax_uid: str
    digest: str
    size_bytes: int
    sop_class_uid: str = ""
    calling_aet: str = ""
    called_aet: str = ""


FoundInstanceReader = Callable[[Path], FoundInstance | None]
"""Reads an absolute file; None where it cannot be read as DICOM."""


def is_complete(found: FoundInstance) -> bool:
    """Whether it names study, series and instance."""
    header = found.header
    return all(is_uid(uid) for uid in (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid))


def record_of(found: FoundInstance, *, file: Path, at: datetime) -> InstanceRecord:
    """The instance as received at `at` in `file`; no association carried it."""
    return InstanceRecord(
        sop_instance_uid=found.header.sop_instance_uid,
        sop_class_uid=found.sop_class_uid or found.header.sop_class_uid,
        transfer_syntax_uid=found.transfer_syntax_uid,
        series_instance_uid=found.header.series_instance_uid,
        study_instance_uid=found.header.study_instance_uid,
        calling_aet=found.calling_aet,
        called_aet=found.called_aet,
        association_id="",
        received_at=at,
        file=file,
        digest=found.digest,
        size_bytes=found.size_bytes,
        modality=found.header.modality,
        body_part_examined=found.header.body_part_examined,
        station_name=found.header.station_name,
        patient=found.header.patient,
    )
