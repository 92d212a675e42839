"""Which connections and associations are open now, and whether one more has room."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.dimse import access
from dicom_node.dimse.association import NodeAssociation


@dataclass(frozen=True, kw_only=True)
class ReceiverLimits:
    """What one peer, or all together, may take.

    `maximum_waiting` connections have not asked for an association yet. `handshake_timeout_s` bounds a TLS handshake,
    `acse_timeout_s` the wait for A-ASSOCIATE-RQ, from the connect or the handshake, and for the end after a release.
    `network_timeout_s` bounds silence inside an association, and the time in which a PDU must be whole.
    `close_retry_s` are the pauses before recording an association's end is tried again. `shares_a_core`: those that
    send at the same time do (`one_core`).
    """

    maximum_associations: int = 64
    maximum_associations_per_address: int = 32
    maximum_waiting: int = 256
    maximum_waiting_per_address: int = 32
    requests_per_second_per_address: float = 25.0
    maximum_pdu_bytes: int = 131_072
    maximum_instance_bytes: int = 2 << 30
    maximum_inflated_bytes: int = 512 << 20
    receiving_memory_bytes: int = 4 << 30
    handshake_timeout_s: float = 5.0
    acse_timeout_s: float = 15.0
    network_timeout_s: float = 60.0
    close_retry_s: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
    shares_a_core: bool = True


class OpenAssociations:
    """Thread-safe. A connection is here from its accept to the end of its thread; an association from its admission.

    `id_prefix` makes association ids unique over restarts.
    """

    def __init__(self, limits: ReceiverLimits, *, id_prefix: str) -> None:
        self._limits = limits
        self._id_prefix = id_prefix
        self._changed = threading.Condition()
        self._connections: set[NodeAssociation] = set()
        self._admitted: dict[str, NodeAssociation] = {}
        self._count = 0
        self._is_closed = False

    @property
    def admitted_count(self) -> int:
        """Associations that were admitted and have not ended."""
        with self._changed:
            return len(self._admitted)

    @property
    def connection_count(self) -> int:
        """Connections, with or without an association."""
        with self._changed:
            return len(self._connections)

    def may_connect(self, address: str) -> bool:
        """Twice the associations' limits: room for those that are to be told why they are rejected."""
        origin = access.normalise_address(address)
        with self._changed:
            return (
                len(self._connections) < 2 * self._limits.maximum_associations
                and _from(origin, self._connections) < 2 * self._limits.maximum_associations_per_address
            )

    def add_connection(self, association: NodeAssociation) -> None:
        """A connection was accepted; it ends at once where the server stops."""
        with self._changed:
            self._connections.add(association)
            if self._is_closed:
                association.end()

    def admit(self, association: NodeAssociation) -> access.Refused | None:
        """Give the association its id and its place, or say why there is none."""
        origin = access.normalise_address(association.address)
        with self._changed:
            if self._is_closed:
                return access.congestion("the node stops")
            refused = access.check_load(
                access.Load(
                    open_associations=len(self._admitted),
                    open_from_address=_from(origin, self._admitted.values()),
                    maximum=self._limits.maximum_associations,
                    maximum_per_address=self._limits.maximum_associations_per_address,
                )
            )
            if refused is None:
                self._count += 1
                association.association_id = f"{self._id_prefix}-{self._count}"
                self._admitted[association.association_id] = association
            return refused

    def withdraw(self, association: NodeAssociation) -> None:
        """Take the place back; the association has no id any more."""
        with self._changed:
            self._admitted.pop(association.association_id, None)
            association.association_id = ""

    def remove(self, association: NodeAssociation) -> None:
        """The connection's thread is done."""
        with self._changed:
            self._admitted.pop(association.association_id, None)
            self._connections.discard(association)
            self._changed.notify_all()

    def close(self) -> tuple[NodeAssociation, ...]:
        """Admit nobody any more and make every association end after the request it serves; those that do."""
        with self._changed:
            self._is_closed = True
            connections = tuple(self._connections)
        for connection in connections:
            connection.end()
        return connections

    def wait_until_empty(self, deadline: float) -> tuple[NodeAssociation, ...]:
        """The connections that are left at `deadline` (of time.monotonic); none, as soon as there is none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._connections, max(0.0, deadline - time.monotonic()))
            return tuple(self._connections)


def _from(origin: str, associations: Iterable[NodeAssociation]) -> int:
    return sum(access.normalise_address(each.address) == origin for each in associations)
