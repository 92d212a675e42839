"""The findings as SR documents, root template TID 1500 (PS3.16), after IHE AI Results.

The content needs nothing that Enhanced SR does not have, so the same document exists as Comprehensive 3D, as
Comprehensive and as Enhanced SR, for receivers that refuse the one or the other.

Every measurement group has a 2D point on an image: OHIF 3.13 and 3.14 show a black viewport for the whole document
as soon as one group has none (observed in the field). What has no place, such as a level outside the field of view,
stands in the root's Qualitative Evaluations, which viewers read or ignore safely.

Every container's content is SEPARATE: with CONTINUOUS, text views print values without their names. The algorithm is
identified on the probability alone, because readers take every code in a group for a qualitative evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContainerContentItem,
    ContentSequence,
    FindingSite,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementReport,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from highdicom.sr import PlanarROIMeasurementsAndQualitativeEvaluations as PlanarGroup
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
)

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult, Finding, LevelStatus, ResultKind, ResultObject
from dicom_node.results import codes
from dicom_node.results.calls import Call
from dicom_node.results.evidence import of_source, replaces, rest_on, stand_in
from dicom_node.results.identity import ObjectIdentity
from dicom_node.results.observer import language, observation_context
from dicom_node.results.provenance import Equipment
from dicom_node.results.remarks import quality_notes
from dicom_node.results.sources import SourceSeries
from dicom_node.results.statements import Statement, located_statements
from dicom_node.results.wording import limits, not_assessed
from dicom_node.results.words import Words

SOP_CLASSES = {
    ResultKind.SR: Comprehensive3DSRStorage,
    ResultKind.SR_COMPREHENSIVE: ComprehensiveSRStorage,
    ResultKind.SR_ENHANCED: EnhancedSRStorage,
}

_CONTAINS = RelationshipTypeValues.CONTAINS
_CALL_CODES = {Call.PRESENT: codes.PRESENT, Call.ABSENT: codes.ABSENT, Call.UNDETERMINED: codes.UNDETERMINED}


@dataclass(frozen=True, kw_only=True)
class SegmentReference:
    """The segmentation this report goes with. `segment_numbers` maps level to segment number."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    segment_numbers: dict[str, int]


def build_reports(
    result: AnalysisResult,
    sources: SourceSeries,
    segmentations: tuple[SegmentReference, ...],
    equipment: Equipment,
    identities: Mapping[ResultKind, ObjectIdentity],
    predecessor: tuple[ResultObject, ...] = (),
) -> dict[ResultKind, Dataset]:
    """The SR of each kind in `identities`, all of the same content, without demographics and times.

    The kinds are those of `SOP_CLASSES`. Raises EncodingInvalid where a finding cannot be expressed.
    """
    report = _build(result, sources, segmentations, equipment, next(iter(identities.values())))
    segments = [(known.series_instance_uid, known.sop_class_uid, known.sop_instance_uid) for known in segmentations]
    rest_on(report, sources.study_instance_uid, [*of_source(sources), *segments])
    reports = {}
    for kind, identity in identities.items():
        reports[kind] = _variant(report, SOP_CLASSES[kind], identity)
        replaces(reports[kind], sources.study_instance_uid, predecessor, kind)
    return reports


def _build(
    result: AnalysisResult,
    sources: SourceSeries,
    segmentations: tuple[SegmentReference, ...],
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    try:
        statements = located_statements(result, sources, identity)
        groups = [_group(statement, result, sources, equipment) for statement in statements]
        content = _content(groups, result, segmentations, equipment)
        return hd.sr.Comprehensive3DSR(
            evidence=_pointed_at(statements, sources, segmentations),
            content=content[0],
            series_instance_uid=identity.series_instance_uid,
            series_number=identity.series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="AI cervical spine: fracture findings",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodingInvalid(f"the structured report cannot be built: {error}") from error


def _variant(report: Dataset, sop_class_uid: str, identity: ObjectIdentity) -> Dataset:
    """The same document in another SOP class: the contents are shared, the elements around them are its own."""
    variant = Dataset()
    for element in report:
        variant.add(DataElement(element.tag, element.VR, element.value))
    variant.SOPClassUID = sop_class_uid
    variant.SOPInstanceUID = identity.sop_instance_uid
    variant.SeriesInstanceUID = identity.series_instance_uid
    variant.SeriesNumber = identity.series_number
    variant.file_meta = FileMetaDataset()
    variant.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return variant


def summary_code(result: AnalysisResult) -> Code:
    """The overall status (CID 6047): whether every level was assessed, and whether anything was found."""
    assessed = [finding for finding in result.findings if finding.status is LevelStatus.ASSESSED]
    found = result.is_positive or any(finding.is_positive for finding in result.findings)
    if not assessed and not found:
        return codes.NONE_SUCCEEDED_WITHOUT_FINDINGS
    if len(assessed) == len(result.findings):
        return codes.ALL_SUCCEEDED_WITH_FINDINGS if found else codes.ALL_SUCCEEDED_WITHOUT_FINDINGS
    return codes.NOT_ALL_SUCCEEDED_WITH_FINDINGS if found else codes.NOT_ALL_SUCCEEDED_WITHOUT_FINDINGS


def _group(statement: Statement, result: AnalysisResult, sources: SourceSeries, equipment: Equipment) -> PlanarGroup:
    algorithm = AlgorithmIdentification(
        name=result.bundle.name,
        version=result.bundle.version,
        manufacturer=equipment.manufacturer,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        parameters=[
            f"threshold={100 * statement.threshold:.1f} %",
            f"bundle_sha256={result.bundle.sha256}",
            f"trained_on={result.bundle.trained_on}",
            *([f"levels_named_by={result.bundle.levels_named_by}"] if result.bundle.levels_named_by else []),
        ],
    )
    return PlanarGroup(
        tracking_identifier=TrackingIdentifier(uid=statement.tracking, identifier=statement.name),
        referenced_region=_region(statement.point_zyx, sources),
        finding_type=codes.FRACTURE,
        finding_sites=[FindingSite(anatomic_location=statement.site)],
        measurements=[
            Measurement(
                name=codes.PROBABILITY,
                value=round(100 * statement.probability, 2),
                unit=codes.PERCENT,
                algorithm_id=algorithm,
            )
        ],
        qualitative_evaluations=[QualitativeEvaluation(name=codes.FRACTURE, value=_CALL_CODES[statement.call])],
        geometric_purpose=codes.REPRESENTATIVE_POINT,
    )


def _region(point_zyx: tuple[int, int, int], sources: SourceSeries) -> ImageRegion:
    """A point as (column, row). The first pixel's centre is 0.5\\0.5, its outer corner 0\\0 (PS3.3 C.18.6.1.1)."""
    z, row, column = point_zyx
    frame = sources.frames[z]
    return ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POINT,
        graphic_data=np.array([[column + 0.5, row + 0.5]]),
        source_image=SourceImageForRegion(
            referenced_sop_class_uid=frame.sop_class_uid,
            referenced_sop_instance_uid=frame.sop_instance_uid,
            referenced_frame_numbers=None if frame.frame_number is None else [frame.frame_number],
        ),
    )


def _content(
    groups: list[PlanarGroup],
    result: AnalysisResult,
    segmentations: tuple[SegmentReference, ...],
    equipment: Equipment,
) -> MeasurementReport:
    report = MeasurementReport(
        observation_context=observation_context(equipment, result.bundle),
        procedure_reported=codes.CT_PROCEDURE,
        # highdicom wants at least one group; without any, a placeholder is made and taken out again below.
        imaging_measurements=groups or [hd.sr.MeasurementsAndQualitativeEvaluations(_PLACEHOLDER)],
        title=codes.REPORT_TITLE,
        language_of_content_item_and_descendants=language(equipment),
    )
    root = report[0].ContentSequence
    if not groups:
        del root[-1]
    root.append(_evaluations(result, segmentations, Words(language=equipment.language)))
    _separate(report[0])
    return report


_PLACEHOLDER = TrackingIdentifier(uid="2.25.0", identifier="none")


def _evaluations(
    result: AnalysisResult, segmentations: tuple[SegmentReference, ...], words: Words
) -> ContainerContentItem:
    """What has no place on an image: the overall status, levels without an answer, remarks and segmentations."""
    container = ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=_CONTAINS)
    items: list[Any] = [CodeContentItem(codes.SUMMARY, summary_code(result), _CONTAINS)]
    items += [_not_attempted(finding.level) for finding in result.findings if _is_unseen(finding)]
    items += [TextContentItem(codes.COMMENT, text, _CONTAINS) for text in _comments(result, words)]
    items += [_segments(segmentation) for segmentation in segmentations]
    container.ContentSequence = ContentSequence(items)
    return container


def _not_attempted(level: str) -> CodeContentItem:
    """A level without an answer, for machines; the comment beside it says why."""
    item = CodeContentItem(codes.STATUS_OF_RESULTS, codes.NOT_ATTEMPTED, _CONTAINS)
    site = CodeContentItem(codes.FINDING_SITE, codes.VERTEBRA[level], RelationshipTypeValues.HAS_CONCEPT_MOD)
    item.ContentSequence = ContentSequence([site])
    return item


def _segments(segmentation: SegmentReference) -> ImageContentItem:
    return ImageContentItem(
        name=codes.REFERENCED_SEGMENT,
        referenced_sop_class_uid=segmentation.sop_class_uid,
        referenced_sop_instance_uid=segmentation.sop_instance_uid,
        referenced_segment_numbers=sorted(segmentation.segment_numbers.values()),
        relationship_type=_CONTAINS,
    )


def _comments(result: AnalysisResult, words: Words) -> list[str]:
    unseen = [
        not_assessed(finding.level, finding.status.value, words) for finding in result.findings if _is_unseen(finding)
    ]
    unplaced = [
        words(
            "{level}: fracture probability {probability}, without a point on the images.",
            level=finding.level,
            probability=words.percent(finding.probability),
        )
        for finding in result.findings
        if finding.probability is not None and finding.key_index_zyx is None
    ]
    return [*unseen, *unplaced, *quality_notes(result.quality, words), *limits(words, result.bundle.trained_on)]


def _is_unseen(finding: Finding) -> bool:
    return finding.status is not LevelStatus.ASSESSED


def _separate(item: Dataset) -> None:
    """Every container's content is SEPARATE from here on: with CONTINUOUS, text views print values without names."""
    if item.get("ValueType") == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", []):
        _separate(child)


def _pointed_at(
    statements: list[Statement], sources: SourceSeries, segmentations: tuple[SegmentReference, ...]
) -> list[Dataset]:
    """Stand-ins for what the content refers to; the first image where no statement has a place."""
    frames = [sources.frames[z] for z in sorted({statement.point_zyx[0] for statement in statements} or {0})]
    instances = dict.fromkeys((frame.sop_class_uid, frame.sop_instance_uid) for frame in frames)
    references = [(sources.series_instance_uid, *instance) for instance in instances]
    references += [(known.series_instance_uid, known.sop_class_uid, known.sop_instance_uid) for known in segmentations]
    return [stand_in(sources.study_instance_uid, reference) for reference in references]
