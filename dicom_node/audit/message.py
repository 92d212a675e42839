"""An audit event as the XML of PS3.15 A.5.1.

How to edit safely: the order of elements is the schema's (a RELAX NG `element` sequence), not ours; the check in
`tests/builders/audit_schema.py` knows it.
"""

from __future__ import annotations

import base64
import unicodedata
from xml.etree.ElementTree import Element, SubElement, tostring

from dicom_node.core.audit import AuditedObject, AuditedPatient, AuditedStudy, AuditedThing, AuditEvent, Code

_PERSON, _SYSTEM_OBJECT = "1", "2"
_ROLE_PATIENT, _ROLE_REPORT, _ROLE_SECURITY_RESOURCE, _ROLE_QUERY = "1", "3", "13", "24"
_MACHINE_NAME, _IP_ADDRESS = "1", "2"


def encode(event: AuditEvent, *, source_id: str, site: str = "") -> bytes:
    """The message as UTF-8 on one line, without an XML declaration (RFC 5424 says the encoding by its BOM)."""
    root = Element("AuditMessage")
    _identification(root, event)
    for participant in event.participants:
        attributes = {"UserID": participant.user_id}
        if participant.ae_titles:
            attributes["AlternativeUserID"] = f"AETITLES={';'.join(participant.ae_titles)}"
        attributes["UserIsRequestor"] = "true" if participant.is_requestor else "false"
        if participant.address:
            kind = _IP_ADDRESS if _is_address(participant.address) else _MACHINE_NAME
            attributes |= {"NetworkAccessPointID": participant.address, "NetworkAccessPointTypeCode": kind}
        element = _element(root, "ActiveParticipant", attributes)
        if participant.role is not None:
            _coded(element, "RoleIDCode", participant.role)
    source = {"AuditEnterpriseSiteID": site} if site else {}
    _element(root, "AuditSourceIdentification", source | {"AuditSourceID": source_id})
    for entry in event.objects:
        _object(root, entry)
    return tostring(root, encoding="utf-8", xml_declaration=False)


def _identification(root: Element, event: AuditEvent) -> None:
    element = _element(
        root,
        "EventIdentification",
        {
            "EventActionCode": event.action.value,
            "EventDateTime": event.at.isoformat(timespec="milliseconds"),
            "EventOutcomeIndicator": event.outcome.value,
        },
    )
    _coded(element, "EventID", event.event)
    if event.event_type is not None:
        _coded(element, "EventTypeCode", event.event_type)
    if event.outcome_description:
        SubElement(element, "EventOutcomeDescription").text = _clean(event.outcome_description)


def _object(root: Element, entry: AuditedObject) -> None:
    match entry:
        case AuditedPatient():
            element = _identified(root, entry.patient_id or "unknown", _PERSON, _ROLE_PATIENT, Code.PATIENT_NUMBER)
            SubElement(element, "ParticipantObjectName").text = _clean(entry.patient_name or entry.patient_id)
        case AuditedStudy():
            uid = entry.study_instance_uid
            element = _identified(root, uid, _SYSTEM_OBJECT, _ROLE_REPORT, Code.STUDY_INSTANCE_UID)
            SubElement(element, "ParticipantObjectName").text = uid
            if entry.accession_number:
                _element(element, "Accession", {"Number": entry.accession_number})
            for sop_class_uid, count in entry.instances:
                _element(element, "SOPClass", {"UID": sop_class_uid, "NumberOfInstances": str(count)})
        case AuditedThing():
            role = _ROLE_QUERY if entry.query else _ROLE_SECURITY_RESOURCE
            element = _identified(root, entry.thing_id, _SYSTEM_OBJECT, role, entry.id_type)
            if entry.query:
                query = base64.b64encode(entry.query.encode()).decode("ascii")
                SubElement(element, "ParticipantObjectQuery").text = query
            else:
                SubElement(element, "ParticipantObjectName").text = _clean(entry.thing_id)
            if entry.detail:
                value = base64.b64encode(entry.detail.encode()).decode("ascii")
                _element(element, "ParticipantObjectDetail", {"type": "Alert Description", "value": value})


def _identified(root: Element, thing_id: str, kind: str, role: str, id_type: Code) -> Element:
    element = _element(
        root,
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": thing_id,
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        },
    )
    _coded(element, "ParticipantObjectIDTypeCode", id_type)
    return element


def _coded(parent: Element, name: str, code: Code) -> None:
    value, scheme, meaning = code.value
    _element(parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def _element(parent: Element, name: str, attributes: dict[str, str]) -> Element:
    return SubElement(parent, name, {key: _clean(value) for key, value in attributes.items()})


def _clean(text: str) -> str:
    """Without what XML 1.0 cannot hold: control characters and lone surrogates, which headers may have."""
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs", "Cn") else "?" for character in text
    )


def _is_address(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdigit()
