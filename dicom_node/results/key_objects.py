"""The original slices that suspicious levels were seen on, as a Key Object Selection (PS3.3 A.35.4, TID 2010).

Made only where something is suspicious: "Of Interest" on the slices of a negative study would call a reader to
nothing, and lists filter by it.
"""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult
from dicom_node.results import codes
from dicom_node.results.evidence import rest_on
from dicom_node.results.identity import ObjectIdentity
from dicom_node.results.provenance import Equipment, blank_study
from dicom_node.results.sources import SourceFrame, SourceSeries


def key_frames(result: AnalysisResult, sources: SourceSeries) -> tuple[SourceFrame, ...]:
    """The key slice of each positive level, most suspicious first, each slice once."""
    positive = [finding for finding in result.findings if finding.is_positive and finding.key_index_zyx is not None]
    positive.sort(key=lambda finding: -(finding.probability or 0.0))
    frames = [sources.frames[finding.key_index_zyx[0]] for finding in positive if finding.key_index_zyx]
    return tuple({frame.key: frame for frame in frames}.values())


def build_key_objects(
    frames: tuple[SourceFrame, ...],
    description: str,
    sources: SourceSeries,
    equipment: Equipment,
    identity: ObjectIdentity,
) -> Dataset:
    """The selection of these frames without demographics and times. Raises EncodingInvalid."""
    try:
        images = {frame.sop_instance_uid: _stand_in(frame, sources) for frame in frames}
        document = hd.ko.KeyObjectSelectionDocument(
            evidence=list(images.values()),
            content=hd.ko.KeyObjectSelection(
                document_title=codes.OF_INTEREST,
                referenced_objects=list(images.values()),
                description=description,
            ),
            series_instance_uid=identity.series_instance_uid,
            series_number=identity.series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=identity.instance_number,
            manufacturer=equipment.manufacturer,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodingInvalid(f"the key object selection cannot be built: {error}") from error
    document.ContinuityOfContent = "SEPARATE"
    _settle_images(document, frames)
    references = [(sources.series_instance_uid, str(i.SOPClassUID), str(i.SOPInstanceUID)) for i in images.values()]
    rest_on(document, sources.study_instance_uid, references)
    document.SeriesDescription = "AI cervical spine: slices of interest"
    return document


def _stand_in(frame: SourceFrame, sources: SourceSeries) -> Dataset:
    """As much of an image as highdicom wants to see of what it refers to."""
    image = blank_study(sources.study_instance_uid)
    image.SeriesInstanceUID = sources.series_instance_uid
    image.SOPClassUID = frame.sop_class_uid
    image.SOPInstanceUID = frame.sop_instance_uid
    image.Modality = "CT"
    image.Rows, image.Columns = sources.rows, sources.columns
    return image


def _settle_images(document: Dataset, frames: tuple[SourceFrame, ...]) -> None:
    """References to a multiframe instance name the frames that are meant.

    highdicom gives each a concept name, Source; TID 2010 has none there, and PixelMed calls it an error.
    """
    for item in document.ContentSequence:
        if item.ValueType != "IMAGE":
            continue
        del item.ConceptNameCodeSequence
        reference = item.ReferencedSOPSequence[0]
        numbers = sorted(
            frame.frame_number
            for frame in frames
            if frame.sop_instance_uid == reference.ReferencedSOPInstanceUID and frame.frame_number is not None
        )
        if numbers:
            reference.ReferencedFrameNumber = numbers
