"""Storage commitment on the wire: with Orthanc in both directions, and with peers made of pynetdicom that report on the
same association, on another one, late, wrongly, or not at all.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from dicom_node.app.associations import RecordAssociations
from dicom_node.bootstrap.leftovers import read_found_instance
from dicom_node.core.commitment import CommitmentReport, NotCommitted, Reference
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.delivery_terms import OwnTerms
from dicom_node.core.errors import PeerBusy, PeerRefused, PeerUnreachable, SopClassNotAccepted, StorageUnavailable
from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.dimse.commitment import DimseCommitter
from dicom_node.dimse.commitment_service import CommitmentService
from dicom_node.dimse.requestor import Timeouts
from dicom_node.dimse.sender import DimseSender, send_files
from dicom_node.dimse.server import DicomServer, ReceiverLimits
from storage.files import DiskFileStore
from tests.builders.commitment_peers import Peers, ask_as_a_scanner, node_at
from tests.integration.dimse_support import (
    CT_IMAGE,
    OWN_AET,
    Clock,
    Counts,
    instance,
    wait_for,
    write,
)
from tests.peers import Orthanc, free_port, get_json
from tests.unit.app.node import FakeClock, FakeEncoder, Node, silenced

QUICK = Timeouts(connect_s=5.0, associate_s=5.0, answer_s=10.0)
COMMITS = OwnTerms(storage_commitment=True, commitment_timeout_s=600.0)


class Network:
    """In the place of the fake PACS: results and commitments go over real associations."""

    def __init__(self, clock: FakeClock, stay_s: float = 0.5) -> None:
        sender = DimseSender(own_aet=OWN_AET, clock=clock, timeouts=QUICK)
        committer = DimseCommitter(own_aet=OWN_AET, timeouts=QUICK, stay_s=stay_s)
        self.send, self.request, self.report = sender.send, committer.request, committer.report


class Written(FakeEncoder):
    """Two small DICOM files as the result."""

    def encode(self, *_: object, out_dir: Path, **__: object) -> tuple[ResultObject, ...]:
        made = []
        for number, kind in enumerate((ResultKind.SEG, ResultKind.SR), start=1):
            data_set = instance(number, study="result")
            made.append(
                ResultObject(
                    kind=kind,
                    sop_class_uid=str(data_set.SOPClassUID),
                    sop_instance_uid=str(data_set.SOPInstanceUID),
                    series_instance_uid=str(data_set.SeriesInstanceUID),
                    file=write(out_dir, data_set),
                )
            )
        return tuple(made)


@contextmanager
def listening(node: Node, port: int) -> Iterator[DicomServer]:
    server = DicomServer(
        ae_title=OWN_AET,
        host="127.0.0.1",
        port=port,
        peers=node.peers,
        receive=node.receive,
        associations=RecordAssociations(uow_factory=node.uow, clock=node.clock),
        counters=Counts(),
        clock=Clock(),
        limits=ReceiverLimits(acse_timeout_s=5.0, network_timeout_s=20.0),
        commitment=CommitmentService(duties=node.duties, take_report=node.reports, answer_s=3.0),
    )
    server.start()
    try:
        yield server
    finally:
        server.stop(5.0)


@pytest.fixture
def make_node(tmp_path) -> Iterator[Callable[..., Node]]:
    def make(*peers: Peer) -> Node:
        node = Node(tmp_path / "node", peers=peers, files=lambda root, clock: DiskFileStore(root, clock=clock))
        node.read_found = read_found_instance
        node.encoder = Written()
        node.pacs = Network(node.clock)
        node.restart()
        return node

    with silenced():
        yield make


def pacs_at(port: int, ae_title: str = "PACS") -> Peer:
    return Peer(
        name="pacs",
        ae_title=AETitle(ae_title),
        host="127.0.0.1",
        port=port,
        receives_results=True,
        delivery=COMMITS,
    )


def scanner_at(port: int, ae_title: str = "SCANNER") -> Peer:
    return Peer(name="scanner", ae_title=AETitle(ae_title), host="127.0.0.1", port=port, may_send=True)


def deliver(node: Node) -> DeliveryState:
    node.receive_study(1)
    node.close_now()
    node.analysis.step()
    node.delivery.step()
    return node.deliveries()[0].state


@pytest.mark.parametrize("how", ["same association", "later"])
def test_a_pacs_commits_on_the_association_it_was_asked_on_or_on_one_of_its_own(make_node, how):
    port = free_port()
    with Peers("PACS", port, reports=how) as pacs:
        node = make_node(pacs_at(pacs.port))
        with listening(node, port):
            deliver(node)
            wait_for(lambda: node.deliveries()[0].state is DeliveryState.COMMITTED, "the commitment")
            wait_for(lambda: pacs.answers == [0x0000], "the answer to the report")
    assert len(pacs.asked[0].ReferencedSOPSequence) == 2


def test_a_pacs_that_lost_one_object_gets_it_again_and_commits_then(make_node):
    port = free_port()
    with Peers("PACS", port) as pacs:
        lost = str(instance(2, study="result").SOPInstanceUID)
        pacs.keeps = lambda uid: uid != lost
        node = make_node(pacs_at(pacs.port))
        with listening(node, port):
            deliver(node)
            wait_for(lambda: node.deliveries()[0].state is DeliveryState.RETRY_WAIT, "the report")
            pacs.keeps = lambda uid: True
            node.clock.advance(60)
            node.requeue.tick()
            node.delivery.step()
            wait_for(lambda: node.deliveries()[0].state is DeliveryState.COMMITTED, "the commitment")
    again = [item.ReferencedSOPInstanceUID for item in pacs.asked[1].ReferencedSOPSequence]
    assert again == [lost]


def test_a_pacs_that_only_takes_results_may_report_and_may_not_send(make_node, tmp_path):
    port = free_port()
    with Peers("PACS", port, reports="never") as pacs:
        node = make_node(pacs_at(pacs.port))
        with listening(node, port):
            assert deliver(node) is DeliveryState.COMMIT_WAIT
            image = write(tmp_path / "images", instance(7))
            (answer,) = send_files(node_at(port), [image], own_aet="PACS").answers
            assert answer.status == 0x0124
            pacs.report_anew()
            assert pacs.answers == [0x0000]
            assert node.deliveries()[0].state is DeliveryState.COMMITTED


def test_reports_that_make_no_sense_are_answered_with_a_failure_and_change_nothing(make_node):
    port = free_port()
    with Peers("PACS", port, reports="never") as pacs:
        node = make_node(pacs_at(pacs.port))
        with listening(node, port):
            deliver(node)
            unknown, empty, nameless = Dataset(), Dataset(), pacs.report_on(pacs.asked[-1])
            unknown.TransactionUID = "2.25.99"
            unknown.ReferencedSOPSequence = []
            empty.PatientID = "P1"
            nameless.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ""
            for information in (unknown, empty, nameless):
                pacs.report_anew(information)
            assert pacs.answers == [0x0115] * 3
            assert node.deliveries()[0].state is DeliveryState.COMMIT_WAIT


def test_a_report_that_cannot_be_written_down_is_not_taken(make_node, monkeypatch):
    port = free_port()
    with Peers("PACS", port, reports="never") as pacs:
        node = make_node(pacs_at(pacs.port))
        with listening(node, port):
            deliver(node)
            with monkeypatch.context() as patched:
                patched.setattr(node.reports, "_uow", _away)
                pacs.report_anew()
            pacs.report_anew()
    assert pacs.answers == [0x0213, 0x0000]
    assert node.deliveries()[0].state is DeliveryState.COMMITTED


def _away() -> Any:
    raise StorageUnavailable("the disk is full")


@pytest.mark.parametrize(
    ("status", "error"), [(0x0110, PeerBusy), (0x0213, PeerBusy), (0x0124, PeerRefused), (0x0123, PeerRefused)]
)
def test_a_refusal_to_be_asked_says_whether_it_is_for_good(status, error):
    with Peers("PACS", 0, action_status=status) as pacs, pytest.raises(error, match=f"0x{status:04X}"):
        DimseCommitter(own_aet=OWN_AET, timeouts=QUICK).request(pacs_at(pacs.port), "2.25.1", REFERENCES)


REFERENCES = (Reference(sop_class_uid=CT_IMAGE, sop_instance_uid="1.2.3"),)


def test_a_peer_without_storage_commitment_is_told_from_one_that_is_away():
    ae = AE("PACS")
    ae.add_supported_context(CT_IMAGE)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    port = server.socket.getsockname()[1]
    committer = DimseCommitter(own_aet=OWN_AET, timeouts=QUICK)
    with pytest.raises(SopClassNotAccepted):
        committer.request(pacs_at(port), "2.25.1", REFERENCES)
    server.shutdown()
    with pytest.raises(PeerUnreachable):
        committer.request(pacs_at(port), "2.25.1", REFERENCES)


def send_to(port: int, folder: Path) -> list[str]:
    """Two images of a study; their UIDs."""
    images = [instance(number) for number in (1, 2)]
    report = send_files(node_at(port), [write(folder, image) for image in images], own_aet="SCANNER")
    assert report.is_complete
    return [str(image.SOPInstanceUID) for image in images]


def test_a_scanner_that_stays_is_told_on_its_own_association(make_node, tmp_path):
    port, told = free_port(), []
    node = make_node(scanner_at(1))

    def note(event: Any) -> tuple[int, None]:
        told.append((event.request.EventTypeID, event.event_information))
        return 0x0000, None

    with listening(node, port):
        held = send_to(port, tmp_path / "images")
        assert ask_as_a_scanner(port, *held, "1.2.3.99", stays=True, handler=note) == 0x0000
        wait_for(lambda: _duties(node)[0].finished_at, "the end of the duty")
    ((event_type, information),) = told
    assert event_type == 2
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == held
    (failed,) = information.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.99", NotCommitted.NO_SUCH_INSTANCE)
    assert _duties(node)[0].outcome == "reported 2 kept, 1 not"


def test_a_scanner_that_leaves_is_told_on_an_association_of_ours_with_reversed_roles(make_node, tmp_path):
    port = free_port()
    with Peers("SCANNER", port) as scanner:
        node = make_node(scanner_at(scanner.port))
        with listening(node, port):
            held = send_to(port, tmp_path / "images")
            assert ask_as_a_scanner(port, *held, stays=False, handler=lambda event: (0x0110, None)) == 0x0000
            node.restart()
            node.clock.advance(16)
            while node.duties.step():
                pass
    assert all(entry.finished_at for entry in _duties(node))
    if scanner.told:  # where it left before the report came; else it had it on its own association
        ((event_type, information),) = scanner.told
        assert event_type == 1
        assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == held


def test_a_scanner_that_refuses_the_report_is_told_again(make_node, tmp_path):
    port = free_port()
    with Peers("SCANNER", port, event_status=0x0110) as scanner:
        node = make_node(scanner_at(scanner.port))
        with listening(node, port):
            held = send_to(port, tmp_path / "images")
            ask_as_a_scanner(port, *held, stays=True, handler=lambda event: (0x0110, None))
            node.clock.advance(16)
            assert node.duties.step()
            assert not _duties(node)[0].finished_at
            scanner.event_status = 0x0000
            node.clock.advance(60)
            assert node.duties.step()
    assert _duties(node)[0].finished_at
    assert [event_type for event_type, _ in scanner.told] == [1, 1]


def _duties(node: Node) -> Any:
    with node.database.reading() as uow:
        return uow.commitments.duties()


def test_a_peer_that_may_not_send_may_not_ask_and_a_request_without_instances_is_refused(make_node):
    port = free_port()
    node = make_node(scanner_at(1))
    with listening(node, port):
        assert ask_as_a_scanner(port, stays=False, handler=lambda event: None) == 0x0115
        node.peers.known = [pacs_at(1, "SCANNER")]
        assert ask_as_a_scanner(port, "1.2.3", stays=False, handler=lambda event: None) == 0x0124
    assert _duties(node) == ()


@pytest.fixture
def orthanc(tmp_path) -> Iterator[tuple[Orthanc, int]]:
    port = free_port()
    modality = {
        "AET": OWN_AET,
        "Host": "127.0.0.1",
        "Port": port,
        "AllowStorageCommitment": True,
        "AllowEcho": True,
        "AllowStore": True,
    }
    server = Orthanc(tmp_path / "orthanc", DicomModalities={"node": modality})
    yield server, port
    server.close()


@pytest.mark.peer("orthanc")
def test_orthanc_commits_to_our_results_and_reports_on_an_association_of_its_own(make_node, orthanc):
    server, port = orthanc
    node = make_node(pacs_at(server.port, server.ae_title))
    with listening(node, port):
        assert deliver(node) in (DeliveryState.COMMIT_WAIT, DeliveryState.COMMITTED)
        wait_for(lambda: node.deliveries()[0].state is DeliveryState.COMMITTED, "Orthanc's report", timeout_s=30)
    assert len(server.instances()) == 2


@pytest.mark.peer("orthanc")
def test_orthanc_that_lost_an_object_says_so_and_gets_it_again(make_node, orthanc):
    server, port = orthanc
    node = make_node(pacs_at(server.port, server.ae_title))
    committer = node.pacs.request

    def after_a_loss(peer: Peer, transaction_uid: str, references: tuple[Reference, ...]) -> CommitmentReport | None:
        node.pacs.request = committer
        lost = server.instances()[0]["ID"]
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/instances/{lost}", method="DELETE"), timeout=30)
        return committer(peer, transaction_uid, references)

    node.pacs.request = after_a_loss
    with listening(node, port):
        deliver(node)
        wait_for(lambda: node.deliveries()[0].state is DeliveryState.RETRY_WAIT, "Orthanc's report", timeout_s=30)
        assert "no such instance" in node.deliveries()[0].failure
        node.clock.advance(60)
        node.requeue.tick()
        node.delivery.step()
        wait_for(lambda: node.deliveries()[0].state is DeliveryState.COMMITTED, "Orthanc's report", timeout_s=30)
    assert len(server.instances()) == 2


@pytest.mark.peer("orthanc")
def test_orthanc_asks_us_and_is_told_what_we_hold(make_node, orthanc, tmp_path):
    server, port = orthanc
    node = make_node(scanner_at(server.port, server.ae_title))
    with listening(node, port):
        images = [instance(number) for number in (1, 2)]
        files = [write(tmp_path / "images", image) for image in images]
        assert send_files(node_at(port), files, own_aet=server.ae_title).is_complete
        asked = [{"SOPClassUID": CT_IMAGE, "SOPInstanceUID": str(image.SOPInstanceUID)} for image in images]
        missing = {"SOPClassUID": CT_IMAGE, "SOPInstanceUID": "1.2.3.99"}
        for instances, expected in ((asked, "Success"), ([*asked, missing], "Failure")):
            body = json.dumps(
                {"DicomInstances": [[entry["SOPClassUID"], entry["SOPInstanceUID"]] for entry in instances]}
            )
            request = urllib.request.Request(f"{server.url}/modalities/node/storage-commitment", body.encode())
            with urllib.request.urlopen(request, timeout=30) as answer:
                transaction = json.load(answer)["ID"]

            def is_told(transaction: str = transaction) -> bool:
                node.clock.advance(16)
                node.duties.step()
                found = get_json(f"{server.url}/storage-commitment/{transaction}")
                return bool(found) and found["Status"] != "Pending"

            wait_for(is_told, "our report", timeout_s=30)
            found = get_json(f"{server.url}/storage-commitment/{transaction}")
            assert found["Status"] == expected
            assert len(found["Success"]) == 2
    assert [entry["SOPInstanceUID"] for entry in found["Failures"]] == ["1.2.3.99"]
