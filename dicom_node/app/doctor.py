"""Do files, rows and deliveries agree? Every finding says what it means, and what mends it where that is safe.

Safe is what loses nothing that is not lost already, and what the node itself would do at its next start. An image whose
file is gone or damaged loses its row: then its sender may send it again, which the row would answer with Success for
nothing. A result whose file is gone is made again, by a new revision of its study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from dicom_node.app.doctor_mends import Mends
from dicom_node.app.found_instance import FoundInstanceReader
from dicom_node.app.stray_files import TEMPORARY_SUFFIX
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.quarantine import QuarantineState
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.ports import Clock, FileStore, UnitOfWorkFactory

_PAGE = 200
IN_FLIGHT = timedelta(minutes=10)
"""A file younger than this may belong to a C-STORE that is just being answered."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`what` is wrong with `subject`; `mend` puts it right and says what was done, None where nothing safe can be done.

    `file` is relative to the file store where the finding is about one.
    """

    what: str
    subject: str
    detail: str
    means: str
    remedy: str
    mend: Callable[[], str] | None = field(default=None, repr=False, compare=False)


@dataclass(kw_only=True)
class Examined:
    """What was looked at, and what is wrong with it."""

    studies: int = 0
    instances: int = 0
    findings: list[Finding] = field(default_factory=list)


class Doctor:
    """Compares rows, files and deliveries. Mending is for a node that does not run."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        clock: Clock,
        read_found: FoundInstanceReader,
    ) -> None:
        self._uow = uow_factory
        self._files = files
        self._clock = clock
        self._mends = Mends(uow_factory=uow_factory, files=files, clock=clock, read_found=read_found)

    def examine(self, *, deep: bool, is_stopped: bool) -> Examined:
        """`deep` reads every file; `is_stopped`: no node serves this store, so nothing is in flight."""
        examined = Examined()
        for study in self._studies():
            examined.studies += 1
            examined.findings += self._study(study, examined, deep)
        examined.findings += self._received(is_stopped)
        examined.findings += self._quarantine()
        examined.findings += self._job_folders()
        if is_stopped:
            examined.findings += self._associations()
        return examined

    def _studies(self) -> Iterator[StudyIntake]:
        offset = 0
        while True:
            with self._uow() as uow:
                page = uow.studies.list(limit=_PAGE, offset=offset)
            yield from page
            if len(page) < _PAGE:
                return
            offset += _PAGE

    def _study(self, study: StudyIntake, examined: Examined, deep: bool) -> Iterator[Finding]:
        with self._uow() as uow:
            records = uow.studies.instances(study.study_instance_uid)
            jobs = uow.jobs.of_study(study.study_instance_uid)
            deliveries = uow.deliveries.of_study(study.study_instance_uid)
        for record in records:
            examined.instances += 1
            yield from self._instance(record, deep)
        if study.state is StudyState.CLOSED and all(job.revision != study.revision for job in jobs):
            yield Finding(
                what="no job",
                subject=study.study_instance_uid,
                detail=f"the study is closed as revision {study.revision} and nothing analyses it",
                means="it would stand still for good",
                remedy="analysed as a new revision",
                mend=partial(self._mends.analyse_again, study, "its revision had no analysis"),
            )
        lost = {
            entry.file: delivery
            for delivery in deliveries
            if not delivery.is_finished
            for entry in delivery.objects
            if not self._files.absolute(Path()).joinpath(entry.file).is_file()
        }
        if lost:
            delivery = next(iter(lost.values()))
            names = ", ".join(file.name for file in lost)
            yield Finding(
                what="result missing",
                subject=study.study_instance_uid,
                detail=f"delivery {delivery.id} to {delivery.peer} is {delivery.state.value}; not there: {names}",
                means="it cannot be sent as it is",
                remedy="analysed as a new revision, whose results are sent instead",
                mend=partial(self._mends.analyse_again, study, f"files of its results were gone: {names}"),
            )

    def _instance(self, record: InstanceRecord, deep: bool) -> Iterator[Finding]:
        file = self._files.absolute(record.file)
        if not file.is_file():
            yield Finding(
                what="missing",
                subject=str(record.file),
                detail=f"row {record.sop_instance_uid} has no file",
                means="an image that was acknowledged is lost here",
                remedy="the row goes, so that the sender may send the image again",
                mend=partial(self._mends.forget, record, "its file was gone"),
            )
            return
        damage = self._damage(record, file, deep)
        if damage:
            yield Finding(
                what="damaged" if deep else "too short",
                subject=str(record.file),
                detail=damage,
                means="the image is not the one that was acknowledged",
                remedy="the file goes to quarantine and the row goes, so that the sender may send the image again",
                mend=partial(self._mends.quarantine_damaged, record, damage),
            )

    def _damage(self, record: InstanceRecord, file: Path, deep: bool) -> str:
        if not deep:
            is_short = file.stat().st_size < record.size_bytes
            return f"shorter than {record.size_bytes} bytes" if is_short else ""
        try:
            digest = self._files.digest(record.file, like=record.digest)
        except (ValueError, StorageUnavailable) as error:
            return str(error)
        return "" if digest == record.digest else "the digest differs from the one received"

    def _received(self, is_stopped: bool) -> Iterator[Finding]:
        for path in dict.fromkeys((*self._files.unfinished(), *self._files.received())):
            if not is_stopped and self._is_in_flight(path):
                continue
            with self._uow() as uow:
                is_known = uow.studies.has_file(path) or uow.quarantine.of_file(path) is not None
            if is_known:
                continue
            is_part = path.suffix == TEMPORARY_SUFFIX
            yield Finding(
                what="no row",
                subject=str(path),
                detail="being written when the node ended" if is_part else "a file that no row names",
                means="it was never acknowledged, or its study was purged",
                remedy="removed" if is_part else "taken in, kept aside or removed, as at a start of the node",
                mend=partial(self._mends.put_right, path),
            )

    def _is_in_flight(self, path: Path) -> bool:
        try:
            changed_at = self._files.absolute(path).stat().st_mtime
        except OSError:
            return True
        return self._clock.now().timestamp() - changed_at < IN_FLIGHT.total_seconds()

    def _quarantine(self) -> Iterator[Finding]:
        for path in self._files.quarantined():
            with self._uow() as uow:
                entry = uow.quarantine.of_file(path)
            if entry is None:
                yield Finding(
                    what="no row",
                    subject=str(path),
                    detail="a file in quarantine that no row names",
                    means="nobody is shown it, so nobody decides about it",
                    remedy="it gets a row, from the note beside it",
                    mend=self._mends.adopt,
                )
            elif entry.state is not QuarantineState.HELD:
                yield Finding(
                    what="settled",
                    subject=str(path),
                    detail=f"quarantine {entry.id} is {entry.state.value} and its file is still there",
                    means="it takes room",
                    remedy="removed",
                    mend=partial(self._mends.remove, path),
                )
        with self._uow() as uow:
            held = uow.quarantine.list(states=[QuarantineState.HELD], limit=100_000)
        for entry in held:
            if not self._files.absolute(entry.file).is_file():
                yield Finding(
                    what="missing",
                    subject=str(entry.file),
                    detail=f"quarantine {entry.id} has no file",
                    means="there is nothing to decide about",
                    remedy="noted as discarded",
                    mend=partial(self._mends.settle, entry),
                )

    def _job_folders(self) -> Iterator[Finding]:
        numbers = self._files.job_folders()
        with self._uow() as uow:
            strays = [number for number in numbers if uow.jobs.get(number) is None]
        # No job is known at all: then this may be another store's database, and its results are not ours to remove.
        is_plausible = len(strays) < len(numbers)
        for number in strays:
            yield Finding(
                what="no job",
                subject=f"jobs/{number}",
                detail=f"a folder of job {number}, which no row names",
                means="it takes room, and a new job of this number would write into it",
                remedy="removed" if is_plausible else "none: no folder's job is known; is the database the right one?",
                mend=partial(self._mends.remove_folder, number) if is_plausible else None,
            )

    def _associations(self) -> Iterator[Finding]:
        with self._uow() as uow:
            count = uow.studies.open_association_count()
        if count:
            yield Finding(
                what="open association",
                subject=f"{count} associations",
                detail="they are open in the database, and no node runs",
                means="the studies they carry would wait for their hard limit; a start of the node closes them",
                remedy="closed",
                mend=self._mends.close_associations,
            )
