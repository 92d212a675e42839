"""What a start does before the first association: put right what the previous life left half done.

No association survives a restart, no worker of an earlier life still holds its lease, and a file whose row was never
committed was never acknowledged. Such a file is indexed where it can be read and is new, dropped where the node holds
the same instance, and kept aside otherwise; nothing that might be the only copy is deleted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.app.counting import NoCounters
from dicom_node.app.found_instance import FoundInstance, FoundInstanceReader, is_complete, record_of
from dicom_node.app.index_instance import Indexed, index_instance
from dicom_node.app.requeue import Requeue
from dicom_node.app.set_aside import About, SetAside, about_conflict
from dicom_node.core.errors import StorageConflict
from dicom_node.core.quarantine import QuarantineReason
from dicom_node.core.study import InstanceRecord, StudyState
from dicom_node.ports import Clock, FileStore, UnitOfWorkFactory

log = structlog.get_logger(__name__)

TEMPORARY_SUFFIX = ".part"
"""The file store's suffix for a file that was being written: incomplete by definition."""


@dataclass(kw_only=True)
class SweepReport:
    """What the sweep did."""

    forgotten_associations: int = 0
    taken_back: int = 0
    discarded: list[Path] = field(default_factory=list)
    indexed: list[Path] = field(default_factory=list)
    set_aside: list[Path] = field(default_factory=list)
    adopted: int = 0


class Sweep:
    """Run once at start-up, before the receiver listens and before any worker starts."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        clock: Clock,
        requeue: Requeue,
        read_found: FoundInstanceReader,
        owner: str,
        owner_prefix: str,
    ) -> None:
        """`owner` is this life's name in leases; every life of this node starts its name with `owner_prefix`."""
        self._uow = uow_factory
        self._files = files
        self._clock = clock
        self._requeue = requeue
        self._read_found = read_found
        self._set_aside = SetAside(uow_factory=uow_factory, files=files, clock=clock, counters=NoCounters())
        self._owner = owner
        self._owner_prefix = owner_prefix

    def run(self) -> SweepReport:
        """Leave no open association, no lease of an earlier life and no file without a row or a note.

        Raises StorageUnavailable: the node must not start then.
        """
        report = SweepReport()
        with self._uow() as uow:
            report.forgotten_associations = uow.studies.forget_open_associations(at=self._clock.now())
            uow.commit()
        report.taken_back = self._requeue.take_back(self._owner, owner_prefix=self._owner_prefix)
        for path in self._files_without_row():
            self._put_right(path, report)
        report.adopted = len(self._set_aside.adopt())
        log.info(
            "start_up_sweep",
            forgotten_associations=report.forgotten_associations,
            taken_back=report.taken_back,
            discarded=len(report.discarded),
            indexed=len(report.indexed),
            set_aside=len(report.set_aside),
            adopted=report.adopted,
        )
        return report

    def _files_without_row(self) -> tuple[Path, ...]:
        paths = self._files.unfinished()
        with self._uow() as uow:
            return tuple(
                path
                for path in paths
                # One that was replaced by another stays where it is, and quarantine's row names it.
                if not uow.studies.has_file(path) and uow.quarantine.of_file(path) is None
            )

    def _put_right(self, path: Path, report: SweepReport) -> None:
        if path.suffix == TEMPORARY_SUFFIX:
            self._files.discard(path)
            report.discarded.append(path)
            return
        found = self._read_found(self._files.absolute(path))
        if found is None or not is_complete(found):
            self._set_aside.file(path, self._about_leftover(path))
            report.set_aside.append(path)
            return
        self._index(path, found, report)

    def _index(self, path: Path, found: FoundInstance, report: SweepReport) -> None:
        record = record_of(found, file=path, at=self._clock.now())
        if self._is_purged(record.study_instance_uid):
            # Its row went with the study's others and a kill came before its file, or it was never acknowledged.
            self._files.discard(path)
            report.discarded.append(path)
            return
        try:
            with self._uow() as uow:
                indexed = index_instance(uow, record)
                if indexed is Indexed.NEW:
                    uow.commit()
        except StorageConflict:
            indexed = Indexed.CONFLICTING
        if indexed is Indexed.NEW:
            report.indexed.append(path)
        elif indexed is Indexed.IDENTICAL:
            self._files.discard(path)
            report.discarded.append(path)
        else:
            self._keep_conflict_aside(path, record)
            report.set_aside.append(path)

    def _is_purged(self, study_instance_uid: str) -> bool:
        with self._uow() as uow:
            intake = uow.studies.get(study_instance_uid)
        return intake is not None and intake.state is StudyState.PURGED

    def _keep_conflict_aside(self, path: Path, record: InstanceRecord) -> None:
        self._set_aside.file(path, about_conflict(record))

    def _about_leftover(self, path: Path) -> About:
        content = self._files.absolute(path).read_bytes()
        return About(
            reason=QuarantineReason.UNREADABLE_LEFTOVER,
            why=f"{path} was found without a row and cannot be read; it was never acknowledged",
            digest=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        )
