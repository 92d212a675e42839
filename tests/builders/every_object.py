"""One small DICOM object of each kind that a result may have, with the SOP class that the encoder gives it."""

from __future__ import annotations

from pathlib import Path

from dicom_node.core.finding import ResultKind, ResultObject
from tests.integration.dimse_support import instance, write

CLASSES: dict[ResultKind, str] = {
    ResultKind.SEG: "1.2.840.10008.5.1.4.1.1.66.4",
    ResultKind.SEG_LABELMAP: "1.2.840.10008.5.1.4.1.1.66.7",
    ResultKind.SUSPICION_SEG: "1.2.840.10008.5.1.4.1.1.66.4",
    ResultKind.SR: "1.2.840.10008.5.1.4.1.1.88.34",
    ResultKind.SR_COMPREHENSIVE: "1.2.840.10008.5.1.4.1.1.88.33",
    ResultKind.SR_ENHANCED: "1.2.840.10008.5.1.4.1.1.88.22",
    ResultKind.TEXT_SR: "1.2.840.10008.5.1.4.1.1.88.22",
    ResultKind.SC: "1.2.840.10008.5.1.4.1.1.7",
    ResultKind.KOS: "1.2.840.10008.5.1.4.1.1.88.59",
    ResultKind.PDF: "1.2.840.10008.5.1.4.1.1.104.1",
    ResultKind.STATUS_SR: "1.2.840.10008.5.1.4.1.1.88.22",
}
SR_CLASSES = frozenset(uid for uid in CLASSES.values() if ".88." in uid)
SEG_CLASSES = frozenset(uid for uid in CLASSES.values() if ".66." in uid)
SC_CLASS = CLASSES[ResultKind.SC]
DEFAULT_KINDS = tuple(kind for kind in ResultKind if kind not in (ResultKind.SEG_LABELMAP, ResultKind.STATUS_SR))


def result_object(folder: Path, kind: ResultKind, number: int = 1) -> ResultObject:
    """One object as a file in `folder`; the same kind and number give the same UIDs."""
    dataset = instance(number, sop_class_uid=CLASSES[kind], study=f"study of {kind.value}")
    return ResultObject(
        kind=kind,
        sop_class_uid=CLASSES[kind],
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        file=write(folder, dataset),
    )


def result_objects(folder: Path, kinds: tuple[ResultKind, ...] = DEFAULT_KINDS) -> tuple[ResultObject, ...]:
    """One object of each kind, and three key images."""
    numbers = {ResultKind.SC: (1, 2, 3)}
    return tuple(result_object(folder, kind, number) for kind in kinds for number in numbers.get(kind, (1,)))
