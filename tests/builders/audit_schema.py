"""What PS3.15 A.5.1 (the RELAX NG schema of audit messages) demands: required attributes, elements and their order."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from xml.etree.ElementTree import Element, fromstring

_CODED = {"csd-code", "codeSystemName", "originalText"}
_EVENTS = {"110100", "110101", "110102", "110103", "110104", "110105", "110112", "110113", "110114"}
_LINE = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<at>\S+) (?P<host>\S+) (?P<application>\S+) (?P<process>\S+) (?P<kind>\S+) - "
    rb"\xef\xbb\xbf(?P<message>.*)",
    re.DOTALL,
)


def message_in(line: bytes) -> Element:
    """The audit message in an RFC 5424 line, both checked."""
    found = _LINE.fullmatch(line)
    assert found is not None, line[:200]
    assert (found["priority"], found["kind"]) == (b"85", b"DICOM+RFC3881")
    assert datetime.fromisoformat(found["at"].decode()).tzinfo is not None
    assert 1 <= len(found["host"]) <= 255
    return checked(found["message"])


def frames_in(stream: bytes) -> list[bytes]:
    """The syslog lines in a stream of octet-counted frames (RFC 5425 4.3.1)."""
    lines = []
    while stream:
        length, _, rest = stream.partition(b" ")
        assert length.isdigit(), stream[:40]
        assert len(rest) >= int(length), "a frame was cut"
        lines.append(rest[: int(length)])
        stream = rest[int(length) :]
    return lines


def checked(message: bytes) -> Element:
    """The message, where it is as the schema wants it."""
    root = fromstring(message)
    assert root.tag == "AuditMessage"
    tags = [child.tag for child in root]
    order = [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]
    assert tags == sorted(tags, key=order.index), tags
    assert tags.count("EventIdentification") == 1
    assert tags.count("ActiveParticipant") >= 1
    assert tags.count("AuditSourceIdentification") == 1
    _event(root[0])
    for participant in root.findall("ActiveParticipant"):
        _participant(participant)
    source = root.find("AuditSourceIdentification")
    assert source is not None
    assert source.get("AuditSourceID")
    for thing in root.findall("ParticipantObjectIdentification"):
        _object(thing)
    return root


def summary(message: Element) -> tuple[str, str, str]:
    """Event, event type (empty where there is none) and outcome, by code."""
    event = message[0]
    kind = event.find("EventTypeCode")
    return (
        event.find("EventID").get("csd-code", ""),  # type: ignore[union-attr]
        kind.get("csd-code", "") if kind is not None else "",
        event.get("EventOutcomeIndicator", ""),
    )


def _event(event: Element) -> None:
    assert event.get("EventActionCode") in ("C", "R", "U", "D", "E")
    assert event.get("EventOutcomeIndicator") in ("0", "4", "8", "12")
    assert datetime.fromisoformat(event.get("EventDateTime", "")).tzinfo is not None
    tags = [child.tag for child in event]
    assert tags == sorted(tags, key=["EventID", "EventTypeCode", "EventOutcomeDescription"].index)
    assert tags.count("EventID") == 1
    assert event[0].get("csd-code") in _EVENTS
    for child in event:
        if child.tag != "EventOutcomeDescription":
            _coded(child)


def _participant(participant: Element) -> None:
    assert participant.get("UserID")
    assert participant.get("UserIsRequestor") in ("true", "false")
    has_address = participant.get("NetworkAccessPointID") is not None
    assert has_address == (participant.get("NetworkAccessPointTypeCode") in ("1", "2", "3", "4", "5"))
    for child in participant:
        assert child.tag == "RoleIDCode"
        _coded(child)


def _object(thing: Element) -> None:
    assert thing.get("ParticipantObjectID")
    assert thing.get("ParticipantObjectTypeCode") in ("1", "2", "3", "4")
    assert 1 <= int(thing.get("ParticipantObjectTypeCodeRole", "0")) <= 26
    tags = [child.tag for child in thing]
    order = [
        "ParticipantObjectIDTypeCode",
        "ParticipantObjectName",
        "ParticipantObjectQuery",
        "ParticipantObjectDetail",
        "ParticipantObjectDescription",
        "MPPS",
        "Accession",
        "SOPClass",
        "ParticipantObjectContainsStudy",
        "Encrypted",
        "Anonymized",
    ]
    assert tags == sorted(tags, key=order.index), tags
    assert tags.count("ParticipantObjectIDTypeCode") == 1
    assert tags.count("ParticipantObjectName") + tags.count("ParticipantObjectQuery") == 1, "one of the two"
    _coded(thing[0])
    for detail in thing.findall("ParticipantObjectDetail"):
        assert detail.get("type")
        base64.b64decode(detail.get("value", "!"), validate=True)
    for query in thing.findall("ParticipantObjectQuery"):
        base64.b64decode(query.text or "!", validate=True)
    for sop_class in thing.findall("SOPClass"):
        assert int(sop_class.get("NumberOfInstances", "-1")) >= 0


def _coded(element: Element) -> None:
    assert set(element.attrib) >= _CODED, element.attrib
    assert all(element.attrib[name] for name in _CODED)
