"""What every result object says of its study and its making: character set, demographics, equipment, times."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from highdicom.sr.coding import CodedConcept
from pydicom import dcmwrite
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr_element
from pydicom.tag import Tag
from pydicom.valuerep import AMBIGUOUS_VR, VR

from dicom_node.core.errors import EncodingInvalid, StorageUnavailable
from dicom_node.core.finding import BundleIdentity
from dicom_node.core.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.words import Words

# Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial Study modules (PS3.3 C.7.1, C.7.2):
# the attributes by which a PACS files an object, and those that readers show. What the source lacks stays away,
# except the type 2 ones, which are then empty.
_STUDY_KEYWORDS = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDs",
    "OtherPatientNames",
    "OtherPatientIDsSequence",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "ProcedureCodeSequence",
    "StudyID",
    "RequestingService",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "TimezoneOffsetFromUTC",
]
_TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
]
_FACTS = (
    ("Patient", "PatientName"),
    ("Patient ID", "PatientID"),
    ("Born", "PatientBirthDate"),
    ("Sex", "PatientSex"),
    ("Study", "StudyDescription"),
    ("Study date", "StudyDate"),
    ("Accession number", "AccessionNumber"),
)
_ZONE = re.compile(r"([+-])(\d{2})(\d{2})")


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """Who made the objects. `language` is that of all sentences, one of `words.LANGUAGES`; ConfigurationError else."""

    manufacturer: str
    software_version: str
    device_serial: str
    model_name: str = "cspine-node"
    language: str = "en"

    def __post_init__(self) -> None:
        Words(language=self.language)


def device_uid(equipment: Equipment, bundle: BundleIdentity) -> str:
    """The Device UID of IHE AIR 6.5.3.1: another one as soon as the weights or the software change."""
    return derived_uid("device", equipment.model_name, equipment.software_version, bundle.content)


def blank_study(study_instance_uid: str) -> Dataset:
    """The study and patient attributes that highdicom insists on, empty. `take_over_study` puts the real ones in."""
    blank = Dataset()
    for keyword in _TYPE_2:
        setattr(blank, keyword, None)
    blank.PatientBirthDate = ""
    blank.StudyInstanceUID = study_instance_uid
    return blank


def take_over_study(target: Dataset, source: Dataset, *, study_instance_uid: str) -> None:
    """`target` now has the source's Specific Character Set, patient and study attributes, byte for byte.

    The bytes are copied undecoded: what the study's character set says about them stays as right, or as wrong, as
    it is in the images beside which a PACS files the object.
    """
    for keyword in ("SpecificCharacterSet", *_STUDY_KEYWORDS):
        tag = Tag(keyword)
        if tag in target:
            del target[tag]
        if tag in source:
            element = source.get_item(tag)
            if isinstance(element, RawDataElement):
                vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(tag)
                if vr == "SQ":
                    element = source[tag]
                else:
                    element = element._replace(VR=vr, is_implicit_VR=False, is_little_endian=True)
            target[tag] = element  # type: ignore[assignment]
    for keyword in _TYPE_2:
        if keyword not in target:
            setattr(target, keyword, None)
    target.StudyInstanceUID = study_instance_uid


def study_facts(source: Dataset) -> tuple[tuple[str, str], ...]:
    """(name, value) pairs for the report page; the source's elements stay undecoded."""
    copy = Dataset()
    take_over_study(copy, source, study_instance_uid="")
    return tuple((name, str(copy.get(keyword) or "")) for name, keyword in _FACTS)


def stamp_equipment(target: Dataset, equipment: Equipment, bundle: BundleIdentity) -> None:
    """`target` names this node as its equipment and as the processing equipment (IHE AIR 6.5.3.1).

    highdicom adds an entry of its own, which is kept behind ours.
    """
    target.Manufacturer = equipment.manufacturer
    target.ManufacturerModelName = equipment.model_name
    target.SoftwareVersions = equipment.software_version
    target.DeviceSerialNumber = equipment.device_serial
    ours = Dataset()
    ours.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.PROCESSING_EQUIPMENT)]
    ours.Manufacturer = equipment.manufacturer
    ours.ManufacturerModelName = equipment.model_name
    ours.SoftwareVersions = [equipment.software_version, f"{bundle.name} {bundle.version}"[:64]]
    ours.DeviceSerialNumber = equipment.device_serial
    ours.DeviceUID = device_uid(equipment, bundle)
    ours.ContributionDescription = (
        f"Cervical spine fracture model {bundle.name} {bundle.version}, trained on {bundle.trained_on}"
        + (f"; levels named by {bundle.levels_named_by}" if bundle.levels_named_by else "")
    )
    target.ContributingEquipmentSequence = [ours, *target.get("ContributingEquipmentSequence", [])]


def stamp_times(target: Dataset, created_at: datetime) -> None:
    """Content, series, creation and contribution times of `target` are `created_at` on the study's clock.

    That is the study's Timezone Offset From UTC (0008,0201) where it states one, else this machine's time zone:
    without the attribute a receiver reads all times of a study on one local clock.
    """
    local = study_time(target, created_at)
    date, time = local.strftime("%Y%m%d"), local.strftime("%H%M%S.%f")
    target.InstanceCreationDate = target.SeriesDate = target.ContentDate = date
    target.InstanceCreationTime = target.SeriesTime = target.ContentTime = time
    if "DateOfSecondaryCapture" in target:
        target.DateOfSecondaryCapture, target.TimeOfSecondaryCapture = date, time
    for equipment in target.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = local.strftime("%Y%m%d%H%M%S.%f%z")


def study_time(source: Dataset, at: datetime) -> datetime:
    """The moment on the study's clock, see `stamp_times`."""
    return at.astimezone(_zone(source))


def write(target: Dataset, file: Path) -> None:
    """`file` holds `target` as Part 10 and survives a power cut; it appears whole or not at all."""
    unfinished = file.with_name(f".{file.name}.part")
    _keep_raw_elements(target)
    try:
        with unfinished.open("wb") as stream:
            dcmwrite(stream, target, enforce_file_format=True)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise StorageUnavailable(f"{file.name} cannot be written: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise EncodingInvalid(f"{file.name} cannot be written as DICOM: {error}") from error


def _keep_raw_elements(target: Dataset) -> None:
    """pydicom decodes and encodes anew whatever was not read in the encoding it writes; tell it that ours was.

    It then no longer settles VRs that depend on other attributes (OB or OW of the pixels), so that is done here, once
    for the whole tree: pydicom does it again at each level below, which takes most of the time of writing.
    """
    _settle(target, [target], set())
    charset = target.get(Tag("SpecificCharacterSet"))
    encodings = default_encoding if charset is None else convert_encodings(charset.value)
    target.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=encodings)


def _settle(data_set: Dataset, ancestors: list[Dataset], seen: set[int]) -> None:
    """VRs are settled in this data set and in the items that were made here.

    An item that was read from a file keeps its own encoding, and pydicom translates it. A sequence that is still raw
    is written as it is. Items shared by several sequences are settled once.
    """
    for element in tuple(data_set.values()):
        if isinstance(element, RawDataElement):
            continue
        if element.VR == VR.SQ:
            for item in element.value:
                if id(item) not in seen and item.original_encoding == (None, None):
                    seen.add(id(item))
                    _settle(item, [item, *ancestors], seen)
                    item.set_original_encoding(
                        is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding
                    )
        elif element.VR in AMBIGUOUS_VR:
            correct_ambiguous_vr_element(element, data_set, is_little_endian=True, ancestors=ancestors)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _zone(target: Dataset) -> timezone | None:
    match = _ZONE.fullmatch(str(target.get("TimezoneOffsetFromUTC") or "").strip())
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset)
