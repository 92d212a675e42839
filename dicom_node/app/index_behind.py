"""The rows of received instances and of the associations that bring them, written behind the answer: the sender waits
for the disk and not for the database.

An instance whose file is durable is found again whatever happens to its row (`stray_files`), so its sender may be told
Success before the row is there. Rows then come in batches: one transaction for all that wait, and no sync of its own,
which would keep the disk from the images: a power cut that takes the rows leaves the files, and whoever decides on the
rows commits with a sync that covers them.

What must not change by that:

- An instance that the node holds already is answered as ever: the same content again is Success, other content is
  refused. `claim` looks the UID up before anything is written, and two associations that send the same one are told
  apart here: the second waits for the row of the first and is then received in the old way, row first.
- A late image of a closed or purged study is received in the old way too. A file without a row whose study is purged
  is taken for a leftover of the purge and goes at the next start, so none such may have been acknowledged.
- While the database fails, or too many rows wait, nothing is claimed: the sender then waits for the database again, and
  is refused where that cannot take it.
- An association is over, and storage commitment is spoken of, when its rows are written: `drain`.
- The row of the association itself comes behind its accept, before any row that names it: with those of its instances
  or earlier, and `until_open` keeps those waiting that are received in the old way. Until it carries a study the row
  says nothing that anybody decides on.

How to edit safely: `_waiting` has exactly the claimed UIDs of which a row is still to come, from `claim` to the commit;
`_opened` has exactly the associations of which the row is still to come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dicom_node.app.index_instance import Indexed, index_instance, index_new_instances
from dicom_node.core.errors import StorageConflict, StorageUnavailable
from dicom_node.core.study import InstanceRecord, StudyState
from dicom_node.ports import FileStore, HoldsInstance, UnitOfWork, UnitOfWorkFactory

DRAIN_S = 10.0
"""How long those wait for rows who cannot go on without them."""
_TRIES_AFTER_CONFLICT = 5

OnUnexpected = Callable[[InstanceRecord, Indexed], None]
"""Is told of an instance that turned out to be known after all, or in conflict: its file needs another place."""


@dataclass(frozen=True, kw_only=True)
class OpenedAssociation:
    """An association that was accepted at `at`."""

    association_id: str
    calling_aet: str
    address: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class BehindLimits:
    """`most_waiting` rows may wait; a batch has `batch` of them. A study is looked at again after `study_good_for_s`.

    Whoever sends an instance whose row is still to come waits for that row, `same_uid_timeout_s` at most. Rows gather
    for `gather_s`: one transaction for thirty takes less from those who receive than thirty do.
    """

    most_waiting: int = 4000
    batch: int = 500
    study_good_for_s: float = 5.0
    same_uid_timeout_s: float = 10.0
    gather_s: float = 0.5


class IndexBehind:
    """`claim`, then `put` or `forget`; `step` by one thread. Everything else is safe from any thread."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        reading: UnitOfWorkFactory,
        files: FileStore,
        holds: HoldsInstance | None = None,
        limits: BehindLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`reading` opens snapshots that wait for no writer; without `holds` one is opened for each image."""
        self._uow = uow_factory
        self._reading = reading
        self._files = files
        self._holds = holds or self._is_in_snapshot
        self._limits = limits or BehindLimits()
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._waiting: set[str] = set()
        self._records: list[InstanceRecord] = []
        self._opened: dict[str, OpenedAssociation] = {}
        self._receiving_until: dict[str, float] = {}
        self._is_failing = False
        self._hurried = threading.Event()
        self.on_unexpected: OnUnexpected = lambda record, indexed: None

    def open(self, association: OpenedAssociation) -> bool:
        """Whether the association's row may come behind its accept; else whoever asks has to write it."""
        with self._changed:
            if self._is_failing:
                return False
            self._opened[association.association_id] = association
            self._changed.notify_all()
        return True

    def until_open(self, association_id: str) -> None:
        """The association's row is written where there is to be one. Raises StorageUnavailable after a while."""
        with self._changed:
            if association_id not in self._opened:
                return
            self._hurried.set()
            if not self._changed.wait_for(lambda: association_id not in self._opened, self._limits.same_uid_timeout_s):
                raise StorageUnavailable(f"association {association_id} waits for its row")

    def claim(self, sop_instance_uid: str, study_instance_uid: str) -> bool:
        """Whether the row of this instance may come behind its answer: the node holds none of that UID."""
        with self._changed:
            if sop_instance_uid in self._waiting:
                self._hurried.set()
                self._changed.wait_for(lambda: sop_instance_uid not in self._waiting, self._limits.same_uid_timeout_s)
                return False
            if self._is_failing or len(self._waiting) >= self._limits.most_waiting:
                return False
            self._waiting.add(sop_instance_uid)
        is_new = False
        try:
            is_new = self._is_new(sop_instance_uid, study_instance_uid)
        except StorageUnavailable:
            pass  # receiving in the old way says why
        finally:
            if not is_new:
                self.forget(sop_instance_uid)
        return is_new

    def forget(self, sop_instance_uid: str) -> None:
        """The instance was claimed and is not stored."""
        with self._changed:
            self._waiting.discard(sop_instance_uid)
            self._changed.notify_all()

    def put(self, record: InstanceRecord) -> None:
        """The instance was claimed and its file is durable: its row will be written."""
        with self._changed:
            self._records.append(record)
            if len(self._records) == 1:
                self._changed.notify_all()

    def drain(self, timeout_s: float) -> None:
        """Every row is written of what was put or opened before. Raises StorageUnavailable where that takes long."""
        with self._changed:
            mine = {record.sop_instance_uid for record in self._records}
            opened = set(self._opened)
            if not mine and not opened:
                return
            self._hurried.set()
            is_written = self._changed.wait_for(
                lambda: mine.isdisjoint(self._waiting) and opened.isdisjoint(self._opened), timeout_s
            )
            if not is_written:
                raise StorageUnavailable(
                    f"{len(self._waiting)} instances and {len(self._opened)} associations wait for their rows"
                )

    def wait(self, timeout_s: float) -> bool:
        """Whether there is something to write; then more may have joined it, unless somebody waits for it."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._records or self._opened), timeout_s):
                return False
        self._hurried.wait(self._limits.gather_s)
        return True

    def step(self) -> int:
        """Write the rows of one batch; how many. Raises StorageUnavailable, and keeps those that are not written."""
        self._hurried.clear()
        with self._changed:
            opened = tuple(self._opened.values())
            batch = self._records[: self._limits.batch]
        if not batch and not opened:
            return 0
        written, failure = self._write(opened, batch)
        self._is_failing = failure is not None
        with self._changed:
            self._records = [record for record in self._records if record.sop_instance_uid not in written]
            self._waiting -= written
            for association in opened:
                if association.association_id in written:
                    del self._opened[association.association_id]
            self._changed.notify_all()
        if failure is not None:
            raise failure
        return len(opened) + len(batch)

    def _is_new(self, sop_instance_uid: str, study_instance_uid: str) -> bool:
        now = self._monotonic()
        if self._holds(sop_instance_uid):
            return False
        if self._receiving_until.get(study_instance_uid, now) > now:
            return True
        with self._reading() as uow:
            study = uow.studies.get(study_instance_uid)
        if study is not None and study.state is not StudyState.RECEIVING:
            return False
        with self._changed:
            self._receiving_until = {uid: until for uid, until in self._receiving_until.items() if until > now}
            self._receiving_until[study_instance_uid] = now + self._limits.study_good_for_s
        return True

    def _is_in_snapshot(self, sop_instance_uid: str) -> bool:
        with self._reading() as uow:
            return uow.studies.find_instance(sop_instance_uid) is not None

    def _write(
        self, opened: Sequence[OpenedAssociation], batch: list[InstanceRecord]
    ) -> tuple[set[str], StorageUnavailable | None]:
        """The UIDs and association ids whose rows are written, and why the others are not."""
        try:
            with self._uow() as uow:
                for association in opened:
                    open_association(uow, association)
                index_new_instances(uow, batch)
                uow.commit_unsynced()
        except StorageUnavailable as error:
            return set(), error
        except StorageConflict:  # one of them is there, or written by another process at this moment
            return self._write_each(opened, batch)
        ids = {association.association_id for association in opened}
        return ids | {record.sop_instance_uid for record in batch}, None

    def _write_each(
        self, opened: Sequence[OpenedAssociation], batch: list[InstanceRecord]
    ) -> tuple[set[str], StorageUnavailable | None]:
        written: set[str] = set()
        failure: StorageUnavailable | None = None
        for association in opened:
            try:
                self._open_alone(association)
            except StorageUnavailable as error:
                return written, error
            written.add(association.association_id)
        for record in batch:
            try:
                indexed = self._write_alone(record)
            except StorageUnavailable as error:
                failure = error
                continue
            written.add(record.sop_instance_uid)
            if indexed is not Indexed.NEW:
                self.on_unexpected(record, indexed)
        return written, failure

    def _open_alone(self, association: OpenedAssociation) -> None:
        try:
            with self._uow() as uow:
                open_association(uow, association)
                uow.commit_unsynced()
        except StorageConflict:
            pass  # written by a commit of ours that was said to have failed: no other process knows the id

    def _write_alone(self, record: InstanceRecord) -> Indexed:
        """The last try is without the association: of one that has no row, nothing can be said to carry the study."""
        for attempt in range(_TRIES_AFTER_CONFLICT):
            is_last = attempt == _TRIES_AFTER_CONFLICT - 1
            tried = replace(record, association_id="") if is_last else record
            try:
                with self._uow() as uow:
                    if uow.studies.has_file(record.file):
                        return Indexed.NEW  # written by a commit of ours that was said to have failed
                    indexed = index_instance(uow, tried, self._files, actor=record.calling_aet)
                    if indexed is not Indexed.CONFLICTING:
                        uow.commit()
                    return indexed
            except StorageConflict:
                continue
        raise StorageUnavailable(f"the row of instance {record.sop_instance_uid} is in conflict again and again")


def open_association(uow: UnitOfWork, association: OpenedAssociation) -> None:
    """Write the row of an association that is open; it carries no study yet. The caller commits."""
    uow.studies.open_association(
        association.association_id,
        calling_aet=association.calling_aet,
        address=association.address,
        at=association.at,
    )
