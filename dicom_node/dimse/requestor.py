"""One association that we request, from connect to release, with the node's errors for whatever goes wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from pynetdicom import build_context, build_role, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node.core.errors import (
    AssociationAborted,
    ConfigurationError,
    NodeError,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    SopClassNotAccepted,
)
from dicom_node.core.peer import Peer
from dicom_node.core.store_status import is_rejected_for_good
from dicom_node.dimse import tls, user_identity
from dicom_node.dimse import upper_layer as _quiet  # noqa: F401 - silences pynetdicom's own log
from dicom_node.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from dicom_node.dimse.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.dimse.outgoing import Buffer, OutgoingSocket, adopt, p_data, store_request

MAXIMUM_CONTEXTS = 128  # odd context ids from 1 to 255 (PS3.8 9.3.2.2)
_OUR_MAXIMUM_PDU = 131_072

Proposal = tuple[str, str]
"""Abstract syntax and the one transfer syntax proposed with it."""

VERIFICATION_PROPOSALS: tuple[Proposal, ...] = ((VERIFICATION, IMPLICIT_LITTLE), (VERIFICATION, EXPLICIT_LITTLE))


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds: for the TCP connection, for the answer to A-ASSOCIATE and A-RELEASE, for each DIMSE answer."""

    connect_s: float = 10.0
    associate_s: float = 15.0
    answer_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class StoreAnswer:
    """The peer's status for one object, with its Error Comment."""

    status: int
    comment: str = ""


class _Answers(DIMSEServiceProvider):
    """Keeps responses for the one who waits for them.

    pynetdicom's reactor thread polls the same queue without blocking. It is to be paused while somebody waits, but
    the pause has a gap in which the reactor can take the response and throw it away: the object would be stored, and
    sent again. Here a poll finds nothing.
    """

    def get_msg(self, block: bool = False) -> Any:
        return super().get_msg(block=True) if block else (None, None)


@dataclass(kw_only=True)
class _Progress:
    """How far the request came, noted by pynetdicom's events."""

    connected: bool = False
    timeout_s: float

    def note_connection(self, event: evt.Event) -> None:
        self.connected = True
        association: Any = event.assoc
        association.dimse = answers = _Answers(association)
        # pynetdicom serves an N-EVENT-REPORT in a thread of its own; here it waits for the one who asked for it.
        association._serve_request = lambda message, context_id: answers.msg_queue.put((context_id, message))
        adopt(association, timeout_s=self.timeout_s)


class Session:
    """An established association. Not for use from several threads."""

    def __init__(self, association: Association, peer: Peer, timeouts: Timeouts) -> None:
        self._association = association
        connection: Any = association.dul.socket
        self._connection: OutgoingSocket | None = connection if isinstance(connection, OutgoingSocket) else None
        self._peer = peer
        self._timeouts = timeouts
        self._message_id = 0

    def accepted(self) -> dict[Proposal, int]:
        """The accepted presentation contexts: abstract and transfer syntax to context id."""
        return self._accepted

    @cached_property
    def _accepted(self) -> dict[Proposal, int]:
        return {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): int(context.context_id or 0)
            for context in self._association.accepted_contexts
        }

    def results(self) -> dict[int, int]:
        """Of each proposed context, by its place among the proposals, the Result/Reason (PS3.8 table 9-18).

        By place, because the transfer syntax of a context that was not accepted means nothing (PS3.8 9.3.3.2).
        """
        contexts = (*self._association.accepted_contexts, *self._association.rejected_contexts)
        return {(int(context.context_id or 0) - 1) // 2: int(context.result or 0) for context in contexts}

    def echo(self) -> int:
        """C-ECHO (PS3.7 9.1.5); the status. Raises AssociationAborted."""
        status = self._association.send_c_echo(self.next_message_id())
        if "Status" not in status:
            raise self.lost("C-ECHO")
        return int(status.Status)

    def store(self, *, context_id: int, sop_class_uid: str, sop_instance_uid: str, data_set: bytes) -> StoreAnswer:
        """C-STORE (PS3.7 9.1.1) of bytes that are encoded as the context says. Raises AssociationAborted."""
        message_id = self.next_message_id()
        response = None
        if self._association.is_established:
            self._send_store(context_id, message_id, sop_class_uid, sop_instance_uid, data_set)
            response = self.receive()
        if not isinstance(response, C_STORE) or response.Status is None:
            raise self.lost("C-STORE")
        if response.MessageIDBeingRespondedTo != message_id:
            raise self._broken(f"answered message {response.MessageIDBeingRespondedTo}, not {message_id}")
        return StoreAnswer(status=int(response.Status), comment=str(response.ErrorComment or ""))

    def _send_store(
        self, context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str, data_set: bytes
    ) -> None:
        if self._connection is None or not self._connection.takes_writes:
            self.send(_store_primitive(message_id, sop_class_uid, sop_instance_uid, data_set), context_id)
            return
        command = store_request(message_id=message_id, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
        self._connection.write(self._as_pdus(context_id, command, data_set))

    def _as_pdus(self, context_id: int, command: bytes, data_set: bytes) -> Iterator[Buffer]:
        longest = self._association.dimse.maximum_pdu_size
        yield from p_data(context_id, command, is_command=True, maximum_length=longest)
        yield from p_data(context_id, data_set, is_command=False, maximum_length=longest)

    def send(self, message: C_STORE | N_ACTION | N_EVENT_REPORT, context_id: int) -> None:
        """Hand one message to the association; nothing happens where that is over."""
        if self._association.is_established:
            self._association.dimse.send_msg(message, context_id)

    def receive(self, timeout_s: float | None = None) -> object:
        """The next message of the peer, a response or a request; None where the association ended or the time is up."""
        dimse = self._association.dimse
        usual = self._association.dimse_timeout
        self._association.dimse_timeout = usual if timeout_s is None else timeout_s
        try:
            _context_id, message = dimse.get_msg(block=True)
        finally:
            self._association.dimse_timeout = usual
        return message

    def next_message_id(self) -> int:
        """Another number for a request (PS3.7 E.1)."""
        self._message_id = self._message_id % 65_535 + 1
        return self._message_id

    def acts_as_scp(self, abstract_syntax: str) -> bool:
        """Whether the peer agreed that we are the SCP of this SOP class (PS3.7 D.3.3.4)."""
        accepted = self._association.accepted_contexts
        return any(context.abstract_syntax == abstract_syntax and context.as_scp for context in accepted)

    def lost(self, what: str) -> AssociationAborted:
        """What to raise where `what` got no answer; the association is aborted."""
        still_open = self._association.is_established and not self._association.acse.is_aborted()
        why = f"gave no answer in {self._timeouts.answer_s:g} s" if still_open else "ended the association"
        return self._broken(f"{why} ({what})")

    def _broken(self, what: str) -> AssociationAborted:
        self._association.abort()
        return AssociationAborted(f"{describe(self._peer)} {what}")


@contextmanager
def associated(
    peer: Peer,
    *,
    own_aet: str,
    proposals: Iterable[Proposal],
    timeouts: Timeouts,
    as_scp: Iterable[str] = (),
) -> Iterator[Session]:
    """An established association that is released at the end of the block, or aborted where it raises.

    Of the SOP classes `as_scp` we propose to be the SCP, though we request the association.

    Raises PeerUnreachable, PeerBusy (rejected for now), PeerRefused (rejected for good), SopClassNotAccepted (none
    of the proposals was accepted).
    """
    association = _request(peer, own_aet, tuple(proposals), timeouts, tuple(as_scp))
    try:
        yield Session(association, peer, timeouts)
    except BaseException:
        association.abort()
        raise
    association.release()


def _store_primitive(message_id: int, sop_class_uid: str, sop_instance_uid: str, data_set: bytes) -> C_STORE:
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.Priority = 0x0000
    request.DataSet = BytesIO(data_set)
    return request


def describe(peer: Peer) -> str:
    """The peer as an operator knows it."""
    return f"peer {peer.name!r} ({peer.ae_title} at {peer.host}:{peer.port})"


def _request(
    peer: Peer, own_aet: str, proposals: tuple[Proposal, ...], timeouts: Timeouts, as_scp: tuple[str, ...]
) -> Association:
    entity = ApplicationEntity(own_aet)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = timeouts.connect_s
    entity.acse_timeout = timeouts.associate_s
    entity.dimse_timeout = timeouts.answer_s
    entity.network_timeout = None  # between two objects we may read from a slow disk
    progress = _Progress(timeout_s=max(timeouts.answer_s, timeouts.associate_s))
    handshake, identity = _proofs(peer)
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=[build_context(abstract, transfer) for abstract, transfer in proposals],
            ae_title=peer.ae_title,
            max_pdu=_OUR_MAXIMUM_PDU,
            ext_neg=[*identity, *(build_role(sop_class_uid, scp_role=True) for sop_class_uid in as_scp)],
            tls_args=(handshake.context, handshake.server_name) if handshake else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, progress.note_connection)],
        )
    except OSError as error:
        raise PeerUnreachable(f"{describe(peer)} cannot be resolved: {error}") from error
    if handshake is not None and handshake.failure:
        raise PeerUnreachable(f"{describe(peer)} gave no TLS connection: {handshake.failure}")
    if not association.is_established:
        raise _failure(association, peer, progress, timeouts)
    return association


def _proofs(peer: Peer) -> tuple[tls.Handshake | None, list[Any]]:
    """How the connection is encrypted, and the user we name. A file that is missing now may be there next time."""
    try:
        handshake = tls.connecting(peer.tls, host=peer.host) if peer.tls else None
        identity = [user_identity.request_item(peer.identify_as, os.environ)] if peer.identify_as else []
    except ConfigurationError as error:
        raise PeerUnreachable(f"{describe(peer)} cannot be connected to: {error}") from error
    return handshake, identity


def answer_of(association: Association) -> A_ASSOCIATE | None:
    """What the peer answered to A-ASSOCIATE-RQ; None where it did not.

    A peer that rejects at once may have closed the connection before pynetdicom asks whether there is one; it then
    takes it for one that never was, and leaves the answer lying.
    """
    if isinstance(association.acceptor.primitive, A_ASSOCIATE):
        return association.acceptor.primitive
    left = tuple(association.dul.to_user_queue.queue)
    return next((primitive for primitive in left if isinstance(primitive, A_ASSOCIATE)), None)


def _failure(association: Association, peer: Peer, progress: _Progress, timeouts: Timeouts) -> NodeError:
    answer = answer_of(association)
    if not progress.connected:
        return PeerUnreachable(f"{describe(peer)} does not take a TCP connection")
    if answer is not None and answer.result:
        why = f"{describe(peer)} rejects the association: {answer.reason_str} ({answer.result_str})"
        result, source = answer.result or 0, answer.result_source or 0
        rejection = (result, source, int(answer.diagnostic or 0))
        is_final = is_rejected_for_good(result=result, source=source)
        return PeerRefused(why, rejection=rejection) if is_final else PeerBusy(why, rejection=rejection)
    if answer is not None and answer.result == 0x00:
        return SopClassNotAccepted(f"{describe(peer)} accepts none of the proposed presentation contexts")
    return PeerUnreachable(f"{describe(peer)} gave no association in {timeouts.associate_s:g} s")
