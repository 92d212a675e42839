"""What a start does before the first association: put right what the previous life left half done.

No association survives a restart, no worker of an earlier life still holds its lease, and a file whose row was never
committed was never acknowledged: `stray_files` decides what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.app.counting import NoCounters
from dicom_node.app.found_instance import FoundInstanceReader
from dicom_node.app.requeue import Requeue
from dicom_node.app.set_aside import SetAside
from dicom_node.app.stray_files import Became, StrayFiles
from dicom_node.ports import Clock, FileStore, UnitOfWorkFactory

log = structlog.get_logger(__name__)


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
        self._strays = StrayFiles(uow_factory=uow_factory, files=files, clock=clock, read_found=read_found)
        self._set_aside = SetAside(uow_factory=uow_factory, files=files, clock=clock, counters=NoCounters())
        self._owner = owner
        self._owner_prefix = owner_prefix

    def run(self) -> SweepReport:
        """Leave no open association, no lease of an earlier life and no file without a row or a note.

        Raises StorageUnavailable: the node must not start then.
        """
        report = SweepReport()
        self._files.recover()
        with self._uow() as uow:
            report.forgotten_associations = uow.studies.forget_open_associations(at=self._clock.now())
            uow.commit()
        report.taken_back = self._requeue.take_back(self._owner, owner_prefix=self._owner_prefix)
        lists = {Became.DISCARDED: report.discarded, Became.INDEXED: report.indexed, Became.ASIDE: report.set_aside}
        for path in self._files_without_row():
            lists[self._strays.put_right(path)].append(path)
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
