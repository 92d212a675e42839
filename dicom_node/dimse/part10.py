"""A DICOM file as something to send: what it is, and the bytes behind its file meta (PS3.10 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom.dsutils import encode, split_dataset

from dicom_node.core.errors import EncodingInvalid
from dicom_node.dimse.contexts import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE

CONVERTIBLE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED)
"""Syntaxes that carry the same values and differ in the notation alone; a file in one can be sent in another."""


class NotDicom(Exception):
    """The file is no DICOM file, or does not say what it holds."""


@dataclass(frozen=True, kw_only=True)
class Part10File:
    """`data_set_offset` is where the data set begins, in bytes from the start of the file."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int


def read_part10(path: Path) -> Part10File:
    """What the file's meta information says. Raises NotDicom, OSError."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            raise NotDicom(f"{path} has no DICM prefix")
    try:
        meta, offset = split_dataset(path)
        return Part10File(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            data_set_offset=offset,
        )
    except (AttributeError, ValueError, EOFError) as error:
        raise NotDicom(f"{path} has no usable file meta information ({error})") from error


def data_set_in(file: Part10File, transfer_syntax_uid: str) -> bytes:
    """The data set in that syntax: the file's own bytes, or written anew among the convertible ones.

    Raises EncodingInvalid where the file cannot be had in that syntax, and OSError.
    """
    if transfer_syntax_uid == file.transfer_syntax_uid:
        with file.path.open("rb") as opened:
            opened.seek(file.data_set_offset)
            return opened.read()
    if file.transfer_syntax_uid not in CONVERTIBLE or transfer_syntax_uid not in CONVERTIBLE:
        raise EncodingInvalid(f"{file.path} cannot be sent as {transfer_syntax_uid}")
    syntax = UID(transfer_syntax_uid)
    encoded = encode(dcmread(file.path), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if encoded is None:
        raise EncodingInvalid(f"{file.path} cannot be written as {syntax.name}")
    return encoded


def files_below(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Every file named or found below a named folder, sorted within each folder."""
    found: list[Path] = []
    for path in paths:
        found += sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
    return tuple(found)
