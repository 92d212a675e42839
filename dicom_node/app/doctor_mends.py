"""What puts right what the doctor finds, one method a remedy; each says what it did. For a node that does not run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dicom_node.app.counting import NoCounters
from dicom_node.app.found_instance import FoundInstanceReader
from dicom_node.app.moves import move_study, note
from dicom_node.app.set_aside import About, SetAside
from dicom_node.app.stray_files import StrayFiles
from dicom_node.core.quarantine import QuarantinedFile, QuarantineReason, QuarantineState
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.core.transitions import StudyEvent
from dicom_node.data_set_hash import digest_of
from dicom_node.ports import Clock, FileStore, UnitOfWork, UnitOfWorkFactory

_ACTOR = "doctor"


class Mends:
    """Every method may run twice. They raise StorageUnavailable where disk or database fail."""

    def __init__(
        self, *, uow_factory: UnitOfWorkFactory, files: FileStore, clock: Clock, read_found: FoundInstanceReader
    ) -> None:
        self._uow = uow_factory
        self._files = files
        self._clock = clock
        self._set_aside = SetAside(uow_factory=uow_factory, files=files, clock=clock, counters=NoCounters())
        self._strays = StrayFiles(uow_factory=uow_factory, files=files, clock=clock, read_found=read_found)

    def put_right(self, path: Path) -> str:
        """A file without a row is indexed, in quarantine, or gone."""
        return self._strays.put_right(path).value

    def adopt(self) -> str:
        """Every file in quarantine has a row."""
        return f"{len(self._set_aside.adopt())} files in quarantine have rows now"

    def close_associations(self) -> str:
        """No association is open."""
        with self._uow() as uow:
            count = uow.studies.forget_open_associations(at=self._clock.now())
            uow.commit()
        return f"{count} associations are closed"

    def forget(self, record: InstanceRecord, why: str) -> str:
        """The row of an image whose file is gone is gone too, so that the image may be sent again."""
        with self._uow() as uow:
            self._drop_row(uow, record, why)
            uow.commit()
        return "the row is gone; ask the sender for the image"

    def quarantine_damaged(self, record: InstanceRecord, damage: str) -> str:
        """The damaged file is in quarantine and its row is gone, so that the image may be sent again.

        Row first: a kill in between leaves a file without a row, which the next start looks at.
        """
        with self._uow() as uow:
            self._drop_row(uow, record, damage)
            uow.commit()
        digest = digest_of(self._files.absolute(record.file).read_bytes())
        about = About(
            reason=QuarantineReason.DAMAGED,
            why=f"instance {record.sop_instance_uid} was found damaged: {damage}",
            digest=digest,
            size_bytes=record.size_bytes,
            sop_instance_uid=record.sop_instance_uid,
            sop_class_uid=record.sop_class_uid,
            transfer_syntax_uid=record.transfer_syntax_uid,
            study_instance_uid=record.study_instance_uid,
            calling_aet=record.calling_aet,
        )
        entry = self._set_aside.file(record.file, about)
        return f"the file is quarantine {entry.id} and the row is gone; ask the sender for the image"

    def _drop_row(self, uow: UnitOfWork, record: InstanceRecord, why: str) -> None:
        study = uow.studies.get(record.study_instance_uid)
        state = study.state.value if study else ""
        uow.studies.remove_instance(record.sop_instance_uid)
        note(
            uow,
            f"study:{record.study_instance_uid}",
            "instance_lost",
            at=self._clock.now(),
            from_state=state,
            to_state=state,
            reason=f"instance {record.sop_instance_uid} is no longer held: {why}; it may be sent again",
            actor=_ACTOR,
            study_instance_uid=record.study_instance_uid,
        )

    def analyse_again(self, study: StudyIntake, why: str) -> str:
        """The study opens its next revision with the images it has."""
        now = self._clock.now()
        with self._uow() as uow:
            current = uow.studies.get(study.study_instance_uid)
            if current is None or current.state is not StudyState.CLOSED or not current.instance_count:
                return "left as it is: the study is being received, was purged or has no images"
            move_study(
                uow,
                current,
                StudyEvent.INSTANCE_STORED,
                at=now,
                reason=f"{why}: revision {current.revision + 1} is made",
                actor=_ACTOR,
                first_received_at=now,
                last_received_at=now,
            )
            uow.commit()
        return f"revision {study.revision + 1} is analysed after the quiet period"

    def settle(self, entry: QuarantinedFile) -> str:
        """A file in quarantine that is gone is noted as discarded."""
        settled = replace(
            entry,
            state=QuarantineState.DISCARDED,
            settled_at=self._clock.now(),
            settled_by=_ACTOR,
            settled_why="its file was gone",
        )
        with self._uow() as uow:
            if uow.quarantine.update(settled, expected=entry):
                uow.commit()
        return "noted as discarded"

    def remove(self, path: Path) -> str:
        """The file is gone."""
        self._files.discard(path)
        return "removed"

    def remove_folder(self, number: int) -> str:
        """What an unknown job left is gone."""
        self._files.discard_job_folder(number)
        return "removed"
