"""Peers made of pynetdicom that ask the node to commit, are asked by it, and report as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_messages import N_ACTION_RSP, N_EVENT_REPORT_RSP
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom_node.core.commitment import NotCommitted
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.dimse.commitment_messages import PUSH_MODEL_INSTANCE
from dicom_node.dimse.contexts import PUSH_MODEL
from tests.builders.stock_scu import keeping_answers
from tests.integration.dimse_support import CT_IMAGE, OWN_AET, wait_for


def node_at(port: int) -> Peer:
    """The node as its peers know it."""
    return Peer(name="node", ae_title=AETitle(OWN_AET), host="127.0.0.1", port=port)


@dataclass
class Peers:
    """A PACS and a scanner in one: takes C-STORE, N-ACTION and N-EVENT-REPORT, and does as it is told."""

    ae_title: str
    node_port: int
    reports: str = "later"  # later, same association, never
    keeps: Callable[[str], bool] = lambda uid: True
    action_status: int = 0x0000
    event_status: int = 0x0000
    told: list[tuple[int, Dataset]] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    answered: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Peers:
        self.ae = AE(self.ae_title)
        self.ae.add_supported_context(CT_IMAGE)
        self.ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_C_STORE, lambda event: 0x0000),
            (evt.EVT_N_ACTION, self._acted),
            (evt.EVT_N_EVENT_REPORT, self._reported),
            (evt.EVT_DIMSE_SENT, _tells(N_ACTION_RSP, self.answered)),
        ]
        self.server = self.ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self.threads:
            thread.join(20)
        self.server.shutdown()

    def _acted(self, event: Any) -> tuple[int, None]:
        if self.action_status == 0x0000:
            self.asked.append(event.action_information)
            if self.reports != "never":
                self.threads.append(threading.Thread(target=self._report, args=(event.assoc,), daemon=True))
                self.threads[-1].start()
        return self.action_status, None

    def _reported(self, event: Any) -> tuple[int, None]:
        self.told.append((event.request.EventTypeID, event.event_information))
        return self.event_status, None

    def _report(self, association: Any) -> None:
        if self.reports == "same association":
            assert self.answered.wait(10)
            self._say(association)
        else:
            wait_for(lambda: not association.is_established, "the node to release")
            self.report_anew()

    def report_anew(self, information: Dataset | None = None) -> None:
        requestor = AE(self.ae_title)
        requestor.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = requestor.associate("127.0.0.1", self.node_port, ae_title=OWN_AET, ext_neg=[role])
        assert association.is_established
        self._say(association, information)
        association.release()

    def _say(self, association: Any, information: Dataset | None = None) -> None:
        information = information or self.report_on(self.asked[-1])
        event_type = 2 if "FailedSOPSequence" in information else 1
        status, _ = keeping_answers(association).send_n_event_report(
            information, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        self.answers.append(status.Status if "Status" in status else -1)

    def report_on(self, asked: Dataset) -> Dataset:
        said = Dataset()
        said.TransactionUID = asked.TransactionUID
        items = list(asked.ReferencedSOPSequence)
        kept = [item for item in items if self.keeps(item.ReferencedSOPInstanceUID)]
        lost = [item for item in items if not self.keeps(item.ReferencedSOPInstanceUID)]
        for item in lost:
            item.FailureReason = NotCommitted.NO_SUCH_INSTANCE
        if kept:
            said.ReferencedSOPSequence = kept
        if lost:
            said.FailedSOPSequence = lost
        return said


def _tells(kind: type, done: threading.Event) -> Callable[[Any], None]:
    """A handler that sets `done` when a message of this kind was sent."""

    def sent(event: Any) -> None:
        if isinstance(event.message, kind):
            done.set()

    return sent


def ask_as_a_scanner(port: int, *uids: str, stays: bool, handler: Callable[[Any], Any]) -> int:
    """N-ACTION as SCU; `handler` takes the report where it comes on the same association. The status."""
    requestor = AE("SCANNER")
    requestor.add_requested_context(StorageCommitmentPushModel)
    taken = threading.Event()
    handlers = [(evt.EVT_N_EVENT_REPORT, handler), (evt.EVT_DIMSE_SENT, _tells(N_EVENT_REPORT_RSP, taken))]

    association = requestor.associate("127.0.0.1", port, ae_title=OWN_AET, evt_handlers=handlers)
    assert association.is_established
    information = Dataset()
    information.TransactionUID = "2.25.7"
    information.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE, uid
        information.ReferencedSOPSequence.append(item)
    status, _ = keeping_answers(association).send_n_action(information, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    if stays:
        assert taken.wait(10)
    association.release()
    return int(status.Status)
