"""The doctor with everything it looks at: rows, files, database, free space, permissions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from config.settings import Settings
from dicom_node.app.doctor import Doctor, Examined, Finding
from dicom_node.bootstrap.decoding import stale_frames
from dicom_node.bootstrap.leftovers import read_found_instance
from dicom_node.bootstrap.store import Store, open_store
from dicom_node.core.errors import ConfigurationError, NodeError
from storage.lock import hold_data_dir
from storage.permissions import close_up, too_open
from storage.schema import HEAD

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A finding as it is shown; `done` says what was done about it, empty where nothing was."""

    what: str
    file: str
    detail: str
    means: str
    remedy: str
    done: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was looked at, and what is wrong with it."""

    schema: str
    studies: int
    instances: int
    complaints: tuple[Complaint, ...]

    @property
    def is_well(self) -> bool:
        """Nothing is wrong, or everything was put right."""
        return all(complaint.done for complaint in self.complaints)


def diagnose(settings: Settings, *, deep: bool, repair: bool) -> Diagnosis:
    """Everything that is wrong with the store. Raises ConfigurationError where it cannot be opened.

    `repair` mends what is safe, and raises ConfigurationError while a node serves the store.
    """
    with ExitStack() as held:
        is_stopped = _hold(held, settings, must=repair)
        store = open_store(settings)
        held.callback(store.close)
        if is_stopped:
            store.files.recover()
        doctor = Doctor(
            uow_factory=store.unit_of_work if repair else store.reading,
            files=store.files,
            clock=store.clock,
            read_found=read_found_instance,
        )
        broken = list(_database(store, deep))
        # What a damaged database says of the files is not to be acted upon.
        examined = Examined() if broken else doctor.examine(deep=deep, is_stopped=is_stopped)
        findings = [*broken, *examined.findings, *_space(settings, store), *_permissions(settings)]
        if is_stopped and not broken:
            findings += stale_frames(settings, store)
        return Diagnosis(
            schema=HEAD,
            studies=examined.studies,
            instances=examined.instances,
            complaints=tuple(_complaint(finding, repair) for finding in findings),
        )


def _hold(held: ExitStack, settings: Settings, *, must: bool) -> bool:
    try:
        held.enter_context(hold_data_dir(settings.node.data_dir))
    except ConfigurationError:
        if must:
            raise
        return False
    return True


def _complaint(finding: Finding, repair: bool) -> Complaint:
    done = ""
    if repair and finding.mend is not None:
        try:
            done = finding.mend()
        except (NodeError, OSError) as error:
            return _shown(finding, remedy=f"{finding.remedy}; it failed: {error}")
    return _shown(finding, done=done)


def _shown(finding: Finding, **changes: Any) -> Complaint:
    facts = {"detail": finding.detail, "means": finding.means, "remedy": finding.remedy}
    return Complaint(what=finding.what, file=finding.subject, **(facts | changes))


def _database(store: Store, deep: bool) -> Iterator[Finding]:
    answer = store.database.integrity(deep=deep)
    if answer:
        yield Finding(
            what="database",
            subject="database",
            detail=answer,
            means="rows may be lost or wrong",
            remedy="none here: stop the node, restore a backup, let senders send again",
        )


def _space(settings: Settings, store: Store) -> Iterator[Finding]:
    free_bytes, wanted = store.files.free_bytes(), settings.node.min_free_bytes
    if free_bytes < wanted:
        yield Finding(
            what="space",
            subject=str(settings.node.data_dir),
            detail=f"{free_bytes} bytes are free, node.min_free_bytes is {wanted}",
            means="images are refused with A700, and their senders keep them",
            remedy="make room, or let [retention] do it",
        )


def _permissions(settings: Settings) -> Iterator[Finding]:
    paths = tuple(too_open(settings.node.data_dir))
    if not paths:
        return
    names = ", ".join(path.name for path in paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
    yield Finding(
        what="permissions",
        subject=str(settings.node.data_dir),
        detail=f"{len(paths)} files and folders are open to others: {names}",
        means="other users of this machine may read patient data",
        remedy="files become 0600 and folders 0700",
        mend=partial(_close_up, paths),
    )


def _close_up(paths: tuple[Path, ...]) -> str:
    for path in paths:
        close_up(path)
    return f"{len(paths)} files and folders are for their owner alone"
