"""Key images as Secondary Captures (PS3.3 A.8.1): a page of findings and the pictures, one series, one instance each.

For readers whose workstation shows neither SR nor segmentations. Uncompressed RGB, which everything displays.
Burned In Annotation is YES although no patient is named in the pixels: whoever collects images for other ends sees
that these are marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.errors import EncodingInvalid
from dicom_node.core.finding import AnalysisResult
from dicom_node.results import codes
from dicom_node.results.identity import ObjectIdentity
from dicom_node.results.pictures import Picture
from dicom_node.results.provenance import Equipment
from dicom_node.results.sources import SourceFrame, SourceSeries
from dicom_node.results.views import View

_SERIES = "AI cervical spine: key images"
_ANY_ORIENTATION = ("L", "P")  # highdicom wants one; that of the picture is set afterwards
_OVERVIEWS = {"sagittal": ["P", "F"], "coronal": ["L", "F"]}
_WHAT = {
    "axial": "Source slice in bone window with the outline of the vertebra and the suspected region",
    "sagittal": "Sagittal reformat in bone window with the outlines of the vertebrae",
    "coronal": "Coronal reformat in bone window with the outlines of the vertebrae",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Capture:
    """One picture of the series. `sources` are the source planes to go to from it, at least one."""

    image: Image.Image
    derivation: str
    sources: tuple[SourceFrame, ...]
    orientation: tuple[str, ...] = ()


def captures_of(
    summary: Image.Image, pictures: Iterable[Picture], result: AnalysisResult, sources: SourceSeries
) -> tuple[Capture, ...]:
    """The page of findings, then the pictures in their order.

    A picture of one level refers to the level's key slice, any other to those of all levels: a reader goes from a
    picture to where it was taken, and hundreds of references would be no help.
    """
    slices = {
        finding.level: sources.frames[finding.key_index_zyx[0]] for finding in result.findings if finding.key_index_zyx
    }
    everywhere = tuple(slices.values()) or sources.frames[:1]
    return (
        Capture(image=summary, derivation="Findings of an AI analysis, as text", sources=everywhere),
        *(_capture(picture, slices, everywhere) for picture in pictures),
    )


def build_capture(
    capture: Capture, trained_on: str, sources: SourceSeries, equipment: Equipment, identity: ObjectIdentity
) -> Dataset:
    """The object without demographics and times. Raises EncodingInvalid where the picture cannot be one."""
    try:
        target = hd.sc.SCImage(
            pixel_array=np.asarray(capture.image),
            photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            study_instance_uid=sources.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            series_number=identity.series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=identity.instance_number,
            manufacturer=equipment.manufacturer,
            patient_orientation=_ANY_ORIENTATION,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodingInvalid(f"the key image cannot be built: {error}") from error
    target.PatientOrientation = list(capture.orientation)
    target.ConversionType = "WSD"
    target.SeriesDescription = _SERIES
    target.BodyPartExamined = "CSPINE"
    target.BurnedInAnnotation = "YES"
    target.RecognizableVisualFeatures = "NO"
    target.DerivationDescription = capture.derivation
    target.ImageComments = codes.notice(trained_on)
    target.SourceImageSequence = _references(capture.sources)
    return target


def _capture(picture: Picture, slices: Mapping[str, SourceFrame], everywhere: tuple[SourceFrame, ...]) -> Capture:
    view = picture.view
    own = slices.get(view.level or "")
    return Capture(
        image=picture.image,
        derivation=_WHAT.get(view.kind, "Picture of the analysed volume"),
        orientation=_orientation(view),
        sources=everywhere if own is None else (own,),
    )


def _orientation(view: View) -> tuple[str, ...]:
    """Patient Orientation (0020,0020): the sides that rows run to and that columns run to."""
    if view.plane is None:
        return tuple(_OVERVIEWS.get(view.kind, ()))
    return _letters(view.plane.column_step_mm), _letters(view.plane.row_step_mm)


def _letters(step: NDArray[np.float64]) -> str:
    axis = int(np.abs(step).argmax())
    return ("LR", "PA", "HF")[axis][0 if step[axis] > 0 else 1]


def _references(frames: Iterable[SourceFrame]) -> list[Dataset]:
    """The instances once each, with the frames that are meant."""
    items: dict[str, Dataset] = {}
    for frame in frames:
        item = items.setdefault(frame.sop_instance_uid, Dataset())
        item.ReferencedSOPClassUID = frame.sop_class_uid
        item.ReferencedSOPInstanceUID = frame.sop_instance_uid
        if frame.frame_number is not None:
            known = [int(number) for number in np.atleast_1d(item.get("ReferencedFrameNumber", []))]
            item.ReferencedFrameNumber = sorted({*known, frame.frame_number})
    return list(items.values())
