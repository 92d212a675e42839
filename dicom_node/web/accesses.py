"""Who was shown what, for the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request

from dicom_node.app.audit_events import accessed, judged, queried, security_changed
from dicom_node.app.audited import record_decision
from dicom_node.core.quarantine import QuarantinedFile
from dicom_node.core.study import StudyIntake
from dicom_node.web.auth.gate import address_of, principal_of

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources


def note_query(request: Request) -> None:
    """Somebody was shown a list that names patients."""
    sources = _sources(request)
    query = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    sources.audit.record(
        queried(
            user_id=_name(request),
            address=address_of(request),
            query=query,
            ae_title=sources.ae_title,
            at=sources.clock.now(),
        )
    )


def note_access(request: Request, study: StudyIntake) -> None:
    """Somebody was shown a study."""
    sources = _sources(request)
    sources.audit.record(
        accessed(
            user_id=_name(request),
            address=address_of(request),
            study_instance_uid=study.study_instance_uid,
            patient=study.patient,
            at=sources.clock.now(),
        )
    )


def note_verdict(request: Request, study: StudyIntake) -> None:
    """Somebody gave a verdict on a study's result."""
    sources = _sources(request)
    sources.audit.record(
        judged(
            user_id=_name(request),
            address=address_of(request),
            study_instance_uid=study.study_instance_uid,
            patient=study.patient,
            at=sources.clock.now(),
        )
    )


def note_decision(request: Request, entry: QuarantinedFile) -> None:
    """Somebody took a file in that was set aside, or removed it."""
    sources = _sources(request)
    record_decision(
        sources.audit,
        entry,
        who=_name(request),
        address=address_of(request),
        reading=sources.unit_of_work,
        at=sources.clock.now(),
    )


def note_security(request: Request, *, what: str, name: str) -> None:
    """Somebody changed what the account `name` may do, or how it logs in."""
    sources = _sources(request)
    sources.audit.record(
        security_changed(
            what=what,
            name=name,
            by=_name(request),
            address=address_of(request),
            ae_title=sources.ae_title,
            at=sources.clock.now(),
        )
    )


def _name(request: Request) -> str:
    principal = principal_of(request)
    return principal.name if principal else "not logged in"


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
