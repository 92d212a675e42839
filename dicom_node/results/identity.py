"""UIDs and numbers of the result objects: the same study, revision and bundle always give the same ones.

So a retry, or an encoding repeated after a crash, never makes twins in the PACS.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.core.finding import LEVELS, AnalysisResult, ResultKind
from dicom_node.core.identifiers import derived_uid

PATIENT_OVERALL = "patient overall"

# Far above what scanners count up to, so that the results stand behind the images; a revision has its own twenty.
# The numbers order a reader's series list: what people read first, then segmentations, then what machines read.
_FIRST_SERIES_NUMBER = 9000
_SERIES_PER_REVISION = 20
_SERIES_OFFSET = {
    kind: offset
    for offset, kind in enumerate(
        (
            ResultKind.TEXT_SR,
            ResultKind.SC,
            ResultKind.SEG,
            ResultKind.SUSPICION_SEG,
            ResultKind.SR,
            ResultKind.PDF,
            ResultKind.KOS,
            ResultKind.SEG_LABELMAP,
            ResultKind.SR_COMPREHENSIVE,
            ResultKind.SR_ENHANCED,
            ResultKind.STATUS_SR,
        ),
        start=1,
    )
}


@dataclass(frozen=True, kw_only=True)
class ObjectIdentity:
    """Who one result object is. `tracking` maps level (and `PATIENT_OVERALL`) to the Tracking UID in SEG and SR."""

    series_instance_uid: str
    sop_instance_uid: str
    series_number: int
    instance_number: int
    dimension_organization_uid: str
    tracking: dict[str, str]


def identify(kind: ResultKind, result: AnalysisResult, *, revision: int, instance: int = 1) -> ObjectIdentity:
    """The identity of the object of this kind; `instance` counts from 1 within its series."""

    def uid(*what: str) -> str:
        return derived_uid(result.study_instance_uid, str(revision), result.bundle.content, *what)

    return ObjectIdentity(
        series_instance_uid=uid(kind, "series"),
        sop_instance_uid=uid(kind) if instance == 1 else uid(kind, "instance", str(instance)),
        series_number=_FIRST_SERIES_NUMBER + _SERIES_PER_REVISION * revision + _SERIES_OFFSET[kind],
        instance_number=instance,
        dimension_organization_uid=uid(kind, "dimensions"),
        tracking={name: uid("tracking", name) for name in (*LEVELS, PATIENT_OVERALL)},
    )


def tracking_id(level: str) -> str:
    """The readable Tracking ID of a level, the same in SEG and SR."""
    return f"{level} vertebra"
