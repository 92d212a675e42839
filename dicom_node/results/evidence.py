"""What a document rests on and what it replaces: the references in its header (PS3.3 C.17.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from dicom_node.core.finding import AnalysisResult, ResultKind, ResultObject
from dicom_node.results.provenance import blank_study
from dicom_node.results.references import refer
from dicom_node.results.sources import SourceSeries

Reference = tuple[str, str, str]
"""Series Instance UID, SOP Class UID and SOP Instance UID."""


def of_source(sources: SourceSeries) -> list[Reference]:
    """Every instance of the analysed series."""
    return [(sources.series_instance_uid, sop_class, instance) for sop_class, instance in sources.instances]


def of_key_images(result: AnalysisResult, sources: SourceSeries) -> list[Reference]:
    """The key image of each suspicious level, the first image of the series where there is none."""
    at = [finding.key_index_zyx[0] for finding in result.findings if finding.is_positive and finding.key_index_zyx]
    frames = [sources.frames[z] for z in at or [0]]
    return list(
        dict.fromkeys((sources.series_instance_uid, frame.sop_class_uid, frame.sop_instance_uid) for frame in frames)
    )


def rest_on(document: Dataset, study_instance_uid: str, references: Iterable[Reference]) -> None:
    """`document` names exactly these as the evidence of the requested procedure, by series.

    highdicom's own way needs a whole data set for each instance and takes a second for a thousand slices.
    """
    document.CurrentRequestedProcedureEvidenceSequence = [_study(study_instance_uid, references)]
    if "PertinentOtherEvidenceSequence" in document:
        del document.PertinentOtherEvidenceSequence


def stand_in(study_instance_uid: str, reference: Reference) -> Dataset:
    """As much of an instance as highdicom wants to see of what a document refers to."""
    item = blank_study(study_instance_uid)
    item.SeriesInstanceUID, item.SOPClassUID, item.SOPInstanceUID = reference
    return item


def replaces(document: Dataset, study_instance_uid: str, predecessor: Sequence[ResultObject], kind: ResultKind) -> None:
    """`document` names the earlier document of its kind in the Predecessor Documents Sequence, if there is one."""
    earlier = [
        (entry.series_instance_uid, entry.sop_class_uid, entry.sop_instance_uid)
        for entry in predecessor
        if entry.kind is kind
    ]
    if earlier:
        document.PredecessorDocumentsSequence = [_study(study_instance_uid, earlier)]


def _study(study_instance_uid: str, references: Iterable[Reference]) -> Dataset:
    by_series: dict[str, list[tuple[str, str]]] = {}
    for series_uid, sop_class, sop_instance in references:
        by_series.setdefault(series_uid, []).append((sop_class, sop_instance))
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = [_series(uid, instances) for uid, instances in by_series.items()]
    return study


def _series(series_uid: str, instances: list[tuple[str, str]]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    refer(series, "ReferencedSOPSequence", tuple(instances))
    return series
