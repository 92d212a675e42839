"""What an audit trail records, in the words of DICOM PS3.15 A.5. Patients and studies are named: that is its use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum


class Code(Enum):
    """Coded values: code, coding scheme, meaning (PS3.16 CID 400 to 405, RFC 3881)."""

    APPLICATION_ACTIVITY = ("110100", "DCM", "Application Activity")
    BEGIN_TRANSFERRING = ("110102", "DCM", "Begin Transferring DICOM Instances")
    INSTANCES_ACCESSED = ("110103", "DCM", "DICOM Instances Accessed")
    INSTANCES_TRANSFERRED = ("110104", "DCM", "DICOM Instances Transferred")
    STUDY_DELETED = ("110105", "DCM", "DICOM Study Deleted")
    QUERY = ("110112", "DCM", "Query")
    SECURITY_ALERT = ("110113", "DCM", "Security Alert")
    USER_AUTHENTICATION = ("110114", "DCM", "User Authentication")

    APPLICATION_START = ("110120", "DCM", "Application Start")
    APPLICATION_STOP = ("110121", "DCM", "Application Stop")
    LOGIN = ("110122", "DCM", "Login")
    LOGOUT = ("110123", "DCM", "Logout")
    NODE_AUTHENTICATION = ("110126", "DCM", "Node Authentication")
    NETWORK_CONFIGURATION = ("110128", "DCM", "Network Configuration")
    USE_OF_RESTRICTED_FUNCTION = ("110132", "DCM", "Use of Restricted Function")
    USER_SECURITY_ATTRIBUTES_CHANGED = ("110137", "DCM", "User Security Attributes Changed")

    APPLICATION = ("110150", "DCM", "Application")
    APPLICATION_LAUNCHER = ("110151", "DCM", "Application Launcher")
    DESTINATION = ("110152", "DCM", "Destination Role ID")
    SOURCE = ("110153", "DCM", "Source Role ID")

    STUDY_INSTANCE_UID = ("110180", "DCM", "Study Instance UID")
    NODE_ID = ("110182", "DCM", "Node ID")
    PATIENT_NUMBER = ("2", "RFC-3881", "Patient Number")
    URI = ("12", "RFC-3881", "URI")
    SEARCH_CRITERIA = ("10", "RFC-3881", "Search Criteria")


class Action(StrEnum):
    """Event Action Code."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(StrEnum):
    """Event Outcome Indicator."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


@dataclass(frozen=True, kw_only=True)
class Participant:
    """Who took part. `user_id` is a process or a person; `address` where it was reached from, empty for ourselves."""

    user_id: str
    is_requestor: bool
    ae_titles: tuple[str, ...] = ()
    role: Code | None = None
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditedPatient:
    """The patient whose data it was; `patient_id` empty where the header is silent."""

    patient_id: str
    patient_name: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditedStudy:
    """The study, with how many instances of each SOP class, by UID."""

    study_instance_uid: str
    instances: tuple[tuple[str, int], ...] = ()
    accession_number: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditedThing:
    """What else it was about: a node, a request, a configuration."""

    thing_id: str
    id_type: Code
    query: str = ""
    detail: str = ""


AuditedObject = AuditedPatient | AuditedStudy | AuditedThing


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """One message."""

    event: Code
    at: datetime
    action: Action
    outcome: Outcome
    participants: tuple[Participant, ...]
    event_type: Code | None = None
    outcome_description: str = ""
    objects: tuple[AuditedObject, ...] = field(default=())
