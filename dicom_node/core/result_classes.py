"""The SOP class of each kind of object this node makes, and the transfer syntaxes it can travel in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.core.finding import ResultKind

EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"
SYNTAX_NAMES: Mapping[str, str] = {
    EXPLICIT_LITTLE: "Explicit VR Little Endian",
    IMPLICIT_LITTLE: "Implicit VR Little Endian",
    RLE_LOSSLESS: "RLE Lossless",
}
_UNCOMPRESSED = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
_STORAGE = "1.2.840.10008.5.1.4.1.1."


@dataclass(frozen=True, kw_only=True)
class SopClass:
    """A Storage SOP class by UID, with its name; `transfer_syntaxes` are proposed one by one, the preferred first."""

    uid: str
    name: str
    transfer_syntaxes: tuple[str, ...] = _UNCOMPRESSED


_SEGMENTATION = SopClass(uid=f"{_STORAGE}66.4", name="Segmentation Storage")
_ENHANCED_SR = SopClass(uid=f"{_STORAGE}88.22", name="Enhanced SR Storage")

SOP_CLASSES: Mapping[ResultKind, SopClass] = {
    ResultKind.SEG: _SEGMENTATION,
    # Compressed, and so sent in that syntax alone.
    ResultKind.SEG_LABELMAP: SopClass(
        uid=f"{_STORAGE}66.7", name="Label Map Segmentation Storage", transfer_syntaxes=(RLE_LOSSLESS,)
    ),
    ResultKind.SUSPICION_SEG: _SEGMENTATION,
    ResultKind.SR: SopClass(uid=f"{_STORAGE}88.34", name="Comprehensive 3D SR Storage"),
    ResultKind.SR_COMPREHENSIVE: SopClass(uid=f"{_STORAGE}88.33", name="Comprehensive SR Storage"),
    ResultKind.SR_ENHANCED: _ENHANCED_SR,
    ResultKind.TEXT_SR: _ENHANCED_SR,
    ResultKind.SC: SopClass(uid=f"{_STORAGE}7", name="Secondary Capture Image Storage"),
    ResultKind.KOS: SopClass(uid=f"{_STORAGE}88.59", name="Key Object Selection Document Storage"),
    ResultKind.PDF: SopClass(uid=f"{_STORAGE}104.1", name="Encapsulated PDF Storage"),
    ResultKind.STATUS_SR: _ENHANCED_SR,
}


def kinds_by_class() -> dict[SopClass, tuple[ResultKind, ...]]:
    """Each SOP class once, with the kinds that are of it."""
    found: dict[SopClass, tuple[ResultKind, ...]] = {}
    for kind, sop_class in SOP_CLASSES.items():
        found[sop_class] = (*found.get(sop_class, ()), kind)
    return found
