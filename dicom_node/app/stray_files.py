"""A file without a row: what a kill left between a file and its row, or after its row was removed.

It is indexed where it can be read and is new, dropped where the node holds the same instance or has purged its study,
and kept aside otherwise; nothing that might be the only copy is deleted.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from dicom_node.app.counting import NoCounters
from dicom_node.app.found_instance import FoundInstance, FoundInstanceReader, is_complete, record_of
from dicom_node.app.index_instance import Indexed, index_instance
from dicom_node.app.set_aside import About, SetAside, about_conflict
from dicom_node.core.errors import StorageConflict
from dicom_node.core.quarantine import QuarantineReason
from dicom_node.core.study import StudyState
from dicom_node.data_set_hash import digest_of
from dicom_node.ports import Clock, FileStore, UnitOfWorkFactory

TEMPORARY_SUFFIX = ".part"
"""The file store's suffix for a file that was being written: incomplete by definition."""


class Became(StrEnum):
    """What was done with a file."""

    DISCARDED = "removed"
    INDEXED = "taken in"
    ASIDE = "put into quarantine"


class StrayFiles:
    """For a node that does not serve yet, or not any more: a file of a C-STORE under way has no row either."""

    def __init__(
        self, *, uow_factory: UnitOfWorkFactory, files: FileStore, clock: Clock, read_found: FoundInstanceReader
    ) -> None:
        self._uow = uow_factory
        self._files = files
        self._clock = clock
        self._read_found = read_found
        self._set_aside = SetAside(uow_factory=uow_factory, files=files, clock=clock, counters=NoCounters())

    def put_right(self, path: Path) -> Became:
        """The file has a row, is in quarantine, or is gone. Raises StorageUnavailable."""
        if path.suffix == TEMPORARY_SUFFIX:
            return self._discard(path)
        found = self._read_found(self._files.absolute(path))
        if found is None or not is_complete(found):
            self._set_aside.file(path, self._about_leftover(path))
            return Became.ASIDE
        return self._index(path, found)

    def _index(self, path: Path, found: FoundInstance) -> Became:
        record = record_of(found, file=path, at=self._clock.now())
        if self._is_purged(record.study_instance_uid):
            # Its row went with the study's others and a kill came before its file, or it was never acknowledged.
            return self._discard(path)
        try:
            with self._uow() as uow:
                indexed = index_instance(uow, record, self._files)
                if indexed is Indexed.NEW:
                    uow.commit()
        except StorageConflict:
            indexed = Indexed.CONFLICTING
        if indexed is Indexed.NEW:
            return Became.INDEXED
        if indexed is Indexed.IDENTICAL:
            return self._discard(path)
        self._set_aside.file(path, about_conflict(record))
        return Became.ASIDE

    def _discard(self, path: Path) -> Became:
        self._files.discard(path)
        return Became.DISCARDED

    def _is_purged(self, study_instance_uid: str) -> bool:
        with self._uow() as uow:
            intake = uow.studies.get(study_instance_uid)
        return intake is not None and intake.state is StudyState.PURGED

    def _about_leftover(self, path: Path) -> About:
        content = self._files.absolute(path).read_bytes()
        return About(
            reason=QuarantineReason.UNREADABLE_LEFTOVER,
            why=f"{path} was found without a row and cannot be read; it was never acknowledged",
            digest=digest_of(content),
            size_bytes=len(content),
        )
