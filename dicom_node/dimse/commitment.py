"""Storage commitment with a peer (PS3.4 annex J) as the one who opens the association: we ask, or we report.

A peer reports on the association it was asked on, or later on one that it opens; in the second case it proposes to be
the SCP of an association that it requests (`commitment_service` takes those). We do the same to those who asked us.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from io import BytesIO

from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT

from dicom_node.core.commitment import CommitmentReport, Reference
from dicom_node.core.errors import NodeError, PeerBusy, PeerRefused, RejectedInput, SopClassNotAccepted
from dicom_node.core.peer import Peer
from dicom_node.dimse.commitment_messages import (
    COMMITMENT_SYNTAXES,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    decode_report,
    encode_report,
    encode_request,
)
from dicom_node.dimse.contexts import PUSH_MODEL
from dicom_node.dimse.requestor import Proposal, Session, Timeouts, associated, describe

_PROPOSALS: tuple[Proposal, ...] = tuple((PUSH_MODEL, syntax) for syntax in COMMITMENT_SYNTAXES)
_SAME_ASSOCIATION_S = 1.0
"""How long we stay for a report: one that takes longer comes on an association of its own."""
_PASSING = (0x0110, 0x0213)  # processing failure, resource limitation (PS3.7 annex C)


class DimseCommitter:
    """`ports.StorageCommitter` over DIMSE."""

    def __init__(self, *, own_aet: str, timeouts: Timeouts | None = None, stay_s: float = _SAME_ASSOCIATION_S) -> None:
        self._own_aet = own_aet
        self._timeouts = timeouts or Timeouts()
        self._stay_s = stay_s

    def request(self, peer: Peer, transaction_uid: str, references: tuple[Reference, ...]) -> CommitmentReport | None:
        """As the port says: N-ACTION, and the report where it comes while we are still there."""
        with associated(peer, own_aet=self._own_aet, proposals=_PROPOSALS, timeouts=self._timeouts) as session:
            syntax, context_id = _context(session, peer)
            action = N_ACTION()
            action.MessageID = session.next_message_id()
            action.RequestedSOPClassUID = PUSH_MODEL
            action.RequestedSOPInstanceUID = PUSH_MODEL_INSTANCE
            action.ActionTypeID = REQUEST_COMMITMENT
            action.ActionInformation = BytesIO(encode_request(transaction_uid, references, syntax))
            session.send(action, context_id)
            return self._answer(session, peer, transaction_uid, syntax, context_id)

    def report(self, peer: Peer, report: CommitmentReport, classes: Mapping[str, str]) -> None:
        """As the port says: N-EVENT-REPORT on an association of our own."""
        with associated(
            peer, own_aet=self._own_aet, proposals=_PROPOSALS, timeouts=self._timeouts, as_scp=(PUSH_MODEL,)
        ) as session:
            syntax, context_id = _context(session, peer)
            if not session.acts_as_scp(PUSH_MODEL):
                raise SopClassNotAccepted(f"{describe(peer)} does not let us be the SCP of storage commitment")
            event = report_message(report, classes, syntax, message_id=session.next_message_id())
            session.send(event, context_id)
            answer = session.receive()
            if not isinstance(answer, N_EVENT_REPORT) or answer.Status is None:
                raise session.lost("N-EVENT-REPORT")
            if int(answer.Status) != 0x0000:
                raise _refusal(peer, "the report", int(answer.Status))

    def _answer(
        self, session: Session, peer: Peer, transaction_uid: str, syntax: str, context_id: int
    ) -> CommitmentReport | None:
        """Until both the N-ACTION is answered and the report is there, or the time to stay is over."""
        report: CommitmentReport | None = None
        is_taken, leave_at = False, 0.0
        while not is_taken or (report is None and time.monotonic() < leave_at):
            message = session.receive(max(0.0, leave_at - time.monotonic()) if is_taken else None)
            if isinstance(message, N_ACTION) and message.Status is not None:
                if int(message.Status) != 0x0000:
                    raise _refusal(peer, "the request to commit", int(message.Status))
                is_taken, leave_at = True, time.monotonic() + self._stay_s
            elif isinstance(message, N_EVENT_REPORT) and message.is_valid_request:
                told = _told(message, syntax, transaction_uid)
                # One about another transaction is not ours to take here: the peer sends it again, to the receiver.
                session.send(answer_to(message, 0x0000 if told is not None else 0x0110), context_id)
                report = told or report
            elif not is_taken:
                raise session.lost("N-ACTION")
            else:
                return report
        return report


def report_message(
    report: CommitmentReport, classes: Mapping[str, str], syntax: str, *, message_id: int
) -> N_EVENT_REPORT:
    """The N-EVENT-REPORT-RQ that says `report`."""
    event_type, information = encode_report(report, classes, syntax)
    event = N_EVENT_REPORT()
    event.MessageID = message_id
    event.AffectedSOPClassUID = PUSH_MODEL
    event.AffectedSOPInstanceUID = PUSH_MODEL_INSTANCE
    event.EventTypeID = event_type
    event.EventInformation = BytesIO(information)
    return event


def answer_to(request: N_EVENT_REPORT, status: int) -> N_EVENT_REPORT:
    """The N-EVENT-REPORT-RSP to a report."""
    answer = N_EVENT_REPORT()
    answer.MessageIDBeingRespondedTo = request.MessageID
    answer.AffectedSOPClassUID = request.AffectedSOPClassUID
    answer.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    answer.EventTypeID = request.EventTypeID
    answer.Status = status
    return answer


def _told(message: N_EVENT_REPORT, syntax: str, transaction_uid: str) -> CommitmentReport | None:
    """The report on this transaction; None for anything else."""
    try:
        report = decode_report(message.EventInformation, syntax)
    except RejectedInput:
        return None
    return report if report.transaction_uid == transaction_uid else None


def _context(session: Session, peer: Peer) -> tuple[str, int]:
    """Transfer syntax and id of the context that was accepted."""
    for (abstract, syntax), context_id in session.accepted().items():
        if abstract == PUSH_MODEL:
            return syntax, context_id
    raise SopClassNotAccepted(f"{describe(peer)} accepts no presentation context for storage commitment")


def _refusal(peer: Peer, what: str, status: int) -> NodeError:
    why = f"{describe(peer)} answered {what} with 0x{status:04X}"
    return PeerBusy(why) if status in _PASSING else PeerRefused(why)
