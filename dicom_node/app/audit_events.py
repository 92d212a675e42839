"""What happens on this node, as events of the audit trail (PS3.15 A.5.3). Pure: times and names are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from dicom_node.core.audit import (
    Action,
    AuditedPatient,
    AuditedStudy,
    AuditedThing,
    AuditEvent,
    Code,
    Outcome,
    Participant,
)
from dicom_node.core.identifiers import is_uid
from dicom_node.core.quarantine import QuarantinedFile, QuarantineState
from dicom_node.core.study import PatientSummary


class NoAudit:
    """Records nothing: where the trail is switched off."""

    def record(self, event: AuditEvent) -> None:
        """Nothing."""


def application_activity(*, started: bool, ae_title: str, launched_by: str, at: datetime) -> AuditEvent:
    """The node has started, or is about to end (A.5.3.1)."""
    return AuditEvent(
        event=Code.APPLICATION_ACTIVITY,
        event_type=Code.APPLICATION_START if started else Code.APPLICATION_STOP,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.SUCCESS,
        participants=(
            Participant(user_id="cspine-node", ae_titles=(ae_title,), is_requestor=False, role=Code.APPLICATION),
            Participant(user_id=launched_by, is_requestor=True, role=Code.APPLICATION_LAUNCHER),
        ),
    )


def begin_transfer(
    *, source: Participant, destination: Participant, study: AuditedStudy, patient: PatientSummary, at: datetime
) -> AuditEvent:
    """The first instance of a study came on an association (A.5.3.3)."""
    return AuditEvent(
        event=Code.BEGIN_TRANSFERRING,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.SUCCESS,
        participants=(source, destination),
        objects=(study, _patient(patient)),
    )


def transferred(
    *,
    source: Participant,
    destination: Participant,
    study: AuditedStudy,
    patient: PatientSummary,
    at: datetime,
    failure: str = "",
) -> AuditEvent:
    """Instances of a study were transferred, all of them where there is no `failure` (A.5.3.7)."""
    return AuditEvent(
        event=Code.INSTANCES_TRANSFERRED,
        at=at,
        action=Action.CREATE,
        outcome=Outcome.MINOR_FAILURE if failure else Outcome.SUCCESS,
        outcome_description=failure,
        participants=(source, destination),
        objects=(study, _patient(patient)),
    )


def accessed(
    *, user_id: str, address: str, study_instance_uid: str, patient: PatientSummary, at: datetime
) -> AuditEvent:
    """Somebody was shown a study and its results (A.5.3.6)."""
    return AuditEvent(
        event=Code.INSTANCES_ACCESSED,
        at=at,
        action=Action.READ,
        outcome=Outcome.SUCCESS,
        participants=(Participant(user_id=user_id, is_requestor=True, address=address),),
        objects=(AuditedStudy(study_instance_uid=study_instance_uid), _patient(patient)),
    )


def judged(*, user_id: str, address: str, study_instance_uid: str, patient: PatientSummary, at: datetime) -> AuditEvent:
    """Somebody gave a verdict on a study's result (A.5.3.6, an update of what is known of it)."""
    seen = accessed(user_id=user_id, address=address, study_instance_uid=study_instance_uid, patient=patient, at=at)
    return replace(seen, action=Action.UPDATE)


def decided(*, user_id: str, address: str, entry: QuarantinedFile, patient: PatientSummary, at: datetime) -> AuditEvent:
    """Somebody took a file in that was set aside, or removed it (A.5.3.6). `patient` is that of the study it is of."""
    uid = entry.study_instance_uid
    classes = ((entry.sop_class_uid, 1),) if is_uid(entry.sop_class_uid) else ()
    about = AuditedThing(thing_id=f"/quarantine/{entry.id}", id_type=Code.URI, detail=entry.settled_why)
    whose = (AuditedStudy(study_instance_uid=uid, instances=classes), _patient(patient)) if is_uid(uid) else ()
    return AuditEvent(
        event=Code.INSTANCES_ACCESSED,
        at=at,
        action=Action.UPDATE if entry.state is QuarantineState.RELEASED else Action.DELETE,
        outcome=Outcome.SUCCESS,
        outcome_description=f"quarantine {entry.id}: {entry.state.value}",
        participants=(Participant(user_id=user_id, is_requestor=True, address=address),),
        objects=(*whose, about),
    )


def queried(*, user_id: str, address: str, query: str, ae_title: str, at: datetime) -> AuditEvent:
    """Somebody was shown a list of studies or deliveries (A.5.3.10)."""
    return AuditEvent(
        event=Code.QUERY,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.SUCCESS,
        participants=(
            Participant(user_id=user_id, is_requestor=True, role=Code.SOURCE, address=address),
            Participant(user_id="cspine-node", is_requestor=False, role=Code.DESTINATION, ae_titles=(ae_title,)),
        ),
        objects=(AuditedThing(thing_id="worklist", id_type=Code.SEARCH_CRITERIA, query=query),),
    )


def study_deleted(*, study: AuditedStudy, patient: PatientSummary, ae_title: str, at: datetime) -> AuditEvent:
    """The images of a study were removed by retention (A.5.3.8)."""
    return AuditEvent(
        event=Code.STUDY_DELETED,
        at=at,
        action=Action.DELETE,
        outcome=Outcome.SUCCESS,
        participants=(Participant(user_id="cspine-node", is_requestor=True, ae_titles=(ae_title,)),),
        objects=(study, _patient(patient)),
    )


def contact_refused(*, calling_aet: str, address: str, ae_title: str, rule: str, why: str, at: datetime) -> AuditEvent:
    """Somebody was not let in (A.5.3.11, Node Authentication)."""
    return AuditEvent(
        event=Code.SECURITY_ALERT,
        event_type=Code.NODE_AUTHENTICATION,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.MINOR_FAILURE,
        outcome_description=rule,
        participants=(
            Participant(user_id="cspine-node", is_requestor=False, ae_titles=(ae_title,)),
            Participant(
                user_id=calling_aet or address, is_requestor=True, ae_titles=_titles(calling_aet), address=address
            ),
        ),
        objects=(AuditedThing(thing_id=address or "unknown", id_type=Code.NODE_ID, detail=why),),
    )


def peers_changed(*, names: Iterable[str], source: str, ae_title: str, at: datetime) -> AuditEvent:
    """The peers in use are others than before (A.5.3.11, Network Configuration)."""
    return AuditEvent(
        event=Code.SECURITY_ALERT,
        event_type=Code.NETWORK_CONFIGURATION,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.SUCCESS,
        participants=(Participant(user_id="cspine-node", is_requestor=True, ae_titles=(ae_title,)),),
        objects=(
            AuditedThing(thing_id=source or "peers", id_type=Code.URI, detail=f"peers in use: {', '.join(names)}"),
        ),
    )


def peers_edited(
    *, who: str, address: str, action: str, words: Iterable[str], made_at: str, source: str, ae_title: str
) -> AuditEvent:
    """Somebody changed the configured peers (A.5.3.11, Network Configuration). `made_at` is ISO 8601."""
    return AuditEvent(
        event=Code.SECURITY_ALERT,
        event_type=Code.NETWORK_CONFIGURATION,
        at=datetime.fromisoformat(made_at),
        action=Action.EXECUTE,
        outcome=Outcome.SUCCESS,
        outcome_description=action,
        participants=(
            Participant(user_id="cspine-node", is_requestor=False, ae_titles=(ae_title,)),
            Participant(user_id=who, is_requestor=True, address=address),
        ),
        objects=(AuditedThing(thing_id=source, id_type=Code.URI, detail="; ".join(words)),),
    )


def logged_in(*, user_id: str, address: str, ae_title: str, at: datetime, failure: str = "") -> AuditEvent:
    """Somebody logged in, or tried to (A.5.3.12, Login)."""
    return _authentication(Code.LOGIN, user_id, address, ae_title, at, failure)


def logged_out(*, user_id: str, address: str, ae_title: str, at: datetime) -> AuditEvent:
    """Somebody logged out (A.5.3.12, Logout)."""
    return _authentication(Code.LOGOUT, user_id, address, ae_title, at, "")


def security_changed(*, what: str, name: str, by: str, address: str, ae_title: str, at: datetime) -> AuditEvent:
    """What somebody may do, or how they log in, is other than before (A.5.3.11, User Security Attributes Changed)."""
    return AuditEvent(
        event=Code.SECURITY_ALERT,
        event_type=Code.USER_SECURITY_ATTRIBUTES_CHANGED,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.SUCCESS,
        participants=(
            Participant(user_id="cspine-node", is_requestor=False, ae_titles=(ae_title,)),
            Participant(user_id=by, is_requestor=True, address=address),
        ),
        objects=(AuditedThing(thing_id=name, id_type=Code.NODE_ID, detail=what),),
    )


def access_refused(*, user_id: str, address: str, ae_title: str, route: str, why: str, at: datetime) -> AuditEvent:
    """Somebody asked for what they may not (A.5.3.11, Use of Restricted Function)."""
    return AuditEvent(
        event=Code.SECURITY_ALERT,
        event_type=Code.USE_OF_RESTRICTED_FUNCTION,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.MINOR_FAILURE,
        outcome_description=why,
        participants=(
            Participant(user_id="cspine-node", is_requestor=False, ae_titles=(ae_title,)),
            Participant(user_id=user_id, is_requestor=True, address=address),
        ),
        objects=(AuditedThing(thing_id=route, id_type=Code.URI, detail=why),),
    )


def of_classes(sop_class_uids: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """How many instances of each SOP class."""
    return tuple(sorted(Counter(sop_class_uids).items()))


def _authentication(kind: Code, user_id: str, address: str, ae_title: str, at: datetime, failure: str) -> AuditEvent:
    return AuditEvent(
        event=Code.USER_AUTHENTICATION,
        event_type=kind,
        at=at,
        action=Action.EXECUTE,
        outcome=Outcome.MINOR_FAILURE if failure else Outcome.SUCCESS,
        outcome_description=failure,
        participants=(
            Participant(user_id=user_id or "unknown", is_requestor=True, address=address),
            Participant(user_id="cspine-node", is_requestor=False, ae_titles=(ae_title,)),
        ),
    )


def _patient(patient: PatientSummary) -> AuditedPatient:
    return AuditedPatient(patient_id=patient.patient_id, patient_name=patient.patient_name)


def _titles(*ae_titles: str) -> tuple[str, ...]:
    return tuple(title for title in ae_titles if title)
