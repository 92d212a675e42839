"""Put a file into quarantine: the file with its note first, then its row and a line in the study's history.

What a sender was told that we refuse is kept aside within limits, so that a sender that sends rubbish all night cannot
fill the disk; beyond them nothing is kept, which loses nothing, because the sender was refused and keeps its copy. What
may be the only copy (a leftover of a crash, a damaged file) is kept whatever the limits say.

A kill between file and row leaves a file in quarantine without a row; the next start gives it one (`adopt`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import structlog

from dicom_node.app import counting
from dicom_node.app.moves import NODE, note
from dicom_node.core.identifiers import is_uid, study_key
from dicom_node.core.quarantine import QuarantinedFile, QuarantineReason, QuarantineState
from dicom_node.core.study import InstanceRecord
from dicom_node.data_set_hash import digest_of
from dicom_node.ports import Clock, Counters, FileStore, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class QuarantineLimits:
    """How much of what was refused is kept; what is held for other reasons counts too."""

    maximum_files: int = 10_000
    maximum_bytes: int = 20_000_000_000


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a file that is set aside; `why` is the reason in a sentence without patient data."""

    reason: QuarantineReason
    why: str
    digest: str
    size_bytes: int
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    study_instance_uid: str = ""
    calling_aet: str = ""


class Kept(StrEnum):
    """What became of a refused instance."""

    ASIDE = "aside"
    BEFORE = "before"  # this content of this instance is in quarantine, or was and somebody decided about it
    NOT = "not"  # quarantine is full


class SetAside:
    """Safe to call from many threads at once. Everything raises StorageUnavailable where disk or database fail."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        files: FileStore,
        clock: Clock,
        counters: Counters,
        limits: QuarantineLimits | None = None,
    ) -> None:
        self._uow = uow_factory
        self._files = files
        self._clock = clock
        self._counters = counters
        self._limits = limits or QuarantineLimits()

    def refused_bytes(self, head: bytes, data_set: bytes | memoryview, about: About) -> Kept:
        """Keep what was received and refused; `about.digest` and `about.size_bytes` are not needed."""
        digest = digest_of(data_set)
        about = replace(about, digest=digest, size_bytes=len(head) + memoryview(data_set).nbytes)
        kept = self._whether(about)
        if kept is Kept.ASIDE:
            stored = self._files.keep_aside(head, data_set, reason=about.reason.value, detail=_detail(about))
            self._record(stored.path, about)
        return kept

    def refused_file(self, path: Path, about: About) -> Kept:
        """As `refused_bytes`, for a file that is stored already and has no row; it is gone where it is not kept."""
        kept = self._whether(about)
        if kept is Kept.ASIDE:
            self.file(path, about)
        else:
            self._files.discard(path)
        return kept

    def file(self, path: Path, about: About) -> QuarantinedFile:
        """The file is in quarantine and has a row, whatever the limits say."""
        kept_at = self._files.set_aside(path, reason=about.reason.value, detail=_detail(about))
        return self._record(kept_at, about)

    def adopt(self) -> tuple[QuarantinedFile, ...]:
        """Files in quarantine without a row have one, from the notes beside them; returns those.

        Files that somebody has decided about and that a kill kept from being removed are gone.
        """
        adopted: list[QuarantinedFile] = []
        for path in self._files.quarantined():
            with self._uow() as uow:
                known = uow.quarantine.of_file(path)
            if known is None:
                adopted += self._adopted(path)
            elif known.state is not QuarantineState.HELD:
                self._files.discard(path)
        return tuple(adopted)

    def _adopted(self, path: Path) -> tuple[QuarantinedFile, ...]:
        try:
            about = self._about(path)
        except OSError as error:
            log.error("quarantine_unreadable", file=str(path), why=error.strerror, effect="it has no row")
            return ()
        return (self._record(path, about),)

    def _whether(self, about: About) -> Kept:
        with self._uow() as uow:
            if uow.quarantine.find(digest=about.digest, sop_instance_uid=about.sop_instance_uid) is not None:
                return Kept.BEFORE
            held = uow.quarantine.totals()
        limits = self._limits
        if held.files < limits.maximum_files and held.size_bytes + about.size_bytes <= limits.maximum_bytes:
            return Kept.ASIDE
        self._counters.count(counting.INSTANCES_NOT_KEPT_ASIDE, reason=about.reason.value)
        log.warning(
            "quarantine_full",
            reason=about.reason.value,
            held_files=held.files,
            held_bytes=held.size_bytes,
            calling_aet=about.calling_aet,
            effect="the refused instance was not kept; its sender was told of the refusal",
        )
        return Kept.NOT

    def _record(self, path: Path, about: About) -> QuarantinedFile:
        entry = QuarantinedFile(file=path, set_aside_at=self._clock.now(), **asdict(about))
        with self._uow() as uow:
            entry = uow.quarantine.add(replace(entry, study_instance_uid=_study_concerned(uow, about)))
            actor = about.calling_aet or NODE
            note_quarantine(
                uow, entry, about.reason.value, to_state=QuarantineState.HELD, reason=about.why, actor=actor
            )
            uow.commit()
        self._counters.count(counting.INSTANCES_SET_ASIDE, reason=about.reason.value)
        log.warning(
            "file_set_aside",
            quarantine=entry.id,
            reason=entry.reason.value,
            study=study_key(entry.study_instance_uid) if entry.study_instance_uid else "",
            calling_aet=entry.calling_aet,
        )
        return entry

    def _about(self, path: Path) -> About:
        """What the note beside a stray says; the digest is of the whole file where the note has none."""
        noted = self._files.note_of(path)
        detail = {str(key): str(value) for key, value in dict(noted.get("detail") or {}).items()}
        content = self._files.absolute(path).read_bytes()
        return About(
            reason=_known_reason(str(noted.get("reason", ""))),
            why=detail.get("why", "set aside without a row: the node ended in between, or an earlier version did it"),
            digest=detail.get("digest") or detail.get("sha256") or digest_of(content),
            size_bytes=len(content),
            **{name: detail.get(name, "") for name in _NAMES},
        )


def about_conflict(record: InstanceRecord) -> About:
    """Of an instance whose SOP Instance UID is held with other content."""
    return About(
        reason=QuarantineReason.CONFLICTING_INSTANCE,
        why=f"instance {record.sop_instance_uid} came with other content ({record.digest[:16]})"
        " than the one that is held",
        digest=record.digest,
        size_bytes=record.size_bytes,
        sop_instance_uid=record.sop_instance_uid,
        sop_class_uid=record.sop_class_uid,
        transfer_syntax_uid=record.transfer_syntax_uid,
        study_instance_uid=record.study_instance_uid,
        calling_aet=record.calling_aet,
    )


def note_quarantine(
    uow: UnitOfWork,
    entry: QuarantinedFile,
    event: str,
    *,
    to_state: QuarantineState,
    reason: str,
    actor: str,
    from_state: str = "",
) -> None:
    """A line in the history of the study that the file belongs to, where it says to which."""
    note(
        uow,
        f"quarantine:{entry.id}",
        event,
        at=entry.settled_at or entry.set_aside_at,
        from_state=from_state,
        to_state=to_state.value,
        reason=reason,
        actor=actor,
        study_instance_uid=entry.study_instance_uid if is_uid(entry.study_instance_uid) else "",
    )


def _study_concerned(uow: UnitOfWork, about: About) -> str:
    """Of a conflict, the study that holds the UID, whatever study the newcomer names."""
    held = uow.studies.find_instance(about.sop_instance_uid) if is_uid(about.sop_instance_uid) else None
    return about.study_instance_uid if held is None else held.study_instance_uid


_NAMES = ("sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "study_instance_uid", "calling_aet")


def _detail(about: About) -> dict[str, str]:
    """What the note beside the file says, so that its row can be made from it."""
    named = {name: getattr(about, name) for name in _NAMES}
    return {name: value for name, value in named.items() if value} | {"digest": about.digest, "why": about.why}


def _known_reason(word: str) -> QuarantineReason:
    return QuarantineReason(word) if word in set(QuarantineReason) else QuarantineReason.UNREADABLE_LEFTOVER
