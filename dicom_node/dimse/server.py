"""The receiver: Verification and Storage as SCP for the configured peers, and for nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from pynetdicom import build_context, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from dicom_node.core.identifiers import AETitle
from dicom_node.dimse import counted
from dicom_node.dimse.addresses import HostAddresses
from dicom_node.dimse.admission import Admission, AssociationLog
from dicom_node.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from dicom_node.dimse.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.dimse.handlers import Receive, StoreHandler, StoreRequest, contained, data_set_of
from dicom_node.dimse.listener import Listener
from dicom_node.dimse.open_associations import OpenAssociations, ReceiverLimits
from dicom_node.dimse.upper_layer import Ending, NodeAssociation
from dicom_node.ports import Clock, Counters, PeerDirectory

__all__ = ["AssociationLog", "DicomServer", "ReceiverLimits"]

log = structlog.get_logger(__name__)


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
        self._recorded_in = associations
        self._counters = counters
        self.limits = limits or ReceiverLimits()
        self._open = OpenAssociations(self.limits, id_prefix=f"{clock.now():%Y%m%dT%H%M%S.%f}")
        self._admission = Admission(
            own_aet=self._ae_title,
            peers=peers,
            addresses_of=addresses_of or HostAddresses(),
            open_associations=self._open,
            recorded_in=associations,
            counters=counters,
        )
        self._handler = StoreHandler(
            receive=receive,
            may_store=self._admission.may_store,
            counters=counters,
            maximum_inflated_bytes=self.limits.maximum_instance_bytes,
        )
        self._listener: Listener | None = None
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 was asked for."""
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        return self._listener.port

    @property
    def open_associations(self) -> int:
        """Associations that are open now."""
        return self._open.admitted_count

    @property
    def open_connections(self) -> int:
        """Connections that are open now, with or without an association."""
        return self._open.connection_count

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Listen and serve. Raises OSError where the port cannot be had."""
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
        """Accept nothing new, finish requests under way, abort what is left. Twice is once.

        A request that is still being served after `timeout_s` is left to its thread without a connection: its sender
        gets no answer and keeps its copy.
        """
        if self._stopping.is_set() or self._listener is None:
            return
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self._listener.stop(timeout_s)
        connections = self._open.close()
        left = self._open.wait_until_empty(deadline)
        for connection in left:
            connection.dul.note("stopped", "the node stops")
            connection.cut()
        for connection in connections:
            connection.join(1.0)
        log.info("receiver_stopped", cut_off=len(left))

    # What the listener and the associations ask and tell (listener.ConnectionHost, upper_layer.AssociationHost).

    @property
    def network_timeout_s(self) -> float:
        return self.limits.network_timeout_s

    @property
    def maximum_instance_bytes(self) -> int:
        return self.limits.maximum_instance_bytes

    def may_connect(self, address: str) -> bool:
        if self._open.may_connect(address):
            return True
        self._counters.count(counted.CONNECTIONS_REFUSED, rule="too_many_connections")
        log.warning("connection_refused", address=address, open=self._open.connection_count)
        return False

    def connected(self, association: NodeAssociation) -> None:
        self._open.add_connection(association)

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
        self._tell_trouble(association)
        if association.association_id:
            self._record_end(association, association.ending)
        self._open.remove(association)

    def _requested(self, event: evt.Event) -> None:
        association: Any = event.assoc
        self._admission.decide(association)

    def _echoed(self, event: evt.Event) -> int:
        association: Any = event.assoc
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
