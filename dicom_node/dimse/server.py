"""The receiver: Verification and Storage as SCP for the configured peers, and for nobody else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from pynetdicom import build_context, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.presentation import PresentationContext

from dicom_node.core.identifiers import AETitle
from dicom_node.dimse import counted, statuses
from dicom_node.dimse.addresses import HostAddresses
from dicom_node.dimse.admission import Admission, AssociationLog
from dicom_node.dimse.association import Ending, NodeAssociation
from dicom_node.dimse.commitment_service import CommitmentService
from dicom_node.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from dicom_node.dimse.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.dimse.guests import RoomLimits
from dicom_node.dimse.hand_messages import Kept
from dicom_node.dimse.handlers import Receive, StoreHandler, StoreRequest, contained
from dicom_node.dimse.hands import Hands
from dicom_node.dimse.listener import Listener
from dicom_node.dimse.one_core import Readers
from dicom_node.dimse.open_associations import OpenAssociations, ReceiverLimits
from dicom_node.dimse.receiving_memory import ReceivingMemory
from dicom_node.dimse.refusals import OnRefused, Refusals, nobody
from dicom_node.dimse.tls import ServerContext, TlsPort
from dicom_node.dimse.waiting_room import WaitingRoom
from dicom_node.ports import Clock, Counters, PeerDirectory

__all__ = ["AssociationLog", "DicomServer", "ReceiverLimits"]

log = structlog.get_logger(__name__)


class DicomServer:
    """One listening AE, on a plain port, a TLS port or both. `start` once, `stop` once; then the ports are known."""

    def __init__(
        self,
        *,
        ae_title: str,
        host: str,
        port: int | None,
        peers: PeerDirectory,
        receive: Receive,
        associations: AssociationLog,
        counters: Counters,
        clock: Clock,
        limits: ReceiverLimits | None = None,
        addresses_of: Callable[[str], frozenset[str]] | None = None,
        tls: TlsPort | None = None,
        environ: Mapping[str, str] | None = None,
        commitment: CommitmentService | None = None,
        on_refused: OnRefused = nobody,
        hands: Hands | None = None,
    ) -> None:
        """`port` None: no plain port, `tls` None: no TLS port. `environ` (the process's) holds passcodes of users.
        Without `commitment` a request about storage commitment ends its association. `hands` are started and stopped by
        whoever made them.

        Raises ConfigurationError where a file of `tls` cannot be used.
        """
        self._ae_title = AETitle(ae_title)
        self._commitment = commitment
        self._hands = hands
        self._host = host
        self._plain_port = port
        self._tls_port = tls
        self._tls_context = ServerContext(tls) if tls else None
        self._recorded_in = associations
        self._counters = counters
        self.limits = limits or ReceiverLimits()
        self._open = OpenAssociations(self.limits, id_prefix=f"{clock.now():%Y%m%dT%H%M%S.%f}")
        self._refusals = Refusals(counters, on_told=on_refused)
        self._admission = Admission(
            own_aet=self._ae_title,
            peers=peers,
            addresses_of=addresses_of or HostAddresses(),
            open_associations=self._open,
            recorded_in=associations,
            counters=counters,
            environ=os.environ if environ is None else environ,
            refusals=self._refusals,
        )
        self._readers = Readers() if self.limits.shares_a_core else Readers(())
        self._memory = ReceivingMemory(self.limits.receiving_memory_bytes)
        self._room = WaitingRoom(_room_limits(self.limits), self)
        self._handler = StoreHandler(
            receive=receive,
            may_store=self._admission.may_store,
            counters=counters,
            maximum_inflated_bytes=self.limits.maximum_inflated_bytes,
        )
        self._listener: Listener | None = None
        self._tls_listener: Listener | None = None
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The plain port that is listened on, also where 0 was asked for; the TLS port where that is the only one."""
        listener = self._listener or self._tls_listener
        if listener is None:
            raise RuntimeError("the server has not been started")
        return listener.port

    @property
    def tls_port(self) -> int:
        """The TLS port that is listened on; 0 where there is none."""
        return self._tls_listener.port if self._tls_listener else 0

    @property
    def tls_problem(self) -> str:
        """Why the certificate files as they are now are not in use; empty where they are, or where there is no TLS."""
        return self._tls_context.problem if self._tls_context else ""

    @property
    def open_associations(self) -> int:
        """Associations that are open now."""
        return self._open.admitted_count

    @property
    def open_connections(self) -> int:
        """Connections that are open now, with or without an association."""
        return self._room.count + self._open.connection_count

    @property
    def is_listening(self) -> bool:
        """Whether connections are taken on every port that was asked for."""
        listeners = self._listeners()
        return bool(listeners) and not self.is_stopping and all(listener.is_accepting for listener in listeners)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Listen and serve. Raises OSError where a port cannot be had."""
        entity = self._application_entity()
        try:
            if self._plain_port is not None:
                self._listener = self._make_listener(entity, self._plain_port, None)
            if self._tls_port is not None:
                self._tls_listener = self._make_listener(entity, self._tls_port.port, self._tls_context)
        except OSError:
            if self._listener is not None:
                self._listener.server_close()
            raise
        self._room.start()
        for listener in self._listeners():
            listener.start()
        log.info(
            "receiver_started", ae_title=str(self._ae_title), host=self._host, port=self.port, tls_port=self.tls_port
        )

    def _make_listener(self, entity: ApplicationEntity, port: int, context: ServerContext | None) -> Listener:
        return Listener(
            entity,
            (self._host, port),
            [build_context(VERIFICATION, [IMPLICIT_LITTLE, EXPLICIT_LITTLE])],
            [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_ECHO, self._echoed)],
            self,
            context,
        )

    def _listeners(self) -> list[Listener]:
        return [listener for listener in (self._listener, self._tls_listener) if listener is not None]

    def stop(self, timeout_s: float = 10.0) -> None:
        """Accept nothing new, finish requests under way, abort what is left. Twice is once.

        A request that is still being served after `timeout_s` is left to its thread without a connection: its sender
        gets no answer and keeps its copy.
        """
        if self._stopping.is_set() or not self._listeners():
            return
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        for listener in self._listeners():
            listener.stop(timeout_s)
        self._room.close(timeout_s)
        connections = self._open.close()
        left = self._open.wait_until_empty(deadline)
        for connection in left:
            connection.dul.note("stopped", "the node stops")
            connection.cut()
        for connection in connections:
            connection.join(1.0)
        log.info("receiver_stopped", cut_off=len(left))

    # What is asked and told by listener.ConnectionHost, guests.RoomHost and association.AssociationHost.

    @property
    def network_timeout_s(self) -> float:
        return self.limits.network_timeout_s

    @property
    def receiving_memory(self) -> ReceivingMemory:
        return self._memory

    @property
    def maximum_instance_bytes(self) -> int:
        return self.limits.maximum_instance_bytes

    @property
    def maximum_inflated_bytes(self) -> int:
        return self.limits.maximum_inflated_bytes

    @property
    def readers(self) -> Readers:
        return self._readers

    @property
    def hands(self) -> Hands | None:
        return self._hands

    @property
    def waiting_room(self) -> WaitingRoom:
        return self._room

    def prepare(self) -> bool:
        for listener in self._listeners():
            listener.spares.stock_up()
        return not all(listener.spares.is_full for listener in self._listeners())

    def may_associate(self, address: str) -> bool:
        return self._open.may_connect(address)

    def turned_away(self, address: str, rule: str, why: str) -> None:
        self._refusals.tell("connection_refused", counted.CONNECTIONS_REFUSED, address=address, rule=rule, why=why)

    def broke_protocol(self, address: str, rule: str, why: str) -> None:
        self._refusals.tell("protocol_error", counted.PROTOCOL_ERRORS, address=address, rule=rule, why=why)

    def connected(self, association: NodeAssociation) -> None:
        self._open.add_connection(association)

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
        status, comment = self._handler(
            StoreRequest(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                data_set=data_set,
                abstract_syntax=str(context.abstract_syntax),
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                calling_aet=association.calling_aet,
                called_aet=association.called_aet,
                association_id=association.association_id,
                digest=digest,
                header=kept.header if kept else None,
                stored=kept.stored if kept else None,
            )
        )
        if kept is not None and self._hands is not None and status == statuses.NOT_AUTHORISED:
            discard, path = self._hands.discard, kept.stored.path
            contained(lambda: discard(path), lambda error: log.warning("file_left_for_the_sweep", why=str(error)))
        return status, comment

    def commitment(
        self, association: NodeAssociation, request: N_ACTION | N_EVENT_REPORT, context: PresentationContext
    ) -> None:
        if self._commitment is None:
            association.abort()
        elif isinstance(request, N_EVENT_REPORT):
            self._commitment.told(association, request, context)
        else:
            may_ask = self._admission.may_store(association.calling_aet)
            self._commitment.asked(association, request, context, may_ask=may_ask)

    def ended(self, association: NodeAssociation) -> None:
        self._tell_trouble(association)
        if association.association_id:
            self._record_end(association, association.ending)
        self._memory.give_back(association, association.address)
        self._open.remove(association)

    def _requested(self, event: evt.Event) -> None:
        association: Any = event.assoc
        self._admission.decide(association)

    def _echoed(self, event: evt.Event) -> int:
        association: Any = event.assoc
        return self.echoed(association)

    def echoed(self, association: NodeAssociation) -> int:
        self._counters.count(counted.ECHOES, calling_aet=association.calling_aet)
        return 0x0000

    def _tell_trouble(self, association: NodeAssociation) -> None:
        if association.dul.trouble is None:
            return
        rule, detail = association.dul.trouble
        self._counters.count(counted.PROTOCOL_ERRORS, rule=rule)
        log.warning(
            "protocol_error",
            rule=rule,
            why=detail,
            address=association.address,
            calling_aet=association.calling_aet,
            association=association.association_id,
        )

    def _record_end(self, association: NodeAssociation, how: Ending) -> None:
        self._counters.count(counted.ASSOCIATIONS_ENDED, how=how.value)
        log.info(
            "association_ended",
            association=association.association_id,
            calling_aet=association.calling_aet,
            how=how.value,
        )
        for pause_s in (*self.limits.close_retry_s, None):
            failures: list[Exception] = []
            contained(lambda: self._recorded_in.closed(association.association_id, how=how.value), failures.append)
            if not failures:
                return
            if pause_s is None or self._stopping.wait(pause_s):
                break
        # The study it carried now waits for the hard limit, or for the next start, which clears open associations.
        log.error("association_end_not_recorded", association=association.association_id, why=str(failures[-1]))

    def _application_entity(self) -> ApplicationEntity:
        entity = ApplicationEntity(self._ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = self.limits.maximum_pdu_bytes
        entity.maximum_associations = 1_000_000  # ours are counted in OpenAssociations, by address as well
        entity.acse_timeout = self.limits.acse_timeout_s
        entity.dimse_timeout = self.limits.network_timeout_s
        entity.network_timeout = self.limits.network_timeout_s
        return entity


def _room_limits(limits: ReceiverLimits) -> RoomLimits:
    return RoomLimits(
        places=limits.maximum_waiting,
        places_per_address=limits.maximum_waiting_per_address,
        handshake_timeout_s=limits.handshake_timeout_s,
        request_timeout_s=limits.acse_timeout_s,
        requests_per_second=limits.requests_per_second_per_address,
    )
