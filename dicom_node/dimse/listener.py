"""A listening socket: connections in, which wait in the room until they ask for an association."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from copy import deepcopy
from typing import Any, Protocol

import structlog
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationServer, RequestHandler

from dicom_node.dimse.association import AssociationHost, NodeAssociation
from dicom_node.dimse.handlers import contained
from dicom_node.dimse.node_socket import NodeSocket
from dicom_node.dimse.spares import Spares
from dicom_node.dimse.tls import Secured, ServerContext
from dicom_node.dimse.waiting_room import WaitingRoom

log = structlog.get_logger(__name__)

_PAUSE_AFTER_FAILED_ACCEPT_S = 0.05
_ACCEPTED_WITH_ONE_LOOK = 256


class ConnectionHost(AssociationHost, Protocol):
    """What the listener asks and tells its server."""

    @property
    def network_timeout_s(self) -> float: ...

    @property
    def waiting_room(self) -> WaitingRoom: ...

    def turned_away(self, address: str, rule: str, why: str) -> None:
        """A connection was closed at once."""

    def connected(self, association: NodeAssociation) -> None: ...


class _Connection(RequestHandler):
    """An association for a connection that asked for one. `request` is pynetdicom's word for its socket."""

    server: Listener

    def __init__(
        self, connection: socket.socket, client_address: Any, server: Listener, first: bytes, secured: Secured | None
    ) -> None:
        self._first = first
        self._secured = secured
        super().__init__(connection, client_address, server)

    def _create_association(self) -> NodeAssociation:
        association = self.server.spares.take()
        association.secured = self._secured
        association.name = f"AcceptorThread@{self.client_address[0]}:{self.client_address[1]}"
        association.set_socket(NodeSocket(association, self.request, self._first))
        association.acceptor.address_info = self.local
        association.requestor.address_info = self.remote
        self.server.host.connected(association)
        return association


class Listener(AssociationServer):
    """Accepts connections in one thread of its own, which never waits for any of them (waiting_room.Door).

    With `tls` the port speaks TLS only.
    """

    request_queue_size = 1024

    def __init__(
        self,
        ae: ApplicationEntity,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        handlers: list[Any],
        host: ConnectionHost,
        tls: ServerContext | None = None,
    ) -> None:
        self.host = host
        self._tls = tls
        super().__init__(ae, address, ae.ae_title, contexts, evt_handlers=handlers, request_handler=_Connection)
        ae._servers.append(self)  # type: ignore[arg-type]
        self.spares = Spares(self._make_association)
        self.socket.setblocking(False)  # type: ignore[union-attr]
        self._thread = threading.Thread(
            target=self.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="dicom-tls-listener" if tls else "dicom-listener",
            daemon=True,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    @property
    def is_accepting(self) -> bool:
        """Whether its thread still does its work."""
        return self._thread.is_alive()

    def _make_association(self) -> NodeAssociation:
        """What of an association does not depend on who asks for it."""
        association = NodeAssociation(self.ae, self.host)
        association._server = self
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.ae_title
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = deepcopy(self.contexts)
        for event, handlers in self._handlers.items():
            if event.is_intervention:
                association.bind(event, *handlers)  # type: ignore[arg-type]
            else:
                for handler, arguments in handlers:  # type: ignore[misc]
                    association.bind(event, handler, arguments)
        return association

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Accept no more and close the listening socket."""
        self.shutdown()
        self._thread.join(timeout_s)

    def _handle_request_noblock(self) -> None:
        """All that wait now, with one look: whoever is behind a thousand others in the queue is not far behind."""
        for _ in range(_ACCEPTED_WITH_ONE_LOOK):
            if not self._accept():
                return

    def _accept(self) -> bool:
        try:
            connection, address = self.get_request()
        except OSError:
            return False
        contained(lambda: self.process_request(connection, address), lambda error: self._failed(connection, error))
        return True

    def _failed(self, connection: socket.socket, error: Exception) -> None:
        log.error("connection_failed", why=f"{type(error).__name__}: {error}")
        connection.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = self.socket.accept()  # type: ignore[union-attr]
        except BlockingIOError:
            raise
        except OSError as error:
            # Out of file descriptors: the connection stays in the queue, and asking at once would spin.
            log.warning("accept_failed", why=str(error))
            time.sleep(_PAUSE_AFTER_FAILED_ACCEPT_S)
            raise
        # Nagle's algorithm against delayed acknowledgements makes each answer wait 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.host.waiting_room.enter(request, client_address, self):
            self.host.turned_away(str(client_address[0]), "too_many_arriving", "more than the node can look at")
            request.close()

    @property
    def is_encrypted(self) -> bool:
        return self._tls is not None

    def tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            raise RuntimeError("this port does not speak TLS")
        return self._tls.current()

    def admit(self, connection: socket.socket, client_address: Any, request: bytes, secured: Secured | None) -> None:
        connection.settimeout(self.host.network_timeout_s)
        _Connection(connection, client_address, self, request, secured)

    def service_actions(self) -> None:
        """Nothing: pynetdicom's forced garbage collection stops every thread of a process that holds a model."""
