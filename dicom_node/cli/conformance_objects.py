"""The part of the conformance statement about the objects that this node creates (PS3.2 A.8.1 and A.8.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_node.core.finding import ResultKind
from dicom_node.core.result_classes import SOP_CLASSES

K = ResultKind


@dataclass(frozen=True, kw_only=True)
class CreatedObject:
    """One kind: its SOP class, and its template or what stands for one."""

    sop_class_uid: str
    template: str
    content: str


CREATED: Mapping[ResultKind, CreatedObject] = {
    K.SEG: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SEG].uid,
        template="Segmentation Type BINARY",
        content="one segment for each of C1 to C7 that was found, on the grid of the analysed series",
    ),
    K.SEG_LABELMAP: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SEG_LABELMAP].uid,
        template="Segmentation Type LABELMAP",
        content="the same, pixel value n for Cn",
    ),
    K.SUSPICION_SEG: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SUSPICION_SEG].uid,
        template="Segmentation Type BINARY",
        content="where positive levels look suspicious, in disjoint bands; only where a level is positive",
    ),
    K.SR: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SR].uid,
        template="TID 1500, with TID 1204, 1001, 1410, 300 and 4019",
        content="a measurement group for each assessed level; overall status and levels that were not assessed",
    ),
    K.SR_COMPREHENSIVE: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SR_COMPREHENSIVE].uid, template="TID 1500, as above", content="the same"
    ),
    K.SR_ENHANCED: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SR_ENHANCED].uid, template="TID 1500, as above", content="the same"
    ),
    K.TEXT_SR: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.TEXT_SR].uid,
        template="TID 2000, with TID 1204, 1001 and 2002",
        content="the findings in sentences, what was looked at, what was not assessed, limits",
    ),
    K.SC: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.SC].uid,
        template="none",
        content="key images with burned-in labels, several instances in one series",
    ),
    K.KOS: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.KOS].uid,
        template="TID 2010",
        content="references to the original key slices",
    ),
    K.PDF: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.PDF].uid,
        template="none",
        content="the sentences of the text SR and the key images",
    ),
    K.STATUS_SR: CreatedObject(
        sop_class_uid=SOP_CLASSES[K.STATUS_SR].uid,
        template="TID 2000, as above",
        content="why a study was not analysed; on request of a peer",
    ),
}

# Newer than the dictionary that names the others.
_NAMES = {K.SEG_LABELMAP: "Label Map Segmentation Storage"}

_WHERE = {
    "VERTEBRA": "segments (Segmented Property Type), finding sites",
    "CERVICAL_SPINE": "finding site of the patient as a whole",
    "ANATOMICAL_STRUCTURE": "Segmented Property Category of vertebrae",
    "MORPHOLOGICALLY_ABNORMAL_STRUCTURE": "Segmented Property Category of suspected regions",
    "FRACTURE": "finding; Segmented Property Type of suspected regions",
    "PRESENT": "Fracture",
    "ABSENT": "Fracture",
    "UNDETERMINED": "Fracture",
    "PROBABILITY": "measurement of each level",
    "PERCENT": "its unit",
    "ARTIFICIAL_INTELLIGENCE": "algorithm family",
    "REPRESENTATIVE_POINT": "purpose of each point",
    "CT_PROCEDURE": "Procedure reported",
    "SUMMARY": "overall status, values of CID 6047 below",
    "STATUS_OF_RESULTS": "a level that was not assessed",
    "PROCESSING_EQUIPMENT": "Contributing Equipment Sequence",
}


def created_objects() -> list[str]:
    """The table of created SOP instances."""
    from pydicom.uid import UID

    rows = []
    for kind, made in CREATED.items():
        name = _NAMES.get(kind) or UID(made.sop_class_uid).name
        rows.append(f"| `{kind.value}` | {name} | {made.sop_class_uid} | {made.template} | {made.content} |")
    return ["| object | SOP class | UID | template | content |", "| --- | --- | --- | --- | --- |", *rows, ""]


def fallbacks() -> list[str]:
    """What stands in for what."""
    from dicom_node.core.shipment import FALLBACKS

    rows = [
        f"| `{kind.value}` | {', '.join(f'`{other.value}`' for other in line)} |"
        for kind, line in FALLBACKS.items()
        if line
    ]
    return ["| object | where it is not accepted, the first of these that is |", "| --- | --- |", *rows, ""]


def coded_terms() -> list[str]:
    """Every code of the result objects, in the order of the module that defines them."""
    from pydicom.sr.coding import Code

    from dicom_node.results import codes

    rows: list[str] = []
    for name, value in vars(codes).items():
        found: Iterable[Code] = value.values() if isinstance(value, dict) else (value,)
        for code in found:
            if isinstance(code, Code):
                used = _WHERE.get(name, "")
                rows.append(f"| {code.value} | {code.scheme_designator} | {code.meaning} | {used} |")
    return ["| code | scheme | meaning | where |", "| --- | --- | --- | --- |", *rows, ""]
