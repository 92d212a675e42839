"""Who speaks in a report and in which language: the beginning of every SR (TID 1204, 1001, 1004)."""

from __future__ import annotations

import highdicom as hd
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes as dcm

from dicom_node.core.finding import BundleIdentity
from dicom_node.results import codes
from dicom_node.results.provenance import Equipment, device_uid


def observation_context(equipment: Equipment, bundle: BundleIdentity) -> hd.sr.ObservationContext:
    """The observer is a device, and another one as soon as its software or its weights change."""
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(equipment, bundle),
        name=equipment.model_name,
        manufacturer_name=equipment.manufacturer,
        model_name=equipment.model_name,
        serial_number=equipment.device_serial,
    )
    observer = hd.sr.ObserverContext(observer_type=dcm.DCM.Device, observer_identifying_attributes=attributes)
    return hd.sr.ObservationContext(observer_device_context=observer)


def language(equipment: Equipment) -> hd.sr.LanguageOfContentItemAndDescendants:
    """The language of every text in the document."""
    return hd.sr.LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.LANGUAGES[equipment.language]))
