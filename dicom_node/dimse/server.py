"""The receiver: Verification and Storage as SCP for the configured peers, and for nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog
from pynetdicom import build_context, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from dicom_node.core.identifiers import AETitle
from dicom_node.dimse import access, counted
from dicom_node.dimse.addresses import HostAddresses
from dicom_node.dimse.contexts import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    VERIFICATION,
    choose_transfer_syntax,
    is_storage_sop_class,
)
from dicom_node.dimse.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.dimse.handlers import Receive, StoreHandler, StoreRequest, contained, data_set_of
from dicom_node.dimse.listener import Listener
from dicom_node.dimse.upper_layer import Ending, NodeAssociation
from dicom_node.ports import Clock, Counters, PeerDirectory

log = structlog.get_logger(__name__)


class AssociationLog(Protocol):
    """Where open associations are recorded, so that a study waits for those that carry it.

    Either method may raise; an association that cannot be recorded is not accepted, and an end that cannot be
    recorded is tried again for a while.
    """

    def opened(self, association_id: str, *, calling_aet: str, address: str) -> None: ...
    def closed(self, association_id: str, *, how: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ReceiverLimits:
    """What one peer, or all together, may take.

    `acse_timeout_s` bounds the wait for A-ASSOCIATE-RQ and for the end after a release; `network_timeout_s` bounds
    silence inside an association and inside a PDU.
    """

    maximum_associations: int = 64
    maximum_associations_per_address: int = 32
    maximum_pdu_bytes: int = 131_072
    maximum_instance_bytes: int = 2 << 30
    acse_timeout_s: float = 15.0
    network_timeout_s: float = 60.0
    close_retry_s: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


class DicomServer:
    """One listening AE. `start` once, `stop` once. `port` is known from `start` on."""

    def __init__(
        self,
        *,
        ae_title: str,
        host: str,
        port: int,
        peers: PeerDirectory,
        receive: Receive,
        associations: AssociationLog,
        counters: Counters,
        clock: Clock,
        limits: ReceiverLimits | None = None,
        addresses_of: Callable[[str], frozenset[str]] | None = None,
    ) -> None:
        self._ae_title = AETitle(ae_title)
        self._address = (host, port)
        self._peers = peers
        self._associations = associations
        self._counters = counters
        self._clock = clock
        self.limits = limits or ReceiverLimits()
        self._addresses_of = addresses_of or HostAddresses()
        self._handler = StoreHandler(
            receive=receive,
            may_store=self._may_store,
            counters=counters,
            maximum_inflated_bytes=self.limits.maximum_instance_bytes,
        )
        self._listener: Listener | None = None
        self._state = threading.Condition()
        self._connections: set[NodeAssociation] = set()
        self._admitted: dict[str, NodeAssociation] = {}
        self._serving: set[NodeAssociation] = set()
        self._stopping = threading.Event()
        self._accepted = 0
        self._started_at: datetime | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 was asked for."""
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        return self._listener.port

    @property
    def open_associations(self) -> int:
        """Associations that are open now."""
        with self._state:
            return len(self._admitted)

    def start(self) -> None:
        """Listen and serve. Raises OSError where the port cannot be had."""
        self._started_at = self._clock.now()
        self._listener = Listener(
            self._application_entity(),
            self._address,
            [build_context(VERIFICATION, [IMPLICIT_LITTLE, EXPLICIT_LITTLE])],
            [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_ECHO, self._echoed)],
            self,
        )
        self._listener.start()
        log.info("receiver_started", ae_title=str(self._ae_title), host=self._address[0], port=self.port)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Accept nothing new, finish requests under way, abort what is left. Returns with all threads ended.

        A request that is still being served after `timeout_s` is left to its thread: it is answered or not, but
        never answered wrongly. Twice is once.
        """
        deadline = time.monotonic() + timeout_s
        with self._state:
            if self._stopping.is_set() or self._listener is None:
                return
            self._stopping.set()
            connections = tuple(self._connections)
        self._listener.stop(timeout_s)
        for connection in connections:
            connection.end()
        with self._state:
            self._state.wait_for(lambda: not self._connections, max(0.0, deadline - time.monotonic()))
            left = tuple(self._connections)
        for connection in left:
            connection.dul.note("stopped", "the node stops")
            if connection.dul.socket is not None:
                connection.dul.socket._shutdown_socket()
        for connection in connections:
            connection.join(1.0)
        log.info("receiver_stopped", cut_off=len(left))

    # What the listener and the associations ask and tell (upper_layer.AssociationHost, listener.ConnectionHost).

    @property
    def network_timeout_s(self) -> float:
        return self.limits.network_timeout_s

    @property
    def maximum_instance_bytes(self) -> int:
        return self.limits.maximum_instance_bytes

    def may_connect(self, address: str) -> bool:
        """Twice the associations' limits: room for those that are to be told why they are rejected."""
        with self._state:
            in_all = len(self._connections)
            from_there = sum(connection.address == address for connection in self._connections)
        if in_all < 2 * self.limits.maximum_associations and (
            from_there < 2 * self.limits.maximum_associations_per_address
        ):
            return True
        self._counters.count(counted.CONNECTIONS_REFUSED, rule="too_many_connections")
        log.warning("connection_refused", address=address, open=in_all, open_from_address=from_there)
        return False

    def connected(self, association: NodeAssociation) -> None:
        with self._state:
            self._connections.add(association)
            if self._stopping.is_set():
                association.end()

    def begin_request(self, association: NodeAssociation) -> bool:
        with self._state:
            if self._stopping.is_set():
                return False
            self._serving.add(association)
            return True

    def end_request(self, association: NodeAssociation) -> None:
        with self._state:
            self._serving.discard(association)

    def store(self, association: NodeAssociation, request: C_STORE, context: PresentationContext) -> tuple[int, str]:
        return self._handler(
            StoreRequest(
                sop_class_uid=str(request.AffectedSOPClassUID or ""),
                sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
                data_set=data_set_of(request),
                abstract_syntax=str(context.abstract_syntax),
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                calling_aet=association.calling_aet,
                called_aet=association.called_aet,
                association_id=association.association_id,
            )
        )

    def ended(self, association: NodeAssociation) -> None:
        how, trouble = association.ending, association.dul.trouble
        if trouble is not None:
            rule, detail = trouble
            self._counters.count(counted.PROTOCOL_ERRORS, rule=rule)
            log.warning(
                "protocol_error",
                rule=rule,
                why=detail,
                address=association.address,
                calling_aet=association.calling_aet,
                association=association.association_id,
            )
        if association.association_id:
            self._record_end(association, how)
        with self._state:
            self._admitted.pop(association.association_id, None)
            self._connections.discard(association)
            self._state.notify_all()

    # Association requests

    def _requested(self, event: evt.Event) -> None:
        association: Any = event.assoc
        contained(lambda: self._decide(association), lambda error: self._cannot_decide(association, error))

    def _decide(self, association: NodeAssociation) -> None:
        primitive: Any = association.requestor.primitive
        association.calling_aet = primitive.calling_ae_title.strip(" ")
        association.called_aet = primitive.called_ae_title.strip(" ")
        decision = access.admit(
            calling_aet=association.calling_aet,
            called_aet=association.called_aet,
            address=association.address,
            peers=self._peers.peers(),
            own_aet=self._ae_title,
            addresses_of=self._addresses_of,
        )
        refused = decision if isinstance(decision, access.Refused) else self._reserve(association)
        if refused is not None:
            self._reject(association, refused)
            return
        self._associations.opened(
            association.association_id, calling_aet=association.calling_aet, address=association.address
        )
        accept_proposals(association)
        self._counters.count(counted.ASSOCIATIONS_ACCEPTED, calling_aet=association.calling_aet)
        log.info(
            "association_accepted",
            association=association.association_id,
            calling_aet=association.calling_aet,
            address=association.address,
        )

    def _reserve(self, association: NodeAssociation) -> access.Refused | None:
        """Give the association its id and its place, or say why there is none."""
        address = access.normalise_address(association.address)
        with self._state:
            if self._stopping.is_set():
                return access.congestion("the node stops")
            from_there = sum(access.normalise_address(open_.address) == address for open_ in self._admitted.values())
            refused = access.check_load(
                access.Load(
                    open_associations=len(self._admitted),
                    open_from_address=from_there,
                    maximum=self.limits.maximum_associations,
                    maximum_per_address=self.limits.maximum_associations_per_address,
                )
            )
            if refused is None:
                self._accepted += 1
                association.association_id = f"{self._started_at:%Y%m%dT%H%M%S.%f}-{self._accepted}"
                self._admitted[association.association_id] = association
            return refused

    def _cannot_decide(self, association: NodeAssociation, error: Exception) -> None:
        """Fail closed: an association that cannot be checked or recorded is not accepted."""
        with self._state:
            self._admitted.pop(association.association_id, None)
        association.association_id = ""
        self._reject(association, access.congestion(f"{type(error).__name__}: {error}"))

    def _reject(self, association: NodeAssociation, refused: access.Refused) -> None:
        self._counters.count(counted.ASSOCIATIONS_REJECTED, rule=refused.rule)
        log.warning(
            "association_rejected",
            rule=refused.rule,
            why=refused.why,
            calling_aet=association.calling_aet,
            address=association.address,
        )
        association.is_rejected = True
        association.acse.send_reject(refused.result, refused.source, refused.reason)
        association.kill()

    def _may_store(self, calling_aet: str) -> bool:
        """Peers are edited while associations are open."""
        return any(peer.ae_title == calling_aet and peer.enabled and peer.may_send for peer in self._peers.peers())

    def _echoed(self, event: evt.Event) -> int:
        association: Any = event.assoc
        self._counters.count(counted.ECHOES, calling_aet=association.calling_aet)
        return 0x0000

    # Ends

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
            contained(lambda: self._associations.closed(association.association_id, how=how.value), failures.append)
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
        entity.maximum_associations = 1_000_000  # ours are counted in _reserve, by address as well
        entity.acse_timeout = self.limits.acse_timeout_s
        entity.dimse_timeout = self.limits.network_timeout_s
        entity.network_timeout = self.limits.network_timeout_s
        return entity


def accept_proposals(association: Association) -> None:
    """Support exactly what this requestor proposes and we take, one transfer syntax for each proposed context.

    pynetdicom's acceptor prefers by its own order and knows one list for each abstract syntax; we prefer by the
    requestor's order, context by context. So each proposal is narrowed to the syntax we choose, and the acceptor is
    given the union. An abstract syntax we take without a syntax we know keeps one that was not proposed, so that the
    answer is "transfer syntaxes not supported" (PS3.8 9.3.3.2).
    """
    supported: dict[str, list[str]] = {}
    request: Any = association.requestor.primitive
    for proposal in request.presentation_context_definition_list:
        abstract_syntax = str(proposal.abstract_syntax)
        if abstract_syntax != VERIFICATION and not is_storage_sop_class(abstract_syntax):
            continue
        accepted = supported.setdefault(abstract_syntax, [])
        chosen = choose_transfer_syntax(abstract_syntax, [str(uid) for uid in proposal.transfer_syntax])
        if chosen is not None:
            proposal.transfer_syntax = [chosen]
            accepted.append(chosen)
    association.acceptor.supported_contexts = [
        build_context(uid, syntaxes or [IMPLICIT_LITTLE]) for uid, syntaxes in supported.items()
    ]
