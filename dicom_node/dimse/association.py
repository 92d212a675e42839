"""An association that we accepted: who it is, what it is asked, how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import StrEnum
from typing import Any, Protocol

from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_ABORT
from pynetdicom.presentation import PresentationContext

from dicom_node.dimse.contexts import PUSH_MODEL
from dicom_node.dimse.hand_messages import Kept
from dicom_node.dimse.handlers import data_set_of
from dicom_node.dimse.hands import Hands
from dicom_node.dimse.one_core import Readers
from dicom_node.dimse.receiving_memory import ReceivingMemory
from dicom_node.dimse.tls import Secured
from dicom_node.dimse.upper_layer import AWAITING_REQUEST, NodeDimse, NodeUpperLayer


class Ending(StrEnum):
    """How an association came to its end."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"


class AssociationHost(Protocol):
    """What an association tells its server. Called from the association's own threads."""

    @property
    def maximum_instance_bytes(self) -> int: ...

    @property
    def maximum_inflated_bytes(self) -> int: ...

    @property
    def receiving_memory(self) -> ReceivingMemory: ...

    @property
    def readers(self) -> Readers:
        """The threads that read images for this server."""

    @property
    def hands(self) -> Hands | None:
        """The processes that may read for this one; None where there are none."""

    def store(
        self,
        association: NodeAssociation,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        data_set: bytes | memoryview,
        context: PresentationContext,
        digest: bytes | None = None,
        kept: Kept | None = None,
    ) -> tuple[int, str]:
        """The status and the Error Comment to answer a C-STORE-RQ with; the UIDs are the Affected ones of its command.

        `digest` is that of the data set where it is known. There is no data set where a hand has `kept` the
        instance. Never raises.
        """

    def echoed(self, association: NodeAssociation) -> int:
        """The status to answer a C-ECHO-RQ with. Never raises."""

    def commitment(
        self, association: NodeAssociation, request: N_ACTION | N_EVENT_REPORT, context: PresentationContext
    ) -> None:
        """Answer a request about storage commitment. Never raises."""

    def ended(self, association: NodeAssociation) -> None:
        """The association and its connection are over; called once for every connection."""


def _data_set_bytes(message: Any) -> int:
    data_set = getattr(message, "DataSet", None)
    return data_set.getbuffer().nbytes if data_set is not None else 0


class NodeAssociation(Association):
    """An association we accepted. `association_id` and `peer_name` are empty until it is admitted; `secured` is None
    without TLS.
    """

    dul: NodeUpperLayer
    dimse: NodeDimse

    def __init__(self, ae: ApplicationEntity, host: AssociationHost) -> None:
        self.something_came = threading.Event()
        super().__init__(ae, MODE_ACCEPTOR)
        self.host = host
        self.dul = NodeUpperLayer(self, ae.maximum_pdu_size)
        self.dimse = NodeDimse(self)
        # The timers live in the upper layer that was just replaced; the setters carry the values over.
        self.acse_timeout, self.network_timeout = self.ae.acse_timeout, self.ae.network_timeout
        self.association_id = ""
        self.calling_aet = ""
        self.called_aet = ""
        self.peer_name = ""
        self.is_reporting = False
        self._message_id = 0
        self.secured: Secured | None = None
        self.must_end = threading.Event()

    @property
    def address(self) -> str:
        """Where the connection comes from."""
        return self.requestor.address

    def accepted_context(self, context_id: int) -> PresentationContext | None:
        """The presentation context of that id; None where none was accepted."""
        return self._accepted_cx.get(context_id)

    @property
    def ending(self) -> Ending:
        """How it ended; meaningful once it has."""
        if self.is_released:
            return Ending.RELEASED
        if self._sent_abort or self.dul.peer_aborted or isinstance(self.dul.peek_next_pdu(), A_ABORT):
            return Ending.ABORTED
        return Ending.LOST

    def end(self) -> None:
        """Make the association abort itself soon, from its own thread; a request under way is finished."""
        self.must_end.set()
        self.something_came.set()
        self.dul.bell.ring()
        if self.dul.state_machine.current_state in AWAITING_REQUEST:
            self.cut()

    def cut(self) -> None:
        """Shut the connection down under whatever is going on; its own thread notices and closes it."""
        connection = self.dul.socket.socket if self.dul.socket is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def kill(self) -> None:
        if threading.current_thread() is self:
            self.dul.go_on()
        super().kill()

    def run_reactor(self) -> None:
        self._started_dul = True  # by the upper layer itself, when it is needed
        try:
            self.dul.take_request()
            super().run_reactor()
        finally:
            self.dul.go_on()  # whatever happened: it closes the connection
            self.host.ended(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if threading.current_thread() is not self:
            # pynetdicom begins a thread for each N-EVENT-REPORT, which a peer could do to us without end.
            self.dimse.msg_queue.put((context_id, msg))
            return
        try:
            self._serve(msg, context_id)
        finally:
            self.dimse.settle()
            self.host.receiving_memory.give_back(self, self.address, _data_set_bytes(msg))

    def _serve(self, msg: Any, context_id: int) -> None:
        if not self.association_id or self.must_end.is_set():
            self.abort()
        elif isinstance(msg, C_STORE) and msg.MessageIDBeingRespondedTo is None:
            self._serve_store(msg, context_id)
        elif isinstance(msg, N_ACTION | N_EVENT_REPORT) and msg.MessageIDBeingRespondedTo is None:
            self._serve_commitment(msg, context_id)
        else:
            super()._serve_request(msg, context_id)

    def serve(self, message: Any, context_id: int) -> None:
        """Serve what came while an answer was awaited; only from the association's own thread."""
        self._serve_request(message, context_id)

    def next_message_id(self) -> int:
        """Another number for a request of ours (PS3.7 E.1)."""
        self._message_id = self._message_id % 65_535 + 1
        return self._message_id

    def _serve_commitment(self, request: N_ACTION | N_EVENT_REPORT, context_id: int) -> None:
        context = self.accepted_context(context_id)
        if context is None or context.abstract_syntax != PUSH_MODEL or not request.is_valid_request:
            self.dul.note("invalid_message", f"{type(request).__name__}-RQ under presentation context {context_id}")
            self.abort()
            return
        self.host.commitment(self, request, context)

    def _serve_store(self, request: C_STORE, context_id: int) -> None:
        context = self.accepted_context(context_id)
        if context is None or request.MessageID is None:
            self.dul.note("invalid_message", f"C-STORE-RQ under presentation context {context_id}")
            self.abort()
            return
        response = C_STORE()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
        response.Status, comment = self.host.store(
            self,
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            data_set=data_set_of(request),
            context=context,
        )
        if comment:
            response.ErrorComment = comment  # type: ignore[assignment]
        self.dimse.send_msg(response, context_id)
