"""Take one SOP Instance from the network and answer for it.

Success means that the instance would survive a power cut: its file is durable before the answer. The row of an
instance that is new follows behind the answer where an `IndexBehind` is given, and is committed before it otherwise.
Everything else is a RejectedInput with the DIMSE status for the sender, who then keeps its copy.

A file without a row (a kill between the two) is found by the sweep at start-up. A row without a file cannot be.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.app import counting
from dicom_node.app.decode_ahead import DecodeAhead
from dicom_node.app.index_behind import IndexBehind
from dicom_node.app.index_instance import Indexed, index_instance
from dicom_node.app.set_aside import About, Kept, QuarantineLimits, SetAside, about_conflict
from dicom_node.core.errors import RejectedInput, StorageConflict, StorageUnavailable
from dicom_node.core.identifiers import is_uid, study_key
from dicom_node.core.quarantine import QuarantineReason
from dicom_node.core.study import InstanceRecord, PatientSummary
from dicom_node.ports import Clock, Counters, FileStore, StoredFile, UnitOfWorkFactory

log = structlog.get_logger(__name__)

OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900  # PS3.4 B.2.3
CANNOT_UNDERSTAND = 0xC000  # PS3.4 B.2.3
DUPLICATE_SOP_INSTANCE = 0x0111  # PS3.7 annex C; not in the list for C-STORE, and the only code that says it

_TRIES_AFTER_CONFLICT = 5


@dataclass(frozen=True, kw_only=True)
class InstanceHeader:
    """What the data set says of itself, as text; empty where it is silent."""

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    modality: str = ""
    body_part_examined: str = ""
    station_name: str = ""
    patient: PatientSummary = field(default_factory=PatientSummary)


@dataclass(frozen=True, kw_only=True)
class IncomingInstance:
    """One C-STORE request. `head` is preamble and file meta, `data_set` the bytes as sent.

    `sop_instance_uid` and `sop_class_uid` are the Affected ones of the command set (PS3.7 9.3.1); `header` was read
    from the data set and is None where it could not be read; then `why_unreadable` says why. `digest` is that of
    the data set where whoever received it knows it already.
    """

    head: bytes
    data_set: bytes | memoryview
    header: InstanceHeader | None
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_aet: str
    called_aet: str
    association_id: str
    why_unreadable: str = ""
    digest: bytes | None = None
    stored: StoredFile | None = None
    """The durable file, where `KeepInstance` in another process has looked at the instance and written it; `head` and
    `data_set` are empty then."""


class ReceiveInstance:
    """The use case behind C-STORE. Safe to call from many threads at once."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        clock: Clock,
        counters: Counters,
        min_free_bytes: int,
        quarantine: QuarantineLimits | None = None,
        behind: IndexBehind | None = None,
        ahead: DecodeAhead | None = None,
    ) -> None:
        self._uow = uow_factory
        self._behind = behind
        self._ahead = ahead
        if behind is not None:
            behind.on_unexpected = self._settle_unexpected
        self._files = files
        self._clock = clock
        self._counters = counters
        self._min_free_bytes = min_free_bytes
        self._arriving_bytes = 0
        self._guard = threading.Lock()
        self._set_aside = SetAside(
            uow_factory=uow_factory, files=files, clock=clock, counters=counters, limits=quarantine
        )

    def __call__(self, incoming: IncomingInstance) -> Indexed:
        """Store the instance; on return it is durable and indexed, or about to be, or was held already.

        Raises RejectedInput with the status to answer; then the node has kept nothing, or has put the instance into
        quarantine: one that cannot be read, contradicts its command, or has other content than the one held.
        """
        try:
            header = self._checked_header(incoming)
            if incoming.stored is not None:
                return self._store(incoming, header)
            with self._space_for(incoming):
                return self._store(incoming, header)
        except RejectedInput as rejection:
            self._counters.count(counting.INSTANCES_REJECTED, reason=rejection.reason)
            raise

    def _checked_header(self, incoming: IncomingInstance) -> InstanceHeader:
        try:
            return checked_header(incoming)
        except RejectedInput as rejection:
            self._keep_rejected_aside(incoming, rejection)
            raise

    def _keep_rejected_aside(self, incoming: IncomingInstance, rejection: RejectedInput) -> None:
        """The answer is the same whether a copy can be kept or not: the sender has one."""
        header = incoming.header or InstanceHeader()
        about = About(
            reason=QuarantineReason(rejection.reason),
            why=str(rejection),
            digest="",
            size_bytes=0,
            sop_instance_uid=incoming.sop_instance_uid,
            sop_class_uid=incoming.sop_class_uid,
            transfer_syntax_uid=incoming.transfer_syntax_uid,
            study_instance_uid=header.study_instance_uid,
            calling_aet=incoming.calling_aet,
        )
        try:
            with self._space_for(incoming):
                self._set_aside.refused_bytes(incoming.head, incoming.data_set, about)
        except (RejectedInput, StorageUnavailable, StorageConflict) as error:
            self._counters.count(counting.INSTANCES_NOT_KEPT_ASIDE, reason=rejection.reason)
            log.warning("rejected_instance_not_kept_aside", reason=rejection.reason, why=str(error))

    @contextmanager
    def _space_for(self, incoming: IncomingInstance) -> Iterator[None]:
        """The reserve stays free even when this instance and all that are being written now are on the disk.

        What the others have written of theirs counts twice, as used and as to come: on the safe side.
        """
        size_bytes = len(incoming.head) + memoryview(incoming.data_set).nbytes
        with self._guard:
            self._arriving_bytes += size_bytes
            arriving_bytes = self._arriving_bytes
        try:
            self._require_space(arriving_bytes)
            yield
        finally:
            with self._guard:
                self._arriving_bytes -= size_bytes

    def _require_space(self, arriving_bytes: int) -> None:
        wanted_bytes = self._min_free_bytes + arriving_bytes
        try:
            free_bytes = self._files.free_bytes()
            # What lies decoded for analyses to come is only a cache: it goes before an image is refused.
            if free_bytes < wanted_bytes and self._ahead is not None and self._ahead.give_room():
                free_bytes = self._files.free_bytes()
        except StorageUnavailable as error:
            raise _out_of_resources("storage_unavailable", str(error)) from error
        if free_bytes < wanted_bytes:
            raise _out_of_resources(
                "low_space",
                f"{free_bytes} bytes are free, {arriving_bytes} arrive and {self._min_free_bytes} are kept in reserve",
            )

    def _store(self, incoming: IncomingInstance, header: InstanceHeader) -> Indexed:
        if self._behind is not None and self._behind.claim(header.sop_instance_uid, header.study_instance_uid):
            return self._store_claimed(incoming, header, self._behind)
        record = self._write(incoming, header)
        answered = False
        try:
            if self._behind is not None:
                self._behind.until_open(record.association_id)
            indexed = self._index(record)
            answered = True
        except (StorageUnavailable, StorageConflict) as error:
            raise _out_of_resources("storage_unavailable", str(error)) from error
        finally:
            if not answered:
                self._discard_unless_indexed(record.file)
        return self._settle(record, indexed)

    def _store_claimed(self, incoming: IncomingInstance, header: InstanceHeader, behind: IndexBehind) -> Indexed:
        is_put = False
        try:
            record = self._write(incoming, header)
            behind.put(record)
            is_put = True
        finally:
            if not is_put:
                behind.forget(header.sop_instance_uid)
        return self._settle(record, Indexed.NEW)

    def _settle_unexpected(self, record: InstanceRecord, indexed: Indexed) -> None:
        """Another process took in the same UID between our look and our row; the sender has had its answer."""
        try:
            self._settle(record, indexed)
        except RejectedInput as rejection:
            log.warning("conflict_after_the_answer", sop_instance_uid=record.sop_instance_uid, why=str(rejection))

    def _write(self, incoming: IncomingInstance, header: InstanceHeader) -> InstanceRecord:
        if incoming.stored is not None:
            return self._record(incoming, header, incoming.stored)
        try:
            key = study_key(header.study_instance_uid)
            stored = self._files.write(key, incoming.head, incoming.data_set, digest=incoming.digest)
        except StorageUnavailable as error:
            raise _out_of_resources("storage_unavailable", str(error)) from error
        return self._record(incoming, header, stored)

    def _record(self, incoming: IncomingInstance, header: InstanceHeader, stored: StoredFile) -> InstanceRecord:
        return InstanceRecord(
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=incoming.sop_class_uid,
            transfer_syntax_uid=incoming.transfer_syntax_uid,
            series_instance_uid=header.series_instance_uid,
            study_instance_uid=header.study_instance_uid,
            calling_aet=incoming.calling_aet,
            called_aet=incoming.called_aet,
            association_id=incoming.association_id,
            received_at=self._clock.now(),
            file=stored.path,
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            modality=header.modality,
            body_part_examined=header.body_part_examined,
            station_name=header.station_name,
            patient=header.patient,
        )

    def _index(self, record: InstanceRecord) -> Indexed:
        for _ in range(_TRIES_AFTER_CONFLICT - 1):
            try:
                return self._index_once(record)
            except StorageConflict:
                continue  # the same instance, or the first one of the study, arrived on another association
        return self._index_once(record)

    def _index_once(self, record: InstanceRecord) -> Indexed:
        with self._uow() as uow:
            indexed = index_instance(uow, record, self._files, actor=record.calling_aet)
            if indexed is not Indexed.CONFLICTING:
                uow.commit()
            return indexed

    def _discard_unless_indexed(self, path: Path) -> None:
        """A commit that failed may still have happened: the file goes only where the database says so.

        Where it cannot be asked, the file stays for the sweep at start-up.
        """
        try:
            with self._uow() as uow:
                if uow.studies.has_file(path):
                    return
            self._files.discard(path)
        except (StorageUnavailable, StorageConflict) as error:
            log.warning("file_left_for_the_sweep", file=str(path), why=str(error))

    def _settle(self, record: InstanceRecord, indexed: Indexed) -> Indexed:
        match indexed:
            case Indexed.NEW:
                self._counters.count(counting.INSTANCES_RECEIVED, calling_aet=record.calling_aet)
                self._counters.observe(counting.BYTES_RECEIVED, float(record.size_bytes))
                if self._ahead is not None:
                    self._ahead.offer(record)
            case Indexed.IDENTICAL:
                self._discard_copy(record.file)
                self._counters.count(counting.INSTANCES_REPEATED, calling_aet=record.calling_aet)
            case Indexed.CONFLICTING:
                self._keep_conflict_aside(record)
        return indexed

    def _discard_copy(self, path: Path) -> None:
        try:
            self._files.discard(path)
        except StorageUnavailable as error:
            log.warning("file_left_for_the_sweep", file=str(path), why=str(error))

    def _keep_conflict_aside(self, record: InstanceRecord) -> None:
        self._counters.count(counting.INSTANCES_CONFLICTING, calling_aet=record.calling_aet)
        try:
            kept = self._set_aside.refused_file(record.file, about_conflict(record))
        except (StorageUnavailable, StorageConflict) as error:
            raise _out_of_resources("storage_unavailable", str(error)) from error
        log.warning(
            "conflicting_instance",
            study=study_key(record.study_instance_uid),
            sop_instance_uid=record.sop_instance_uid,
            calling_aet=record.calling_aet,
            kept=kept.value,
        )
        words = {Kept.ASIDE: "was kept aside", Kept.BEFORE: "was kept aside before", Kept.NOT: "was not kept"}
        raise RejectedInput(
            DUPLICATE_SOP_INSTANCE,
            "conflicting_instance",
            f"SOP Instance {record.sop_instance_uid} is held with other content; the new one {words[kept]}",
        )


def checked_header(incoming: IncomingInstance) -> InstanceHeader:
    """The header where it names study, series and instance and agrees with the command set.

    A data set without SOP Class UID is taken at the command's word (observed in the field: the RSNA 2022 images).
    Raises RejectedInput: 0xC000 where a UID is missing or unreadable, 0xA900 where it contradicts the command.
    """
    header = incoming.header
    if header is None:
        raise RejectedInput(CANNOT_UNDERSTAND, "unreadable", incoming.why_unreadable or "the data set cannot be read")
    for name, value in (
        ("Study Instance UID", header.study_instance_uid),
        ("Series Instance UID", header.series_instance_uid),
        ("SOP Instance UID", header.sop_instance_uid),
    ):
        if not is_uid(value):
            raise RejectedInput(CANNOT_UNDERSTAND, "missing_uid", f"{name} is {value!r}, which is not a UID")
    for name, value, commanded in (
        ("SOP Instance UID", header.sop_instance_uid, incoming.sop_instance_uid),
        ("SOP Class UID", header.sop_class_uid or incoming.sop_class_uid, incoming.sop_class_uid),
    ):
        if value != commanded:
            raise RejectedInput(
                DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
                "command_mismatch",
                f"{name} is {value} in the data set and {commanded!r} in the command",
            )
    return header


def _out_of_resources(reason: str, message: str) -> RejectedInput:
    return RejectedInput(OUT_OF_RESOURCES, reason, message)
