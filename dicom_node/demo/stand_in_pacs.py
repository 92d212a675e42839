"""A small Storage SCP on loopback that plays the PACS: in the demonstration, and in tests with faults on demand.

It keeps each object as a file named by its SOP Instance UID and counts every C-STORE-RQ, so that "delivered exactly
once" can be asserted. It is not durable and asks nobody's name: never use it as a receiver.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import build_context, evt
from pynetdicom.ae import ApplicationEntity

from dicom_node.dimse.admission import accept_proposals
from dicom_node.dimse.contexts import IMPLICIT_LITTLE, VERIFICATION


@dataclass(kw_only=True)
class Faults:
    """What goes wrong; may be changed while the PACS runs. All off by default.

    `rejection` is (result, source, reason) of A-ASSOCIATE-RJ (PS3.8 9.3.4). `statuses` are answered to the next
    C-STORE-RQs, one each, and those objects are not kept. `abort_at` aborts at that C-STORE-RQ, counted from 1 over
    the life of the PACS, before it is kept. `delay_s` passes before each answer. `refused_sop_classes` are not
    accepted in negotiation, and where `only_sop_classes` is given, none but those are; `only_implicit` accepts nothing
    but Implicit VR Little Endian. An object of a class in `answers_by_class` is answered with that status, not kept.
    """

    rejection: tuple[int, int, int] | None = None
    statuses: list[int] = field(default_factory=list)
    abort_at: int | None = None
    delay_s: float = 0.0
    refused_sop_classes: frozenset[str] = frozenset()
    only_sop_classes: frozenset[str] | None = None
    answers_by_class: dict[str, int] = field(default_factory=dict)
    only_implicit: bool = False


class StandInPacs:
    """Starts on construction on a free port; a context manager that stops at the end."""

    def __init__(
        self,
        folder: Path,
        ae_title: str = "PACS",
        *,
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.faults = faults or Faults()
        self.requests: Counter[str] = Counter()
        self.associations = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        entity = ApplicationEntity(ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = 100
        entity.maximum_pdu_size = 131_072
        self._server: Any = entity.start_server(
            (host, port),
            block=False,
            contexts=[build_context(VERIFICATION, [IMPLICIT_LITTLE])],
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _without_delay),
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_C_ECHO, lambda event: 0x0000),
            ],
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def file(self, sop_instance_uid: str) -> Path:
        """Where an object is kept, whether it is there or not."""
        return self.folder / f"{sop_instance_uid}.dcm"

    def files(self) -> tuple[Path, ...]:
        """The objects kept so far."""
        return tuple(sorted(self.folder.glob("*.dcm")))

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Whether at least `count` objects are kept within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.files()) >= count, timeout_s)

    def wait_for_requests(self, count: int, timeout_s: float) -> bool:
        """Whether at least `count` C-STORE-RQs, answered in whatever way, came within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.requests.total() >= count, timeout_s)

    def close(self) -> None:
        """Stop listening and abort what is open. Twice is once."""
        if self._closing.is_set():
            return
        self._closing.set()
        for association in self._server.active_associations:
            association.abort()
        self._server.shutdown()

    def __enter__(self) -> StandInPacs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _requested(self, event: evt.Event) -> None:
        association: Any = event.assoc
        if self.faults.rejection is not None:
            association.is_rejected = True
            association.acse.send_reject(*self.faults.rejection)
            association.kill()
            return
        self._narrow(association.requestor.primitive.presentation_context_definition_list)
        accept_proposals(association)
        association.acceptor.supported_contexts = [
            context for context in association.acceptor.supported_contexts if self._takes(str(context.abstract_syntax))
        ]
        with self._changed:
            self.associations += 1

    def _takes(self, sop_class_uid: str) -> bool:
        only = self.faults.only_sop_classes
        return sop_class_uid not in self.faults.refused_sop_classes and (only is None or sop_class_uid in only)

    def _narrow(self, proposals: list[Any]) -> None:
        if not self.faults.only_implicit:
            return
        for proposal in proposals:
            if IMPLICIT_LITTLE not in proposal.transfer_syntax:
                # A syntax nobody knows, so that this proposal finds no match.
                proposal.transfer_syntax = ["1.2.826.0.1.3680043.9.7433.0"]

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        with self._changed:
            self.requests[uid] += 1
            number = self.requests.total()
            otherwise = self.faults.answers_by_class.get(str(request.AffectedSOPClassUID), 0x0000)
            status = self.faults.statuses.pop(0) if self.faults.statuses else otherwise
            self._changed.notify_all()
        self._closing.wait(self.faults.delay_s)
        if self.faults.abort_at == number:
            event.assoc.abort()
            return 0x0000
        if status == 0x0000 or status >> 12 == 0xB:
            with self._changed:
                self.file(uid).write_bytes(event.encoded_dataset())
                self._changed.notify_all()
        return status


def _without_delay(event: evt.Event) -> None:
    connection: Any = event.assoc.dul.socket
    if connection is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
