"""One file in quarantine with the evidence about it: what command line, page and API show before somebody decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.app.queries import history_json, iso, quarantine_json
from dicom_node.core.history import HistoryEntry
from dicom_node.core.identifiers import is_uid
from dicom_node.core.quarantine import QuarantinedFile
from dicom_node.core.study import InstanceRecord, StudyIntake
from dicom_node.ports import UnitOfWork


@dataclass(frozen=True, kw_only=True)
class QuarantineDetail:
    """`path` is where the file lies or lay, absolute; `is_there` whether it does. `held` is the instance under its SOP
    Instance UID that the node holds now, whatever its content; `study` is that of the entry, None where the node does
    not know it. `history` is what happened to the entry, the oldest first.
    """

    entry: QuarantinedFile
    path: Path
    is_there: bool
    held: InstanceRecord | None
    study: StudyIntake | None
    history: tuple[HistoryEntry, ...]

    @property
    def is_conflict(self) -> bool:
        """Whether the node holds other content under the same UID."""
        return self.held is not None and self.held.digest != self.entry.digest

    def as_json(self) -> dict[str, Any]:
        """The entry for the API; the command line adds where the file lies."""
        return {
            **quarantine_json(self.entry),
            "is_there": self.is_there,
            "held": None if self.held is None else _held_json(self.held),
            "history": [history_json(each) for each in self.history],
        }


def quarantine_detail(uow: UnitOfWork, entry: QuarantinedFile, path: Path) -> QuarantineDetail:
    """What is known of the entry, whose file is `path`."""
    uid = entry.study_instance_uid
    history = uow.history.of_study(uid) if is_uid(uid) else ()
    subject = f"quarantine:{entry.id}"
    return QuarantineDetail(
        entry=entry,
        path=path,
        is_there=path.is_file(),
        held=uow.studies.find_instance(entry.sop_instance_uid) if is_uid(entry.sop_instance_uid) else None,
        study=uow.studies.get(uid) if is_uid(uid) else None,
        history=tuple(each for each in history if each.subject == subject),
    )


def _held_json(held: InstanceRecord) -> dict[str, Any]:
    return {
        "study_instance_uid": held.study_instance_uid,
        "series_instance_uid": held.series_instance_uid,
        "calling_aet": held.calling_aet,
        "received_at": iso(held.received_at),
        "size_bytes": held.size_bytes,
        "digest": held.digest,
        "transfer_syntax_uid": held.transfer_syntax_uid,
    }
