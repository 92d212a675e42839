"""What an operator may do with a file in quarantine: look at it, take it in, or remove it. Each is one transaction.

Taken in, the file is copied to where received files lie, before anything says so; then one commit writes the instance,
opens the next revision of its study, and settles the entry. An instance whose place it takes keeps its file and goes
into quarantine itself, so a wrong decision can be taken back. Files go last: what a kill leaves of a settled entry is
removed at the next start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from dicom_node.app.found_instance import FoundInstance, FoundInstanceReader, is_complete, record_of
from dicom_node.app.index_instance import Indexed, index_instance, replace_held_instance
from dicom_node.app.moves import NODE
from dicom_node.app.operator_actions import ActionRefused
from dicom_node.app.quarantine_detail import QuarantineDetail, quarantine_detail
from dicom_node.app.same_content import is_same_content
from dicom_node.app.set_aside import note_quarantine
from dicom_node.core.errors import StorageConflict, StorageUnavailable
from dicom_node.core.identifiers import study_key
from dicom_node.core.quarantine import QuarantinedFile, QuarantineReason, QuarantineState
from dicom_node.core.study import InstanceRecord
from dicom_node.ports import Clock, FileStore, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_PAGE = 200


class UnknownQuarantine(ActionRefused):
    """There is no file of this number in quarantine."""


@dataclass(frozen=True, kw_only=True)
class ForeseenRelease:
    """The instance that a file would be, and the one whose place it would take; None where the node holds none."""

    instance: InstanceRecord
    replaces: InstanceRecord | None


class Quarantine:
    """The actions behind command line, page and API. `actor` names the operator."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        reading: UnitOfWorkFactory,
        files: FileStore,
        clock: Clock,
        read_found: FoundInstanceReader,
    ) -> None:
        """`reading` opens transactions that are never committed and wait for nobody."""
        self._uow = uow_factory
        self._reading = reading
        self._files = files
        self._clock = clock
        self._read_found = read_found

    def detail(self, entry_id: int) -> QuarantineDetail:
        """The file with the evidence about it, whether somebody has decided or not. Raises UnknownQuarantine."""
        with self._reading() as uow:
            entry = _known(uow, entry_id)
            return quarantine_detail(uow, entry, self._files.absolute(entry.file))

    def foresee_release(self, entry_id: int) -> ForeseenRelease:
        """What `release` would do if nothing changed until then. Raises ActionRefused where it would refuse."""
        with self._reading() as uow:
            entry = _held(uow, entry_id)
        record = record_of(self._readable(entry), file=entry.file, at=self._clock.now())
        with self._reading() as uow:
            held = uow.studies.find_instance(record.sop_instance_uid)
        if held is not None:
            _require_replaceable(entry, held, record, self._files)
        return ForeseenRelease(instance=record, replaces=held)

    def foresee_discard(self, entry_id: int) -> QuarantinedFile:
        """What `discard` would remove. Raises ActionRefused where it would refuse."""
        with self._reading() as uow:
            return _held(uow, entry_id)

    def release(self, entry_id: int, *, actor: str, reason: str = "") -> QuarantinedFile:
        """The file is an instance of its study, in a new revision; the one it replaces is in quarantine instead.

        Raises ActionRefused where it cannot be one, or is one already.
        """
        with self._uow() as uow:
            entry = _held(uow, entry_id)
        found = self._readable(entry)
        taken_in = self._files.write(
            study_key(found.header.study_instance_uid), b"", self._files.absolute(entry.file).read_bytes()
        )
        record = record_of(found, file=taken_in.path, at=self._clock.now())
        is_indexed = False
        try:
            with self._uow() as uow:
                settled = self._take_in(uow, entry, record, actor, reason)
                uow.commit()
            is_indexed = True
        finally:
            if not is_indexed:
                self._discard_unless_indexed(taken_in.path)
        self._remove(entry.file)
        log.info("quarantine_released", quarantine=entry.id, study=study_key(record.study_instance_uid), actor=actor)
        return settled

    def discard(self, entry_id: int, *, actor: str, reason: str = "") -> QuarantinedFile:
        """The file is gone and noted as such. Raises ActionRefused where somebody has decided about it already."""
        with self._uow() as uow:
            entry = _held(uow, entry_id)
            settled = self._settled(uow, entry, QuarantineState.DISCARDED, actor, reason or f"discarded by {actor}")
            uow.commit()
        self._remove(entry.file)
        log.info("quarantine_discarded", quarantine=entry.id, actor=actor)
        return settled

    def expire(self, maximum_age: timedelta) -> int:
        """What was refused longer ago than that is discarded; returns how many. What was acknowledged once stays."""
        limit = self._clock.now() - maximum_age
        old = [entry for entry in self._all_held() if entry.set_aside_at < limit and not entry.reason.was_acknowledged]
        why = f"older than {maximum_age.days} days ([quarantine] maximum_age_days)"
        for entry in old:
            self.discard(entry.id, actor=NODE, reason=why)
        return len(old)

    def _all_held(self) -> tuple[QuarantinedFile, ...]:
        found: tuple[QuarantinedFile, ...] = ()
        with self._uow() as uow:
            while page := uow.quarantine.list(states=[QuarantineState.HELD], limit=_PAGE, offset=len(found)):
                found += page
        return found

    def _readable(self, entry: QuarantinedFile) -> FoundInstance:
        found = self._read_found(self._files.absolute(entry.file))
        if found is None:
            raise ActionRefused(f"quarantine {entry.id} cannot be read as DICOM: it can only be discarded")
        if not is_complete(found):
            raise ActionRefused(
                f"quarantine {entry.id} has no valid Study, Series and SOP Instance UID: it can only be discarded"
            )
        # What was damaged is known by the digest that it should have had.
        if entry.reason is not QuarantineReason.DAMAGED and not self._is_as_set_aside(entry, found):
            raise ActionRefused(f"quarantine {entry.id} has changed since it was set aside: it is not taken in")
        return found

    def _is_as_set_aside(self, entry: QuarantinedFile, found: FoundInstance) -> bool:
        return is_same_content(self._files, entry.file, found.digest, known=entry.digest)

    def _take_in(
        self, uow: UnitOfWork, entry: QuarantinedFile, record: InstanceRecord, actor: str, reason: str
    ) -> QuarantinedFile:
        held = uow.studies.find_instance(record.sop_instance_uid)
        if held is None:
            if index_instance(uow, record, self._files, actor=actor) is not Indexed.NEW:
                raise StorageConflict(f"instance {record.sop_instance_uid} arrived at the same moment")
            why = f"released by {actor}: taken in as instance {record.sop_instance_uid}"
        else:
            self._replace(uow, entry, held, record, actor)
            why = f"released by {actor}: in the place of instance {record.sop_instance_uid} as it was held before"
        return self._settled(
            uow,
            replace(entry, study_instance_uid=record.study_instance_uid),
            QuarantineState.RELEASED,
            actor,
            f"{why}; {reason}" if reason else why,
        )

    def _replace(
        self, uow: UnitOfWork, entry: QuarantinedFile, held: InstanceRecord, record: InstanceRecord, actor: str
    ) -> None:
        _require_replaceable(entry, held, record, self._files)
        replace_held_instance(uow, record, actor=actor)
        out = uow.quarantine.add(
            QuarantinedFile(
                file=held.file,
                reason=QuarantineReason.REPLACED,
                why=f"replaced by the content of quarantine {entry.id}",
                set_aside_at=record.received_at,
                digest=held.digest,
                size_bytes=held.size_bytes,
                sop_instance_uid=held.sop_instance_uid,
                sop_class_uid=held.sop_class_uid,
                transfer_syntax_uid=held.transfer_syntax_uid,
                study_instance_uid=held.study_instance_uid,
                calling_aet=held.calling_aet,
            )
        )
        note_quarantine(uow, out, out.reason.value, to_state=out.state, reason=out.why, actor=actor)

    def _settled(
        self, uow: UnitOfWork, entry: QuarantinedFile, state: QuarantineState, actor: str, why: str
    ) -> QuarantinedFile:
        changes: dict[str, Any] = {"settled_at": self._clock.now(), "settled_by": actor, "settled_why": why}
        settled = replace(entry, state=state, **changes)
        if not uow.quarantine.update(settled, expected=entry):
            raise ActionRefused(f"quarantine {entry.id} was decided about at the same moment: look again")
        event = f"quarantine_{state.value.lower()}"
        note_quarantine(
            uow, settled, event, from_state=entry.state.value, to_state=state, reason=settled.settled_why, actor=actor
        )
        return settled

    def _discard_unless_indexed(self, path: Path) -> None:
        """A commit that failed may still have happened: compare `ReceiveInstance`."""
        try:
            with self._uow() as uow:
                if uow.studies.has_file(path):
                    return
            self._files.discard(path)
        except (StorageUnavailable, StorageConflict) as error:
            log.warning("file_left_for_the_sweep", file=str(path), why=str(error))

    def _remove(self, path: Path) -> None:
        try:
            self._files.discard(path)
        except StorageUnavailable as error:
            log.warning("settled_file_left_for_the_next_start", file=str(path), why=str(error))


def _require_replaceable(
    entry: QuarantinedFile, held: InstanceRecord, record: InstanceRecord, files: FileStore
) -> None:
    if held.study_instance_uid != record.study_instance_uid:
        raise ActionRefused(
            f"instance {record.sop_instance_uid} is held in study {held.study_instance_uid} and is of study"
            f" {record.study_instance_uid} in quarantine: an instance is in one study, so the sender must mend it"
        )
    if is_same_content(files, record.file, record.digest, known=held.digest):
        raise ActionRefused(f"quarantine {entry.id} is what the node holds already: it can be discarded")


def _known(uow: UnitOfWork, entry_id: int) -> QuarantinedFile:
    entry = uow.quarantine.get(entry_id)
    if entry is None:
        raise UnknownQuarantine(f"there is no quarantine {entry_id}; `quarantine list` shows what there is")
    return entry


def _held(uow: UnitOfWork, entry_id: int) -> QuarantinedFile:
    entry = _known(uow, entry_id)
    if entry.state is not QuarantineState.HELD:
        raise ActionRefused(f"quarantine {entry_id} is {entry.state.value} since {_date(entry.settled_at)} already")
    return entry


def _date(at: datetime | None) -> str:
    return at.date().isoformat() if at else "an unknown day"
