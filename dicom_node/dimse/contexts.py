"""Which presentation contexts this node accepts, and how their data sets are encoded.

Storage is taken widely: a PACS that finds one object of a study refused often reports the whole study as failed.
Accepted are the Storage SOP classes that pydicom and pynetdicom know (retired ones as well), those of the standard's
storage root that are newer than these libraries, and private ones (vendors keep raw data and protocols there).
Not accepted are the Non-Patient Object SOP classes (PS3.4 annex GG): such an object belongs to no study.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.uid import UID_dictionary
from pynetdicom.sop_class import _NON_PATIENT_OBJECT_CLASSES, _STORAGE_CLASSES

from dicom_node.core.identifiers import is_uid

VERIFICATION = "1.2.840.10008.1.1"
PUSH_MODEL = "1.2.840.10008.1.20.1"  # storage commitment
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_DICOM_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_SYNTAX_ROOT = "1.2.840.10008.1.2."
_PAPYRUS_3 = "1.2.840.10008.1.20"
_JPIP_DEFLATE = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")


def _of_type(kind: str, word: str = "") -> frozenset[str]:
    return frozenset(uid for uid, (name, type_, *_rest) in UID_dictionary.items() if type_ == kind and word in name)


NON_PATIENT_OBJECTS: frozenset[str] = frozenset(_NON_PATIENT_OBJECT_CLASSES.values())
STORAGE_SOP_CLASSES: frozenset[str] = (
    frozenset(_STORAGE_CLASSES.values())
    | {uid for uid in _of_type("SOP Class", "Storage") if uid.startswith("1.2.840.10008.5.1.")}
) - NON_PATIENT_OBJECTS
TRANSFER_SYNTAXES: frozenset[str] = _of_type("Transfer Syntax")


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the bytes of a data set are to be read (PS3.5 annex A)."""

    is_implicit_vr: bool
    is_little_endian: bool
    is_deflated: bool = False


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """The encoding of the data set; whatever is not listed here is Explicit VR Little Endian (PS3.5 A.4)."""
    return Encoding(
        is_implicit_vr=transfer_syntax_uid in (IMPLICIT_LITTLE, _PAPYRUS_3),
        is_little_endian=transfer_syntax_uid != EXPLICIT_BIG,
        is_deflated=transfer_syntax_uid == DEFLATED or transfer_syntax_uid in _JPIP_DEFLATE,
    )


def is_storage_sop_class(uid: str) -> bool:
    """Whether C-STORE of this SOP class is accepted."""
    if uid in STORAGE_SOP_CLASSES:
        return True
    if uid in NON_PATIENT_OBJECTS or uid in UID_dictionary or not is_uid(uid):
        return False
    return uid.startswith(_STORAGE_ROOT) or not uid.startswith(_DICOM_ROOT)


def is_transfer_syntax(uid: str) -> bool:
    """Whether data sets in this syntax are accepted: those pydicom knows, and newer ones of the standard's root.

    The standard adds compressed syntaxes only, and these are Explicit VR Little Endian; a private syntax may be
    anything and is refused.
    """
    return uid in TRANSFER_SYNTAXES or (uid.startswith(_SYNTAX_ROOT) and is_uid(uid) and uid not in UID_dictionary)


def choose_transfer_syntax(abstract_syntax: str, proposed: Iterable[str]) -> str | None:
    """The transfer syntax to accept for a proposed presentation context, or None to reject it.

    The first one proposed that we know: a requestor that lists several puts the one the instance is stored in, or
    the one it prefers, first (observed in the field; PS3.8 9.3.2.2 gives the order no meaning). For Verification
    there is no data set, and an uncompressed syntax suffices; storage commitment has small data sets of its own.
    """
    if abstract_syntax == PUSH_MODEL:
        return next((uid for uid in proposed if uid in (IMPLICIT_LITTLE, EXPLICIT_LITTLE)), None)
    if abstract_syntax == VERIFICATION:
        known = [uid for uid in proposed if uid in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)]
        return known[0] if known else None
    return next((uid for uid in proposed if is_transfer_syntax(uid)), None)
