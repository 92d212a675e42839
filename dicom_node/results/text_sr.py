"""The report for people as a text SR: Basic Diagnostic Imaging Report, TID 2000 (PS3.16), as Enhanced SR.

It is read from the top, often in a small window: the verdict comes first. Each finding is a line of its own, because
OHIF does not wrap them. Every container is SEPARATE, so that text views print names beside the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom as hd
from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult, BundleIdentity, ResultKind, ResultObject
from dicom_node.results import codes
from dicom_node.results.evidence import Reference, of_key_images, of_source, replaces, rest_on, stand_in
from dicom_node.results.identity import ObjectIdentity
from dicom_node.results.observer import language, observation_context
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import SourceFrame, SourceSeries
from dicom_node.results.wording import Narrative

_CONTAINS = RelationshipTypeValues.CONTAINS
_Section = tuple[Code, Code, Sequence[str]]


def build_text_report(
    narrative: Narrative,
    result: AnalysisResult,
    sources: SourceSeries,
    equipment: Equipment,
    identity: ObjectIdentity,
    predecessor: tuple[ResultObject, ...] = (),
) -> Dataset:
    """The narrative as an SR, without demographics and times; suspicious levels refer to their key image.

    Raises EncodingInvalid where it cannot be built.
    """
    key_images = _key_images(result, sources)
    root = _root(narrative, equipment, result.bundle, result.study_instance_uid)
    root.ContentSequence.extend(_sections(narrative, key_images))
    report = _document(root, result.study_instance_uid, of_key_images(result, sources), equipment, identity)
    rest_on(report, sources.study_instance_uid, of_source(sources))
    replaces(report, sources.study_instance_uid, predecessor, ResultKind.TEXT_SR)
    return report


def build_status_report(
    narrative: Narrative,
    result: AnalysisResult,
    reference: Reference,
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    """A study that was not analysed, and why, so that silence never looks like a negative.

    `reference` is one instance of the study. Raises EncodingInvalid where the document cannot be built.
    """
    root = _root(narrative, equipment, result.bundle, result.study_instance_uid)
    root.ContentSequence.extend(_sections(narrative, {}))
    report = _document(root, result.study_instance_uid, [reference], equipment, identity)
    report.SeriesDescription = "AI cervical spine: not analysed"
    rest_on(report, result.study_instance_uid, [reference])
    return report


def _document(
    root: ContainerContentItem,
    study_instance_uid: str,
    references: Sequence[Reference],
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    """An Enhanced SR around `root`, which refers to nothing but `references`."""
    try:
        return hd.sr.EnhancedSR(
            evidence=[stand_in(study_instance_uid, reference) for reference in dict.fromkeys(references)],
            content=root,
            series_instance_uid=identity.series_instance_uid,
            series_number=identity.series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=identity.instance_number,
            manufacturer=equipment.manufacturer,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="AI cervical spine: report",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodingInvalid(f"the text report cannot be built: {error}") from error


def _root(
    narrative: Narrative, equipment: Equipment, bundle: BundleIdentity, study_instance_uid: str
) -> ContainerContentItem:
    root = ContainerContentItem(name=codes.TEXT_REPORT_TITLE, is_content_continuous=False, template_id="2000")
    study = UIDRefContentItem(
        name=codes.STUDY_OF_PROCEDURE,
        value=study_instance_uid,
        relationship_type=RelationshipTypeValues.HAS_OBS_CONTEXT,
    )
    items = [*language(equipment), *observation_context(equipment, bundle), study]
    root.ContentSequence = ContentSequence(items, is_root=False)
    return root


def _sections(narrative: Narrative, key_images: Mapping[str, SourceFrame]) -> list[ContainerContentItem]:
    sections: tuple[_Section, ...] = (
        (codes.IMPRESSIONS, codes.IMPRESSION, (narrative.verdict.text, narrative.limits[0])),
        (codes.PREVIOUS_FINDINGS, codes.PREVIOUS_FINDING, narrative.changes),
        (codes.FINDINGS, codes.FINDING, [said.text for said in narrative.levels]),
        (
            codes.PROCEDURE_DESCRIPTIONS,
            codes.PROCEDURE_DESCRIPTION,
            (*narrative.looked_at, *narrative.quality),
        ),
        (codes.CONCLUSIONS, codes.CONCLUSION, narrative.limits[1:]),
    )
    made = [_section(section) for section in sections if section[2]]
    for container in made:
        if container.name == codes.FINDINGS:
            _point(container, narrative, key_images)
    return made


def _section(section: _Section) -> ContainerContentItem:
    heading, name, texts = section
    container = ContainerContentItem(name=heading, relationship_type=_CONTAINS, is_content_continuous=False)
    container.ContentSequence = ContentSequence([TextContentItem(name, text, _CONTAINS) for text in texts])
    return container


def _point(findings: ContainerContentItem, narrative: Narrative, key_images: Mapping[str, SourceFrame]) -> None:
    """The sentence of a suspicious level is inferred from its key image."""
    for said, item in zip(narrative.levels, findings.ContentSequence, strict=True):
        frame = key_images.get(said.level)
        if frame is None:
            continue
        image = ImageContentItem(
            name=CodedConcept.from_code(codes.SOURCE_OF_MEASUREMENT),
            referenced_sop_class_uid=frame.sop_class_uid,
            referenced_sop_instance_uid=frame.sop_instance_uid,
            referenced_frame_numbers=None if frame.frame_number is None else [frame.frame_number],
            relationship_type=RelationshipTypeValues.INFERRED_FROM,
        )
        item.ContentSequence = ContentSequence([image])


def _key_images(result: AnalysisResult, sources: SourceSeries) -> dict[str, SourceFrame]:
    return {
        finding.level: sources.frames[finding.key_index_zyx[0]]
        for finding in result.findings
        if finding.is_positive and finding.key_index_zyx is not None
    }
