"""Storage commitment on associations that others open: scanners ask us (N-ACTION), a PACS reports to us.

The second is the standard's reversed role: the PACS requests an association and proposes to be its SCP (PS3.4 J.3.3,
PS3.7 D.3.3.4). What we are asked is answered on the same association where the scanner stays for it, and later on one
of our own (`app.commitment_duties`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_RELEASE
from pynetdicom.presentation import PresentationContext

from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, Reference
from dicom_node.core.errors import RejectedInput, TransientError
from dicom_node.dimse.association import NodeAssociation
from dicom_node.dimse.commitment import answer_to, report_message
from dicom_node.dimse.commitment_messages import (
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    decode_report,
    decode_request,
)
from dicom_node.dimse.contexts import PUSH_MODEL
from dicom_node.dimse.handlers import contained

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124
RESOURCE_LIMITATION = 0x0213
_ANSWER_S = 10.0


class Duties(Protocol):
    """What peers ask of us (`app.commitment_duties`)."""

    def take_on(
        self, transaction_uid: str, references: tuple[Reference, ...], *, calling_aet: str, peer: str
    ) -> CommitmentDuty: ...
    def report_of(self, duty: CommitmentDuty) -> CommitmentReport: ...
    def reported(self, duty: CommitmentDuty, report: CommitmentReport) -> None: ...


class TakesReports(Protocol):
    """Takes what a peer reports on our results (`app.commitments`). Raises RejectedInput."""

    def __call__(self, report: CommitmentReport, *, calling_aet: str) -> None: ...


class CommitmentService:
    """Answers N-ACTION and N-EVENT-REPORT of the Push Model. Safe to call from many threads at once."""

    def __init__(self, *, duties: Duties, take_report: TakesReports, answer_s: float = _ANSWER_S) -> None:
        """`answer_s`: how long a peer may take to answer our report before it is tried on another association."""
        self._duties = duties
        self._take_report = take_report
        self._answer_s = answer_s

    def asked(
        self, association: NodeAssociation, request: N_ACTION, context: PresentationContext, *, may_ask: bool
    ) -> None:
        """The peer has its answer, and the report where it stays for it. Never raises."""
        duties: list[CommitmentDuty] = []

        def take_on() -> int:
            wrong = _wrong_request(request, may_ask=may_ask)
            if not wrong:
                transaction_uid, references = decode_request(request.ActionInformation, _syntax(context))
                duties.append(
                    self._duties.take_on(
                        transaction_uid,
                        references,
                        calling_aet=association.calling_aet,
                        peer=association.peer_name,
                    )
                )
            return wrong

        response = N_ACTION()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.RequestedSOPClassUID
        response.AffectedSOPInstanceUID = request.RequestedSOPInstanceUID
        response.ActionTypeID = request.ActionTypeID
        response.Status = _status_of(take_on, association)
        association.dimse.send_msg(response, _id(context))
        if duties and not association.is_reporting:
            self._report_here(association, duties[0], context)

    def told(self, association: NodeAssociation, request: N_EVENT_REPORT, context: PresentationContext) -> None:
        """The report is durable, or the peer knows that it is not. Never raises."""

        def take() -> int:
            if request.AffectedSOPClassUID != PUSH_MODEL:
                return NO_SUCH_CLASS
            report = decode_report(request.EventInformation, _syntax(context))
            self._take_report(report, calling_aet=association.calling_aet)
            return SUCCESS

        association.dimse.send_msg(answer_to(request, _status_of(take, association)), _id(context))

    def _report_here(self, association: NodeAssociation, duty: CommitmentDuty, context: PresentationContext) -> None:
        """Report while the peer is still there. What does not come to its end here is reported later."""
        association.is_reporting = True

        def report() -> None:
            if _is_leaving(association):
                return
            said = self._duties.report_of(duty)
            classes = {reference.sop_instance_uid: reference.sop_class_uid for reference in duty.references}
            message_id = association.next_message_id()
            event = report_message(said, classes, _syntax(context), message_id=message_id)
            if _is_leaving(association):
                return
            association.dimse.send_msg(event, _id(context))
            if self._is_taken(association, message_id):
                self._duties.reported(duty, said)

        contained(report, lambda error: _later(association, error))
        association.is_reporting = False

    def _is_taken(self, association: NodeAssociation, message_id: int) -> bool:
        """Whether the peer answered the report with Success. What it asks meanwhile is served."""
        ends_at = time.monotonic() + self._answer_s
        while time.monotonic() < ends_at and not _is_leaving(association):
            context_id, message = association.dimse.get_msg(block=False)
            if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo == message_id:
                return message.Status is not None and int(message.Status) == SUCCESS
            if message is not None and context_id is not None:
                association.serve(message, context_id)
        return False


def _wrong_request(request: N_ACTION, *, may_ask: bool) -> int:
    if not may_ask:
        return NOT_AUTHORISED
    if request.RequestedSOPClassUID != PUSH_MODEL:
        return NO_SUCH_CLASS
    if request.RequestedSOPInstanceUID != PUSH_MODEL_INSTANCE:
        return NO_SUCH_INSTANCE
    return SUCCESS if request.ActionTypeID == REQUEST_COMMITMENT else NO_SUCH_ACTION


def _status_of(action: Callable[[], int], association: NodeAssociation) -> int:
    """The status to answer with, whatever happens."""
    statuses: list[int] = []

    def refuse(error: Exception) -> None:
        if isinstance(error, RejectedInput):
            statuses.append(error.status)
        else:
            statuses.append(RESOURCE_LIMITATION if isinstance(error, TransientError) else PROCESSING_FAILURE)
        log.warning(
            "commitment_refused",
            calling_aet=association.calling_aet,
            association=association.association_id,
            status=f"0x{statuses[-1]:04X}",
            why=str(error) if isinstance(error, RejectedInput) else type(error).__name__,
        )

    contained(lambda: statuses.append(action()), refuse)
    return statuses[0]


def _id(context: PresentationContext) -> int:
    return int(context.context_id or 0)


def _syntax(context: PresentationContext) -> str:
    return str(context.transfer_syntax[0])


def _is_leaving(association: NodeAssociation) -> bool:
    waiting: Any = association.dul.peek_next_pdu()
    is_over = not association.is_established or association.acse.is_aborted() or association.must_end.is_set()
    return is_over or isinstance(waiting, A_RELEASE)


def _later(association: NodeAssociation, error: Exception) -> None:
    log.warning("commitment_reported_later", calling_aet=association.calling_aet, why=type(error).__name__)
