"""A PDF as a DICOM object: Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from dicom_node.results import codes
from dicom_node.results.evidence import Reference
from dicom_node.results.identity import ObjectIdentity


def encapsulate(pdf: bytes, title: str, rests_on: list[Reference], identity: ObjectIdentity) -> Dataset:
    """The object around `pdf`, without demographics and times. `rests_on` are the images that it shows."""
    target = Dataset()
    target.SOPClassUID = EncapsulatedPDFStorage
    target.SOPInstanceUID = identity.sop_instance_uid
    target.SeriesInstanceUID = identity.series_instance_uid
    target.SeriesNumber = identity.series_number
    target.SeriesDescription = "AI cervical spine: report on paper"
    target.InstanceNumber = identity.instance_number
    target.Modality = "DOC"
    target.ConversionType = "WSD"
    target.BurnedInAnnotation = "YES"  # the name of the patient stands on the paper
    target.RecognizableVisualFeatures = "NO"
    target.AcquisitionDateTime = None
    target.DocumentTitle = title
    target.ConceptNameCodeSequence = [CodedConcept.from_code(codes.TEXT_REPORT_TITLE)]
    target.MIMETypeOfEncapsulatedDocument = "application/pdf"
    target.SourceInstanceSequence = [_reference(sop_class, instance) for _, sop_class, instance in rests_on]
    target.EncapsulatedDocumentLength = len(pdf)
    target.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    target.file_meta = FileMetaDataset()
    target.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return target


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = instance
    return item
