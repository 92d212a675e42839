"""The findings as a Comprehensive 3D SR, root template TID 1500 (PS3.16), after IHE AI Results.

Every measurement group has a 2D point on an image: OHIF 3.13 and 3.14 show a black viewport for the whole document
as soon as one group has none (observed in the field). What has no place, such as a level outside the field of view,
stands in the root's Qualitative Evaluations, which viewers read or ignore safely.

Every container's content is SEPARATE: with CONTINUOUS, text views print values without their names. The algorithm is
identified on the probability alone, because readers take every code in a group for a qualitative evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
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
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dcm
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult, Finding, LevelStatus, ResultKind, ResultObject
from dicom_node.results import codes
from dicom_node.results.identity import PATIENT_OVERALL, ObjectIdentity, tracking_id
from dicom_node.results.provenance import Equipment, blank_study, device_uid
from dicom_node.results.sources import SourceSeries

_CONTAINS = RelationshipTypeValues.CONTAINS
_WHY_NOT_ASSESSED = {
    LevelStatus.PARTLY_IN_FIELD_OF_VIEW: "not assessed: only partly in the field of view",
    LevelStatus.NOT_ASSESSED: "not assessed: not found in the field of view",
}


@dataclass(frozen=True, kw_only=True)
class SegmentReference:
    """The segmentation this report goes with. `segment_numbers` maps level to segment number."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    segment_numbers: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """One measurement group: a probability about a site, with a point to look at (z, row, column)."""

    name: str
    tracking: str
    site: Code
    probability: float
    threshold: float
    point_zyx: tuple[int, int, int]

    @property
    def is_positive(self) -> bool:
        return self.probability >= self.threshold


def build_report(
    result: AnalysisResult,
    sources: SourceSeries,
    segmentation: SegmentReference | None,
    equipment: Equipment,
    identity: ObjectIdentity,
    predecessor: tuple[ResultObject, ...] = (),
) -> Dataset:
    """The SR without demographics and times. Raises EncodingInvalid where a finding cannot be expressed."""
    try:
        groups = [_group(statement, result, sources, equipment) for statement in _statements(result, sources, identity)]
        content = _content(groups, result, segmentation, equipment)
        report = hd.sr.Comprehensive3DSR(
            evidence=_evidence(sources, segmentation),
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
    _name_predecessors(report, sources.study_instance_uid, predecessor)
    return report


def why_not_assessed(finding: Finding) -> str:
    """One phrase, for the SR and the page; empty for an assessed level."""
    return _WHY_NOT_ASSESSED.get(finding.status, "")


def summary_code(result: AnalysisResult) -> Code:
    """The overall status (CID 6047): whether every level was assessed, and whether anything was found."""
    assessed = [finding for finding in result.findings if finding.status is LevelStatus.ASSESSED]
    found = result.is_positive or any(finding.is_positive for finding in result.findings)
    if not assessed and not found:
        return codes.NONE_SUCCEEDED_WITHOUT_FINDINGS
    if len(assessed) == len(result.findings):
        return codes.ALL_SUCCEEDED_WITH_FINDINGS if found else codes.ALL_SUCCEEDED_WITHOUT_FINDINGS
    return codes.NOT_ALL_SUCCEEDED_WITH_FINDINGS if found else codes.NOT_ALL_SUCCEEDED_WITHOUT_FINDINGS


def _statements(result: AnalysisResult, sources: SourceSeries, identity: ObjectIdentity) -> list[_Statement]:
    located = [
        _Statement(
            name=tracking_id(finding.level),
            tracking=identity.tracking[finding.level],
            site=codes.VERTEBRA[finding.level],
            probability=finding.probability,
            threshold=finding.threshold,
            point_zyx=finding.key_index_zyx,
        )
        for finding in result.findings
        if finding.probability is not None and finding.key_index_zyx is not None
    ]
    for statement in located:
        _check_point(statement, sources)
    if result.overall_probability is None or not located:
        return located
    overall = _Statement(
        name="Cervical spine, patient overall",
        tracking=identity.tracking[PATIENT_OVERALL],
        site=codes.CERVICAL_SPINE,
        probability=result.overall_probability,
        threshold=result.overall_threshold,
        point_zyx=_overall_point(located, len(sources.frames)),
    )
    return [overall, *located]


def _check_point(statement: _Statement, sources: SourceSeries) -> None:
    limits = (len(sources.frames), sources.rows, sources.columns)
    if not all(0 <= index < limit for index, limit in zip(statement.point_zyx, limits, strict=True)):
        raise EncodingInvalid(f"the point of {statement.name} {statement.point_zyx} lies outside the series {limits}")


def _overall_point(located: list[_Statement], depth: int) -> tuple[int, int, int]:
    """The most suspicious level's point, moved to the nearest slice that shows no other point.

    Viewers draw a label at each point; two on one pixel are unreadable.
    """
    z, row, column = max(located, key=lambda statement: statement.probability).point_zyx
    taken = {statement.point_zyx[0] for statement in located}
    free = [other for other in range(depth) if other not in taken]
    return min(free, key=lambda other: (abs(other - z), other), default=z), row, column


def _group(statement: _Statement, result: AnalysisResult, sources: SourceSeries, equipment: Equipment) -> PlanarGroup:
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
        qualitative_evaluations=[
            QualitativeEvaluation(name=codes.FRACTURE, value=codes.PRESENT if statement.is_positive else codes.ABSENT)
        ],
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
    groups: list[PlanarGroup], result: AnalysisResult, segmentation: SegmentReference | None, equipment: Equipment
) -> MeasurementReport:
    observer = hd.sr.ObserverContext(
        observer_type=dcm.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=device_uid(equipment, result.bundle),
            name=equipment.model_name,
            manufacturer_name=equipment.manufacturer,
            model_name=equipment.model_name,
            serial_number=equipment.device_serial,
        ),
    )
    report = MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.CT_PROCEDURE,
        # highdicom wants at least one group; without any, a placeholder is made and taken out again below.
        imaging_measurements=groups or [hd.sr.MeasurementsAndQualitativeEvaluations(_PLACEHOLDER)],
        title=codes.REPORT_TITLE,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(codes.LANGUAGES[equipment.language])
        ),
    )
    root = report[0].ContentSequence
    if not groups:
        del root[-1]
    root.append(_evaluations(result, segmentation))
    _separate(report[0])
    return report


_PLACEHOLDER = TrackingIdentifier(uid="2.25.0", identifier="none")


def _evaluations(result: AnalysisResult, segmentation: SegmentReference | None) -> ContainerContentItem:
    container = ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=_CONTAINS)
    items: list[Any] = [CodeContentItem(codes.SUMMARY, summary_code(result), _CONTAINS)]
    items += [TextContentItem(codes.COMMENT, _plain(text), _CONTAINS) for text in _comments(result)]
    if segmentation is not None:
        items.append(
            ImageContentItem(
                name=codes.REFERENCED_SEGMENT,
                referenced_sop_class_uid=segmentation.sop_class_uid,
                referenced_sop_instance_uid=segmentation.sop_instance_uid,
                referenced_segment_numbers=sorted(segmentation.segment_numbers.values()),
                relationship_type=_CONTAINS,
            )
        )
    container.ContentSequence = ContentSequence(items)
    return container


def _comments(result: AnalysisResult) -> list[str]:
    unseen = [
        f"{finding.level} {why_not_assessed(finding)}" for finding in result.findings if why_not_assessed(finding)
    ]
    unplaced = [
        f"{finding.level}: fracture probability {100 * finding.probability:.1f} %, no point to show"
        for finding in result.findings
        if finding.probability is not None and finding.key_index_zyx is None
    ]
    quality = [f"Quality: {note}" for note in result.quality]
    return [*unseen, *unplaced, *quality, codes.notice(result.bundle.trained_on)]


def _plain(text: str) -> str:
    """Text of our own is ASCII, which every character set of a study can hold."""
    return text.encode("ascii", "replace").decode("ascii")


def _separate(item: Dataset) -> None:
    if item.get("ValueType") == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", []):
        _separate(child)


def _evidence(sources: SourceSeries, segmentation: SegmentReference | None) -> list[Dataset]:
    """Stand-ins for every instance of the analysed series and the segmentation: what the report rests on."""
    images = [
        _evidence_item(sources.study_instance_uid, sources.series_instance_uid, sop_class, sop_instance)
        for sop_class, sop_instance in sources.instances
    ]
    if segmentation is None:
        return images
    segments = _evidence_item(
        sources.study_instance_uid,
        segmentation.series_instance_uid,
        segmentation.sop_class_uid,
        segmentation.sop_instance_uid,
    )
    return [*images, segments]


def _evidence_item(study: str, series: str, sop_class: str, sop_instance: str) -> Dataset:
    item = blank_study(study)
    item.SeriesInstanceUID = series
    item.SOPClassUID = sop_class
    item.SOPInstanceUID = sop_instance
    return item


def _name_predecessors(report: Dataset, study_instance_uid: str, predecessor: tuple[ResultObject, ...]) -> None:
    """Reports of the revision before are named in the Predecessor Documents Sequence (PS3.3 C.17.2)."""
    series_items = []
    for earlier in predecessor:
        if earlier.kind is not ResultKind.SR:
            continue
        instance = Dataset()
        instance.ReferencedSOPClassUID = earlier.sop_class_uid
        instance.ReferencedSOPInstanceUID = earlier.sop_instance_uid
        series = Dataset()
        series.SeriesInstanceUID = earlier.series_instance_uid
        series.ReferencedSOPSequence = [instance]
        series_items.append(series)
    if series_items:
        study = Dataset()
        study.StudyInstanceUID = study_instance_uid
        study.ReferencedSeriesSequence = series_items
        report.PredecessorDocumentsSequence = [study]
