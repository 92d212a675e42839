"""Do files and rows agree? Every instance row must have its file, every file its row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.core.study import InstanceRecord, StudyState

_PAGE = 200
_PREAMBLE = 128
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """`what` is wrong with `file` (relative to the file store)."""

    what: str
    file: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was looked at and what is wrong with it."""

    studies: int
    instances: int
    complaints: tuple[Complaint, ...]


def examine(store: Any, *, deep: bool) -> Report:
    """Compares every row with its file, and every recent file with its row; `deep` reads the files as well."""
    complaints: list[Complaint] = []
    studies = instances = 0
    for records in _instances(store):
        studies += 1
        for record in records:
            instances += 1
            complaints += _of_record(record, store.files.absolute(record.file), deep)
    complaints += _without_row(store)
    return Report(studies=studies, instances=instances, complaints=tuple(complaints))


def data_set_digest(file: Path) -> str:
    """The sha256 of what stands behind the file meta information (PS3.10 7.1), as the receiver stores it.

    Raises ValueError where the file is no Part 10 file.
    """
    with file.open("rb") as stream:
        head = stream.read(_PREAMBLE + 4 + 12)
        # (0002,0000) UL, length 4: the meta group's length counts from behind it.
        if head[_PREAMBLE : _PREAMBLE + 12] != b"DICM\x02\x00\x00\x00UL\x04\x00":
            raise ValueError("not a DICOM file with file meta information")
        stream.seek(int.from_bytes(head[-4:], "little"), 1)
        digest = hashlib.sha256()
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _instances(store: Any) -> Iterator[tuple[InstanceRecord, ...]]:
    offset = 0
    while True:
        with store.reading() as uow:
            page = uow.studies.list(states=(StudyState.RECEIVING, StudyState.CLOSED), limit=_PAGE, offset=offset)
            found = [uow.studies.instances(intake.study_instance_uid) for intake in page]
        yield from found
        if len(page) < _PAGE:
            return
        offset += _PAGE


def _of_record(record: InstanceRecord, file: Path, deep: bool) -> Iterator[Complaint]:
    if not file.is_file():
        yield Complaint(what="missing", file=str(record.file), detail=f"row {record.sop_instance_uid} has no file")
        return
    if not deep:
        if file.stat().st_size < record.size_bytes:
            yield Complaint(what="too short", file=str(record.file), detail=f"shorter than {record.size_bytes} bytes")
        return
    try:
        digest = data_set_digest(file)
    except ValueError as error:
        yield Complaint(what="damaged", file=str(record.file), detail=str(error))
        return
    if digest != record.digest:
        yield Complaint(what="damaged", file=str(record.file), detail="the digest differs from the one received")


def _without_row(store: Any) -> list[Complaint]:
    found = []
    with store.reading() as uow:
        for path in store.files.unfinished():
            if not uow.studies.has_file(path):
                found.append(
                    Complaint(
                        what="no row", file=str(path), detail="never acknowledged; the node sweeps it at its start"
                    )
                )
    return found
